"""One run from its spec to its result's folder, top to bottom: prepare, build, train, keep.

Called by the worker with the run's directory; reads and writes there and nowhere else. How a
step is made is `loop`'s, how it all ended the worker's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.save_and_resume import (
    checkpoint_to_resume,
    keep_best_result,
    keep_checkpoint,
    keep_result,
    restore,
)
from lora_engine.training.loop import Hooks, NotFinite, Position, train
from lora_engine.training.memory.usage import memory_bytes
from lora_engine.training.models.assemble import build_path, build_trainee
from lora_engine.training.models.classifier import scores_of
from lora_engine.training.optimizers.factory import make_optimizer
from lora_engine.training.preparation import Job, prepare, write_prediction
from lora_engine.training.reporting.reporter import Reporter


def leave_out_unused(spec: RunSpec) -> None:
    """Keep PEFT from importing bitsandbytes, and torch's compiler with it: 2 of 7 seconds.

    A None in sys.modules is Python's own way to say that a module cannot be imported here. For a
    process that trains this one run.
    """
    if spec.quantization is None and spec.optimization.optimizer in ("adamw", "adafactor"):
        sys.modules["bitsandbytes"] = None


def train_run(
    directory: RunDirectory,
    settings: Settings,
    resume: bool,
    position: Position,
    should_stop: Callable[[], bool],
) -> bool:
    """The whole run. True when all steps are done, False when asked to stop.

    Raises EngineError for what the person can mend; the result is then only saved where the
    loss stopped being a number.
    """
    leave_out_unused(directory.spec())
    return train_job(prepare(directory, settings), resume, position, should_stop)


def train_job(job: Job, resume: bool, position: Position, should_stop: Callable[[], bool]) -> bool:
    """`train_run` from where everything before the model is ready."""
    spec, data = job.spec.optimization, job.data
    checkpoint = checkpoint_to_resume(job) if resume else None
    write_prediction(job)
    trainee = build_trainee(job, fresh=checkpoint is None)
    optimizer = make_optimizer(trainee.model, job.spec.method, spec)
    if checkpoint is not None:
        restore(checkpoint, trainee, optimizer, position)
    path = build_path(job, trainee)
    reporter = Reporter(job, trainee, path)

    def save(at: Position) -> None:
        keep_checkpoint(job, trainee, optimizer, at)

    hooks = Hooks(
        should_stop,
        reporter.on_step,
        save,
        lambda: memory_bytes(job.device),
        reporter.on_evaluation,
        lambda: scores_of(path, data.evaluation, job.plan.batch_size),
    )
    try:
        if position.step == 0:
            reporter.on_evaluation(position)
        finished = train(
            path, optimizer, data.training, data.evaluation, job.plan, spec, position, hooks
        )
    except NotFinite:
        keep_result(job, trainee, position)
        raise
    finally:
        reporter.close()
    if not finished:
        save(position)
    keep = keep_best_result if finished and spec.save_best else keep_result
    keep(job, trainee, position)
    return finished
