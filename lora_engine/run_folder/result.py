"""How a run ended, as `result.json` holds it: figures, what was saved, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lora_engine.language import Saying, said_again, sayings_of
from lora_engine.scrubbing import scrubbed


class FittingChange(BaseModel):
    """One change that saves memory, and what it costs.

    fields: dotted path in the spec to the value to put there.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    what: str
    harm: str
    fields: dict[str, Any]


class MemoryShortage(BaseModel):
    """Memory expected, used and available, in bytes, and the changes that together would fit."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    estimate_bytes: int | None
    peak_bytes: int
    available_bytes: int | None
    changes: tuple[FittingChange, ...] = ()


class RunProblem(BaseModel):
    """Why a run ended badly, for the person; `is_bug` where it is our fault, not theirs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    problem: str
    remedy: str
    is_bug: bool = False
    out_of_memory: MemoryShortage | None = None


class RunResult(BaseModel):
    """How the run ended, as the worker itself says it.

    trained_parameters: how many numbers the optimizer changed; None in runs from before it was
    counted. saved_step, saved_as: which step's weights lie in `adapter/` or `model/`; None where
    nothing was saved. eval_accuracy, eval_f1: a classifier's, at its last evaluation.
    eval_reward_accuracy, eval_reward_margin: of preferences, at the last evaluation.
    start_eval_loss: before the first step, of the adapter that the run went on from.
    stopped_because: why the worker itself ended a run of a sweep, in words; its state is then
    "cancelled", and it can be resumed. None where somebody else asked for it. eval_loss_by_set: of
    a mixture, each evaluated set's loss after the last step. said: how the texts were made, so
    that they can be said in the reader's language; without it they are read as they stand.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Literal["finished", "failed", "cancelled"]
    steps: int
    train_loss: float | None
    eval_loss: float | None
    tokens: int
    tokens_per_s: float
    peak_memory_bytes: int
    elapsed_s: float
    error: RunProblem | None = None
    best_eval_loss: float | None = None
    best_step: int | None = None
    saved_step: int | None = None
    saved_as: Literal["adapter", "model"] | None = None
    eval_accuracy: float | None = None
    eval_f1: float | None = None
    eval_reward_accuracy: float | None = None
    eval_reward_margin: float | None = None
    start_eval_loss: float | None = None
    stopped_because: str | None = None
    trained_parameters: int | None = None
    eval_loss_by_set: dict[str, float] | None = None
    said: dict[str, Saying] = {}

    def with_sayings(self) -> RunResult:
        """With what is remembered of how its texts were made."""
        found = sayings_of(_texts(self))
        said = {
            text: Saying(one.message, {name: scrubbed(value) for name, value in one.values.items()})
            for text, one in found.items()
        }
        return self.model_copy(update={"said": said})

    def in_present_language(self) -> RunResult:
        """The same with its texts in the language of the present work."""
        if not self.stopped_because and self.error is None:
            return self
        return self.model_copy(
            update={
                "stopped_because": self.stopped_because and self._again(self.stopped_because),
                "error": self.error and self._error_again(self.error),
            }
        )

    def _again(self, text: str) -> str:
        return said_again(text, self.said)

    def _error_again(self, error: RunProblem) -> RunProblem:
        short = error.out_of_memory
        if short is not None:
            changes = tuple(
                one.model_copy(
                    update={"what": self._again(one.what), "harm": self._again(one.harm)}
                )
                for one in short.changes
            )
            short = short.model_copy(update={"changes": changes})
        return error.model_copy(
            update={
                "problem": self._again(error.problem),
                "remedy": self._again(error.remedy),
                "out_of_memory": short,
            }
        )

    @classmethod
    def failed(cls, problem: RunProblem) -> RunResult:
        """The result of a run of which nothing but its failure is known."""
        return cls(
            state="failed",
            steps=0,
            train_loss=None,
            eval_loss=None,
            tokens=0,
            tokens_per_s=0.0,
            peak_memory_bytes=0,
            elapsed_s=0.0,
            error=problem,
        )


def _texts(result: RunResult) -> Iterator[str]:
    """What of a result a person reads."""
    if result.stopped_because:
        yield result.stopped_because
    if result.error is not None:
        yield from (result.error.problem, result.error.remedy)
        if result.error.out_of_memory is not None:
            for change in result.error.out_of_memory.changes:
                yield from (change.what, change.harm)
