"""What the engine offers about datasets. Knows nothing of runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from lora_engine.access import deed
from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.data.bundled_templates import choose_template
from lora_engine.data.checks import (
    CleanedSet,
    DataCheck,
    FindingKind,
    check_dataset,
    save_cleaned,
)
from lora_engine.data.checks.check import ReportProgress
from lora_engine.data.preview_rows import Preview, preview
from lora_engine.data.sources import load_dataset
from lora_engine.data.uploads import DatasetSummary, list_datasets
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec

ANSWERS_BY_ITSELF = translatable(
    "With grpo the model answers by itself, and nothing of a row's own answer is learned: the "
    "marked tokens are what the rule equal compares with."
)


class Datasets:
    """The datasets of one data directory, and the bundled ones."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list(self) -> list[DatasetSummary]:
        """The bundled datasets and the uploads."""
        return list_datasets(self._settings)

    def preview(self, spec: RunSpec, rows: int) -> Preview:
        """The first rows of the spec's dataset as its base model will see them.

        Raises EngineError where the model or the dataset cannot be read.
        """
        base = resolve_base_model(spec.base_model, self._settings)
        tokenizer = load_tokenizer(base)
        length = spec.optimization.max_length
        settings = self._settings
        shown = preview(spec.dataset, tokenizer, length, rows, settings, base, seed=spec.seed)
        if spec.objective.kind == "grpo":
            return replace(shown, notes=(tr(ANSWERS_BY_ITSELF), *shown.notes))
        return shown

    def check(
        self,
        spec: RunSpec,
        progress: ReportProgress | None = None,
        stop: StopSignal = NEVER_STOPPED,
    ) -> DataCheck:
        """What is wrong with the spec's dataset, for its base model and its longest row.

        Raises EngineError where the model or the dataset cannot be read; Stopped.
        """
        own = load_tokenizer(resolve_base_model(spec.base_model, self._settings))
        tokenizer = choose_template(own, spec.dataset.template)
        dataset = load_dataset(spec.dataset, self._settings)
        limit = spec.optimization.max_length
        return check_dataset(dataset, tokenizer, limit, progress=progress, stop=stop)

    @deed("save cleaned dataset")
    def save_cleaned(
        self,
        spec: RunSpec,
        drop: Collection[FindingKind],
        progress: ReportProgress | None = None,
        stop: StopSignal = NEVER_STOPPED,
    ) -> CleanedSet:
        """The spec's dataset without the rows of these findings, in the library of uploads.

        Raises EngineError as `check` and `checks.save_cleaned` do; Stopped.
        """
        check = self.check(spec, progress, stop)
        dataset = load_dataset(spec.dataset, self._settings)
        return save_cleaned(dataset, check, drop, self._settings)
