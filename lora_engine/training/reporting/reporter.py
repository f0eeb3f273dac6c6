"""A run's reports while it trains: metrics, sample answers, ΔW, classes' scores, and trackers.

Nothing here changes what the run learns: it draws no random number and touches no weight.
"""

from __future__ import annotations

import logging
from typing import Protocol

from lora_engine.files import append_rows
from lora_engine.run_folder import (
    ClassesRow,
    MetricsRow,
    MetricsWriter,
    ModuleUpdateRow,
    UpdateRow,
    reports,
)
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.classification_scores import ClassificationScores
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.models.trained_model import TrainedModel
from lora_engine.training.preparation import PreparedRun
from lora_engine.training.reporting.sample_answers import (
    SamplePrompt,
    answer_prompts,
    prompts_from_rows,
    prompts_from_texts,
)
from lora_engine.training.reporting.trackers import open_trackers

log = logging.getLogger("lora_engine.training.worker")


class Reports(Protocol):
    """What a run says while it trains."""

    def on_step(self, row: MetricsRow) -> None: ...

    def on_evaluation(self, progress: TrainingProgress) -> None: ...

    def on_scores(self, step: int, scores: ClassificationScores) -> None: ...

    def close(self) -> None: ...


class Reporter:
    """Writes the reports after each step and each evaluation. The caller closes it."""

    def __init__(self, run: PreparedRun, trained_model: TrainedModel, path: ForwardPath) -> None:
        self._run, self._trained_model, self._path = run, trained_model, path
        self._prompts = _prompts(run)
        self._trackers = open_trackers(run.spec, run.directory)
        self._metrics = MetricsWriter(run.directory.metrics_path)

    def on_step(self, row: MetricsRow) -> None:
        self._metrics.write(row)
        for tracker in self._trackers:
            tracker.log(row)

    def on_evaluation(self, progress: TrainingProgress) -> None:
        """Answer the sample prompts and measure ΔW at the step that was just evaluated.

        Also called before the first step, so that one sees what the training changed.
        """
        folder, report, step = self._run.directory.path, self._run.spec.report, progress.step
        if self._prompts:
            tokenizer, limit = self._run.tokenizer, report.sample_tokens
            answers = answer_prompts(self._path, self._prompts, tokenizer, step, limit)
            append_rows(folder / reports.SAMPLES, answers)
        modules = [ModuleUpdateRow(**vars(update)) for update in self._trained_model.updates()]
        if modules:
            row = UpdateRow(step=step, modules=tuple(modules))
            append_rows(folder / reports.UPDATES, [row])

    def on_scores(self, step: int, scores: ClassificationScores) -> None:
        """Write a classifier's scores after `step`, each class's among them."""
        row = ClassesRow(step=step, **vars(scores))
        append_rows(self._run.directory.path / reports.CLASSES, [row])

    def close(self) -> None:
        self._metrics.close()
        for tracker in self._trackers:
            tracker.close()


class SilentReporter:
    """Of a process that is not the first of its run: it writes nothing.

    Where the base is divided over the devices, it answers the prompts too: each pass of the first
    process needs its part of the base.
    """

    def __init__(self, run: PreparedRun, path: ForwardPath) -> None:
        self._run, self._path = run, path
        self._prompts = _prompts(run) if run.ranks.is_lockstep else []

    def on_step(self, row: MetricsRow) -> None:
        pass

    def on_evaluation(self, progress: TrainingProgress) -> None:
        if self._prompts:
            limit = self._run.spec.report.sample_tokens
            answer_prompts(self._path, self._prompts, self._run.tokenizer, progress.step, limit)

    def on_scores(self, step: int, scores: ClassificationScores) -> None:
        pass

    def close(self) -> None:
        pass


def _prompts(run: PreparedRun) -> list[SamplePrompt]:
    """The spec's own prompts, or else the first questions of the held-out rows."""
    report, data = run.spec.report, run.data
    if not report.samples or run.spec.task != "causal_lm":
        return []
    if run.spec.optimization.stream_base:
        log.warning("no sample answers are written: each token would read the whole base")
        return []
    if report.sample_prompts:
        texts = report.sample_prompts[: report.samples]
        longest = run.spec.optimization.max_length
        return prompts_from_texts(texts, run.tokenizer, longest, bool(data.template))
    rows = data.evaluation or data.training
    return prompts_from_rows(data.sample_rows, rows, run.tokenizer, report.samples)
