"""One run from its spec to its result folder: prepare, build the model, train, save.

The worker calls this with the run's directory; it reads and writes there and nowhere else. The
loop makes the steps; the worker writes down how the run ended.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.identity import RunIdentity, run_identity
from lora_engine.training.checkpointing.save_and_resume import RunSaver
from lora_engine.training.forward.classifier_path import classification_scores
from lora_engine.training.loop import (
    Callbacks,
    NonFiniteLoss,
    TrainingData,
    TrainingProgress,
    evaluate,
    train,
)
from lora_engine.training.memory.usage import memory_bytes
from lora_engine.training.models.assemble import build_forward_path, build_trained_model
from lora_engine.training.optimizers.factory import make_optimizer
from lora_engine.training.preparation import PreparedRun, prepare, write_memory_prediction
from lora_engine.training.reporting.reporter import Reporter

log = logging.getLogger("lora_engine.training.worker")


def skip_unused_imports(spec: RunSpec) -> None:
    """Keep PEFT from importing bitsandbytes, and torch's compiler with it: 2 of 7 seconds.

    A None in sys.modules is Python's own way to say that a module cannot be imported. It lasts for
    the process, so this is for a process that trains this one run.
    """
    if spec.quantization is None and spec.optimization.optimizer in ("adamw", "adafactor"):
        modules: dict[str, Any] = sys.modules  # typeshed has no None for "not importable"
        modules["bitsandbytes"] = None


def train_run(
    directory: RunDirectory,
    settings: Settings,
    resume: bool,
    progress: TrainingProgress,
    should_stop: Callable[[], bool],
) -> bool:
    """The whole run; `progress` follows it. True when all steps are done, False when stopped.

    Raises EngineError for what the person can mend. The only such error after which a result is
    saved is a loss that is no longer finite.
    """
    run = prepare(directory, settings)
    skip_unused_imports(run.spec)
    return train_prepared(run, resume, progress, should_stop)


def train_prepared(
    run: PreparedRun, resume: bool, progress: TrainingProgress, should_stop: Callable[[], bool]
) -> bool:
    """`train_run` from where everything before the model is ready."""
    optimization, batch_size = run.spec.optimization, run.plan.batch_size
    saver = RunSaver(run, _identity(run))
    checkpoint = saver.checkpoint_to_resume() if resume else None
    if checkpoint is None and run.extended_run is not None:
        checkpoint = saver.checkpoint_to_extend()
    write_memory_prediction(run)
    trained_model = build_trained_model(run, fresh=checkpoint is None)
    optimizer = make_optimizer(trained_model.model, run.spec.method, optimization)
    if checkpoint is not None:
        saver.restore(checkpoint, trained_model, optimizer, progress)
    path = build_forward_path(run, trained_model)
    data = TrainingData(run.data.training, run.data.evaluation, run.plan)
    reporter = Reporter(run, trained_model, path)

    def save_checkpoint(at: TrainingProgress) -> None:
        saver.save_checkpoint(trained_model, optimizer, at)

    callbacks = Callbacks(
        should_stop,
        on_step=reporter.on_step,
        save_checkpoint=save_checkpoint,
        memory_bytes=lambda: memory_bytes(run.device),
        on_evaluation=reporter.on_evaluation,
        classification_scores=lambda: classification_scores(path, data.evaluation_rows, batch_size),
    )
    try:
        if progress.step == 0:
            if run.starting_adapter is not None:
                progress.start_eval_loss = evaluate(path, data.evaluation_rows, batch_size)
                log.info("evaluation loss before the first step: %s", progress.start_eval_loss)
            reporter.on_evaluation(progress)
        finished = train(path, optimizer, data, optimization, progress, callbacks)
    except NonFiniteLoss:
        saver.save_result(trained_model, progress)
        raise
    finally:
        reporter.close()
    if finished:
        saver.save_last_checkpoint(trained_model, optimizer, progress)
    else:
        save_checkpoint(progress)
    if finished and optimization.save_best:
        saver.save_best_result(trained_model, progress)
    else:
        saver.save_result(trained_model, progress)
    return finished


def _identity(run: PreparedRun) -> RunIdentity:
    adapter = run.starting_adapter
    content, sha256 = run.data.content_hash, None if adapter is None else adapter.sha256
    return run_identity(run.spec, run.base, content, sha256)
