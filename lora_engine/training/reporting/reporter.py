"""What a run tells while it trains: metrics, sample answers, how far ΔW got, and trackers.

Nothing here changes what the run learns: no random number is drawn, no weight is touched.
"""

from __future__ import annotations

from lora_engine.files import append_rows
from lora_engine.run_folder import MetricsRow, MetricsWriter, ModuleUpdateRow, UpdateRow, reports
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.loop import Position
from lora_engine.training.models.trained_model import Trainee
from lora_engine.training.preparation import Job
from lora_engine.training.reporting.sample_answers import (
    SamplePrompt,
    answer,
    asked_prompts,
    first_questions,
)
from lora_engine.training.reporting.trackers import open_trackers


class Reporter:
    """Writes a run's files as it goes. Close it; use as the loop's hooks."""

    def __init__(self, job: Job, trainee: Trainee, path: ForwardPath) -> None:
        self._job, self._trainee, self._path = job, trainee, path
        self._prompts = _prompts(job)
        self._trackers = open_trackers(job.spec, job.directory)
        self._metrics = MetricsWriter(job.directory.metrics_path)

    def on_step(self, row: MetricsRow) -> None:
        self._metrics.write(row)
        for tracker in self._trackers:
            tracker.log(row)

    def on_evaluation(self, position: Position) -> None:
        """Answer the prompts and measure ΔW, at the step that was just evaluated; before the first
        too, so that one sees what the training changed."""
        folder, report, step = self._job.directory.path, self._job.spec.report, position.step
        if self._prompts:
            tokenizer, limit = self._job.tokenizer, report.sample_tokens
            answers = answer(self._path, self._prompts, tokenizer, step, limit)
            append_rows(folder / reports.SAMPLES, answers)
        modules = [ModuleUpdateRow(**vars(update)) for update in self._trainee.updates()]
        if modules:
            row = UpdateRow(step=step, modules=tuple(modules))
            append_rows(folder / reports.UPDATES, [row])

    def close(self) -> None:
        self._metrics.close()
        for tracker in self._trackers:
            tracker.close()


def _prompts(job: Job) -> list[SamplePrompt]:
    """The spec's prompts, or the first questions of the rows kept apart."""
    report, data = job.spec.report, job.data
    if not report.samples or job.spec.task != "causal_lm":
        return []
    if report.sample_prompts:
        texts = report.sample_prompts[: report.samples]
        return asked_prompts(texts, job.tokenizer, job.spec.optimization.max_length)
    rows = data.evaluation or data.training
    return first_questions(data.shown, rows, job.tokenizer, report.samples)
