"""What is wrong at a run's cluster: `trouble.json`, in the words of its watcher.

While it is there the cluster does not answer, or it ended the run without a result. Gone when the
cluster answers again and when the run is started again. Knows no cluster.
"""

from __future__ import annotations

import logging

from pydantic import BaseModel

from lora_engine.errors import EngineError
from lora_engine.files import read_bounded, write_atomically
from lora_engine.language import Saying, said_again, sayings_of
from lora_engine.run_folder import RunDirectory

MAX_BYTES = 20_000
NAME = "trouble.json"
log = logging.getLogger(__name__)


class Trouble(BaseModel):
    """said: how the texts were made, so that they can be said in the reader's language."""

    problem: str
    remedy: str
    said: dict[str, Saying] = {}


class TroubleNote:
    """Keeps the file of one run true; it is written when something changes."""

    def __init__(self, directory: RunDirectory) -> None:
        self._path = directory.path / NAME
        self._said: str | None = None

    def say(self, problem: str, remedy: str) -> None:
        if problem == self._said:
            return
        said = sayings_of((problem, remedy))
        trouble = Trouble(problem=problem, remedy=remedy, said=said)
        try:
            write_atomically(self._path, trouble.model_dump_json().encode())
            self._said = problem
        except OSError as error:  # said again when it comes again
            log.warning("%s cannot be written: %s", NAME, error)

    def clear(self) -> None:
        if self._said is not None:
            self._path.unlink(missing_ok=True)
        self._said = None


def clear_trouble(directory: RunDirectory) -> None:
    (directory.path / NAME).unlink(missing_ok=True)


def read_trouble(directory: RunDirectory) -> EngineError | None:
    """What the watcher said last, in the present language; None where nothing is wrong."""
    try:
        found = Trouble.model_validate_json(read_bounded(directory.path / NAME, MAX_BYTES))
    except (OSError, ValueError):
        return None
    return EngineError(*(said_again(text, found.said) for text in (found.problem, found.remedy)))
