"""How a run ended, as `result.json` holds it: figures, what was saved, and what went wrong."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


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
    a mixture, each evaluated set's loss after the last step.
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
