"""How a run ended, in the worker's own words: the result, and errors as problem and remedy."""

from __future__ import annotations

import errno
import re
import sys

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.settings import Settings
from lora_engine.training.loop import Position
from lora_engine.training.memory.out_of_memory import explain
from lora_engine.training.memory.usage import peak_memory_bytes

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def result_of(state: str, position: Position, error: RunProblem | None) -> RunResult:
    """The result of a run that stands at `position`."""
    seconds = max(position.elapsed_s, 1e-9)
    return RunResult(
        state=state,
        steps=position.step,
        train_loss=position.loss_sum / position.step if position.step else None,
        eval_loss=position.last_eval_loss,
        tokens=position.tokens,
        tokens_per_s=round(position.tokens / seconds, 1) if position.step else 0.0,
        peak_memory_bytes=peak_memory_bytes(),
        elapsed_s=round(position.elapsed_s, 3),
        error=error,
        best_eval_loss=position.best_eval_loss,
        best_step=position.best_step,
        saved_step=position.saved_step,
        saved_as=position.saved_as,
        eval_accuracy=position.last_eval_accuracy,
        eval_f1=position.last_eval_f1,
    )


def problem_of(error: Exception, directory: RunDirectory, settings: Settings) -> RunProblem:
    """What went wrong, for the person; what nobody foresaw is a bug."""
    if isinstance(error, EngineError):
        return RunProblem(problem=error.problem, remedy=error.remedy)
    if is_out_of_memory(error):
        return explain(error, directory, settings)
    if system_error(error) in DISK_FULL:
        return RunProblem(
            problem=f"The disk is full, or a quota is used up: {error}.",
            remedy="Free some space, then resume the run from its newest checkpoint.",
        )
    return RunProblem(
        problem=f"Something went wrong: {type(error).__name__}: {error}",
        remedy=f"The whole log is in {directory.log_path}.",
        is_bug=True,
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on the host or on a GPU."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)
    # torch's own allocator of host memory has no type of error for it
    on_host = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    return on_gpu or on_host or system_error(error) == errno.ENOMEM


def system_error(error: Exception) -> int | None:
    """The errno behind an error; safetensors has its own type and gives it in words only."""
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError":
        found = re.search(r"\(os error (\d+)\)", str(error))
        return int(found[1]) if found else None
    return None
