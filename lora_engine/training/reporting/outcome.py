"""How a run ended: its result, and an error as problem and remedy."""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.scrubbing import scrubbed
from lora_engine.settings import Settings
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.memory.out_of_memory import explain_out_of_memory
from lora_engine.training.memory.usage import peak_memory_bytes

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE) + (
    errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
)  # fmt: skip


def run_result(
    state: str,
    progress: TrainingProgress,
    error: RunProblem | None,
    stopped_because: str | None = None,
) -> RunResult:
    """The result of a run after `progress`. state: finished, cancelled or failed.

    stopped_because: why a cancelled run was stopped, where nobody asked for it. The peak of memory
    is the process's so far, whoever else trains in it.
    """
    seconds = max(progress.elapsed_s, 1e-9)
    return RunResult(
        state=state,
        steps=progress.step,
        train_loss=progress.loss_sum / progress.step if progress.step else None,
        eval_loss=progress.last_eval_loss,
        tokens=progress.tokens,
        tokens_per_s=round(progress.tokens / seconds, 1) if progress.step else 0.0,
        peak_memory_bytes=peak_memory_bytes(),
        elapsed_s=round(progress.elapsed_s, 3),
        error=error,
        best_eval_loss=progress.best_eval_loss,
        best_step=progress.best_step,
        saved_step=progress.saved_step,
        saved_as=progress.saved_as,
        eval_accuracy=progress.last_eval_accuracy,
        eval_f1=progress.last_eval_f1,
        eval_reward_accuracy=progress.last_eval_reward_accuracy,
        eval_reward_margin=progress.last_eval_reward_margin,
        start_eval_loss=progress.start_eval_loss,
        eval_loss_by_set=progress.eval_loss_by_set,
        stopped_because=stopped_because,
        trained_parameters=progress.trained_parameters,
    )


def run_problem(error: Exception, directory: RunDirectory, settings: Settings) -> RunProblem:
    """What went wrong, for the person; an error that nobody expected is reported as a bug."""
    if isinstance(error, EngineError):
        return RunProblem(problem=error.problem, remedy=error.remedy)
    if is_out_of_memory(error):
        return explain_out_of_memory(error, directory, settings)
    if system_error(error) in DISK_FULL:
        return RunProblem(
            problem=scrubbed(tr("The disk is full, or a quota is used up: {error}.", error=error)),
            remedy=tr("Free some space, then resume the run from its newest checkpoint."),
        )
    refused = _refused_by_the_disk(error, directory)
    if refused is not None:
        return refused
    return RunProblem(
        problem=scrubbed(
            tr("Something went wrong: {error}", error=f"{type(error).__name__}: {error}")
        ),
        remedy=tr("The whole log is in {path}.", path=directory.log_path),
        is_bug=True,
    )


def _refused_by_the_disk(error: Exception, directory: RunDirectory) -> RunProblem | None:
    """Where the disk refuses a file of the run's folder: forbidden, broken, or no file at all."""
    if not isinstance(error, OSError) or error.errno not in REFUSED:
        return None
    names = (name for name in (error.filename2, error.filename) if isinstance(name, str))
    path = next((name for name in names if Path(name).is_relative_to(directory.path)), None)
    if path is None:
        return None
    return RunProblem(
        problem=tr("{path} cannot be read or written: {reason}.", path=path, reason=error.strerror),
        remedy=tr("Mend that, then resume the run from its newest checkpoint."),
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on the host or on a GPU."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)
    # torch's allocator of host memory raises a plain RuntimeError
    on_host = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    return on_gpu or on_host or system_error(error) == errno.ENOMEM


def system_error(error: Exception) -> int | None:
    """The errno behind an error; safetensors has it only in the text of its own error type."""
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError":
        found = re.search(r"\(os error (\d+)\)", str(error))
        return int(found[1]) if found else None
    return None
