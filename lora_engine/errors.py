"""The errors meant for the person in front of the screen.

An `EngineError` says what was received and what is allowed (`problem`) and what to do
(`remedy`). Pages show both, the command line prints both and exits 2. Everything else that is
raised is a bug. No error holds an access token. This module knows nothing of where the error is
shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_engine.language import tr_count
from lora_engine.scrubbing import scrubbed

MOST_LISTED = 50  # problems in the words of one error; all of them are in `problems`


class EngineError(Exception):
    """A problem the person can solve.

    problem: what was received, and what is allowed, in one sentence.
    remedy: what to do next, in one sentence.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = _sayable(problem)
        self.remedy = _sayable(remedy)
        super().__init__(self.problem, self.remedy)

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


def _sayable(text: str) -> str:
    """Without tokens, and as UTF-8 can hold it: a name in a file may be half a surrogate pair."""
    return scrubbed(text).encode("utf-8", "backslashreplace").decode()


class NotFound(EngineError):
    """A named thing (a run, a model, an adapter, a dataset) that is not there."""


class Conflict(EngineError):
    """A request that the present state does not allow, such as resuming a finished run."""


class Unreadable(EngineError):
    """A file of ours in a form that this program does not know, such as a newer one writes."""


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field; `path` is dotted, as in `method.rank`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidInput(EngineError):
    """Input in which one or more fields are wrong; all of them are reported together."""

    def __init__(self, what: str, problems: list[FieldProblem], remedy: str) -> None:
        listing = "; ".join(str(problem) for problem in problems[:MOST_LISTED])
        listing += "; …" if len(problems) > MOST_LISTED else ""
        problem = tr_count(
            "{what} has {count} problem: {listing}.",
            "{what} has {count} problems: {listing}.",
            len(problems),
            what=what,
            listing=listing,
        )
        super().__init__(problem, remedy)
        self.problems = [FieldProblem(one.path, _sayable(one.message)) for one in problems]
