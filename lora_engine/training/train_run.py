"""One run from its spec to its result folder: prepare, build the model, train, save.

The worker calls this with the run's directory; it reads and writes there and nowhere else. The
loop makes the steps; the worker writes down how the run ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.training.checkpointing.identity import RunIdentity, run_identity
from lora_engine.training.checkpointing.save_and_resume import RunSaver
from lora_engine.training.compatibility import WHOLE_BATCHES
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.classification_scores import ClassificationScores
from lora_engine.training.forward.classifier_path import ClassifierPath, classification_scores
from lora_engine.training.forward.scaled import ScaledPath
from lora_engine.training.kept_base import KeptBase
from lora_engine.training.kernels.loss_scale import LossScale
from lora_engine.training.loop import Callbacks, Steps, TrainingData, TrainingProgress
from lora_engine.training.memory.usage import memory_bytes
from lora_engine.training.models.assemble import build_forward_path, build_trained_model
from lora_engine.training.models.trained_model import TrainedModel
from lora_engine.training.objectives.divergence import is_off_the_start
from lora_engine.training.objectives.grpo import Grpo
from lora_engine.training.objectives.objective import Objective
from lora_engine.training.objectives.preferences import Preferences
from lora_engine.training.objectives.reference import (
    Reference,
    ReferencedRows,
    StoppedBeforeTraining,
)
from lora_engine.training.objectives.rollouts import Sampler
from lora_engine.training.objectives.supervised import Supervised
from lora_engine.training.objectives.weighted_classes import WeightedClasses, balanced_weights
from lora_engine.training.optimizers.factory import make_optimizer, trained_parameters
from lora_engine.training.optimizers.update import NonFiniteLoss
from lora_engine.training.preparation import PreparedRun, prepare, write_memory_prediction
from lora_engine.training.ranks.processes import Group
from lora_engine.training.reference_of_run import (
    kept_reference,
    make_reference,
    needs_reference,
)
from lora_engine.training.reporting.reporter import Reporter, Reports, SilentReporter
from lora_engine.training.skipped_imports import skip_unused_imports
from lora_engine.training.streaming.layer_stream import LayerStream
from lora_engine.training.streaming.rides import StreamedSupervised
from lora_engine.training.streaming.streamed_path import StreamedPath

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")


def train_run(
    directory: RunDirectory,
    settings: Settings,
    resume: bool,
    progress: TrainingProgress,
    should_stop: Callable[[], bool],
    group: Group | None = None,
    kept: KeptBase | None = None,
) -> bool:
    """The whole run; `progress` follows it. True when all steps are done, False when stopped.

    group: the processes that share the run, of which this is one; the first one's `should_stop`
    counts for all. kept: may hold the run's base.
    Raises EngineError for what the person can mend. The only such error after which a result is
    saved is a loss that is no longer finite.
    """
    if group is not None:
        group.wait_for_the_first()  # so that the data is fetched and tokenized once
    run = with_kept_base(prepare(directory, settings), kept)
    skip_unused_imports([run.spec])
    if group is not None:
        run = replace(run, ranks=group.join(run.device, run.spec.optimization.sharding == "fsdp"))
    return train_prepared(run, resume, progress, should_stop)


def with_kept_base(run: PreparedRun, kept: KeptBase | None) -> PreparedRun:
    """The run with its base where that is kept. What is kept and does not fit is let go."""
    loaded = None if kept is None else kept.take(run.spec, run.base, run.dtype)
    return run if loaded is None else replace(run, loaded=loaded)


def train_prepared(
    run: PreparedRun, resume: bool, progress: TrainingProgress, should_stop: Callable[[], bool]
) -> bool:
    """`train_run` from where everything before the model is ready."""

    def all_stop() -> bool:
        return run.ranks.agreed(should_stop())

    try:
        ready = ReadyRun(run, resume, progress, should_stop=all_stop)
    except StoppedBeforeTraining:
        return False
    try:
        ready.begin()
        while not ready.steps.are_done:
            if all_stop():
                ready.stop()
                return False
            ready.steps.make()
        ready.finish()
    except NonFiniteLoss:
        ready.save_result()
        raise
    finally:
        ready.close()
    return True


class ReadyRun:
    """A prepared run with its model, its optimizer and all that writes: ready to make its steps.

    begin, then the steps until they are done, then finish, or stop before that; close in any case.
    """

    def __init__(
        self,
        run: PreparedRun,
        resume: bool,
        progress: TrainingProgress,
        base: PreTrainedModel | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        stream: LayerStream | None = None,
    ) -> None:
        """base: the base model where it is loaded already, for this run alone to put its adapter
        on. stream: as `open_streamed_path` has it. Raises EngineError where there is none to load,
        or to resume; StoppedBeforeTraining where `should_stop` says so while a reference is
        computed.
        """
        self.run, self.progress = run, progress
        identity = _identity(run)
        scale = LossScale() if str(run.dtype) == "torch.float16" else None
        self._saver = RunSaver(run, identity, scale)
        checkpoint = self._saver.checkpoint_to_resume() if resume else None
        if checkpoint is None and run.extended_run is not None:
            checkpoint = self._saver.checkpoint_to_extend()
        if base is None and run.ranks.is_first:
            write_memory_prediction(run)
        reference = kept_reference(run, identity)
        is_missing = needs_reference(run.spec.objective) and run.ranks.agreed(reference is None)
        self.trained_model = build_trained_model(run, checkpoint is None or is_missing, base)
        self.optimizer = make_optimizer(
            self.trained_model.model, run.spec.method, run.spec.optimization
        )
        path = None
        if is_missing:
            # The reference is the model as it starts, so before a checkpoint is restored.
            path = build_forward_path(run, self.trained_model)
            reference = make_reference(run, identity, path, should_stop)
        if checkpoint is not None:
            self._saver.restore(checkpoint, self.trained_model, self.optimizer, progress)
        run.ranks.copy_from_first(trained_parameters(self.trained_model.model).values())
        self.path = path or build_forward_path(run, self.trained_model, stream)
        if scale is not None:
            self.path = ScaledPath(self.path, scale)
        self._reporter = _reporter(run, self.trained_model, self.path)
        self.data = _training_data(run, reference)
        self.steps = Steps(
            _objective(run, self.path, self.optimizer),
            self.optimizer,
            self.data,
            run.spec.optimization,
            progress,
            self._callbacks(),
            run.ranks,
            divides=run.spec.objective.kind not in WHOLE_BATCHES,
        )

    def _callbacks(self) -> Callbacks:
        return Callbacks(
            on_step=self._reporter.on_step,
            save_checkpoint=lambda _: self.save_checkpoint(),
            memory_bytes=lambda: memory_bytes(self.run.device),
            on_evaluation=self._reporter.on_evaluation,
            classification_scores=self._classification_scores,
        )

    def _classification_scores(self) -> ClassificationScores | None:
        """Scores on the held-out rows, written down class by class."""
        rows, batch_size = self.data.evaluation_rows, self.run.plan.batch_size
        scores = classification_scores(self.path, rows, batch_size)
        if scores is not None:
            self._reporter.on_scores(self.progress.step, scores)
        return scores

    def begin(self) -> None:
        """Report how things stand before the first step; nothing where the run is resumed."""
        if self.progress.step > 0:
            return
        if self.run.starting_adapter is not None:
            rows = self.data.evaluation_rows
            found = self.steps.objective.evaluate(rows, self.run.plan.batch_size)
            self.progress.start_eval_loss = found.loss
            log.info("evaluation loss before the first step: %s", self.progress.start_eval_loss)
        self._reporter.on_evaluation(self.progress)

    def finish(self) -> None:
        """Save the last checkpoint and the result of a run whose steps are done."""
        self._evaluate_each_set()
        if not self.run.ranks.is_first:
            return
        self._saver.save_last_checkpoint(self.trained_model, self.optimizer, self.progress)
        if self.run.spec.optimization.save_best:
            self._saver.save_best_result(self.trained_model, self.progress)
        else:
            self.save_result()

    def _evaluate_each_set(self) -> None:
        """Of a mixture, the evaluation loss of each set."""
        found, start = {}, 0
        for source, count in self.run.data.evaluated_sets:
            rows = self.data.evaluation_rows[start : start + count]
            start += count
            loss = self.steps.objective.evaluate(rows, self.run.plan.batch_size).loss
            if loss is not None:
                found[source] = loss
                log.info("evaluation loss of %s: %.4f", source, loss)
        self.progress.eval_loss_by_set = found or None

    def stop(self) -> None:
        """Save what there is, to go on from later."""
        self.save_checkpoint()
        self.save_result()

    def save_checkpoint(self) -> None:
        if self.run.ranks.is_first:
            self._saver.save_checkpoint(self.trained_model, self.optimizer, self.progress)

    def save_result(self) -> None:
        if self.run.ranks.is_first:
            self._saver.save_result(self.trained_model, self.progress)

    def close(self) -> None:
        self._reporter.close()


def _reporter(run: PreparedRun, trained_model: TrainedModel, path: ForwardPath) -> Reports:
    """The first process reports. The others pass through the model with it, where each pass of it
    needs theirs."""
    if run.ranks.is_first:
        return Reporter(run, trained_model, path)
    return SilentReporter(run, path)


def _training_data(run: PreparedRun, reference: Reference | None) -> TrainingData:
    training, evaluation = run.data.training, run.data.evaluation
    if reference is None:
        return TrainingData(training, evaluation, run.plan)
    return TrainingData(
        ReferencedRows(training, reference.training),
        ReferencedRows(evaluation, reference.evaluation),
        run.plan,
    )


def _objective(run: PreparedRun, path: ForwardPath, optimizer: torch.optim.Optimizer) -> Objective:
    """What the run's steps make likelier."""
    spec = run.spec
    if spec.objective.kind == "grpo":
        sampler = Sampler(path, spec.objective, run.tokenizer, spec.seed)
        return Grpo(sampler, optimizer, spec.optimization.max_grad_norm)
    if isinstance(path, ClassifierPath) and run.spec.objective.class_weights == "balanced":
        weights = balanced_weights(run.data.training, len(run.data.labels))
        shown = zip(run.data.labels, weights, strict=True)
        log.info("weights of the classes: %s", ", ".join(f"{a} {b:.3g}" for a, b in shown))
        return WeightedClasses(path, weights, run.ranks)
    if run.spec.objective.learns_preferences:
        measures_kl = run.spec.objective.has_reference and is_off_the_start(run.spec.method)
        max_length = run.spec.optimization.max_length
        return Preferences(path, run.spec.objective, max_length, measures_kl, run.ranks)
    if isinstance(path, StreamedPath):
        return StreamedSupervised(path)
    return Supervised(path, run.ranks)


def _identity(run: PreparedRun) -> RunIdentity:
    adapter = run.starting_adapter
    content, sha256 = run.data.content_hash, None if adapter is None else adapter.sha256
    return run_identity(run.spec, run.base, content, sha256)
