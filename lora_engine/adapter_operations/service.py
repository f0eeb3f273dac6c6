"""What the engine offers for adapters: resize, combine, extract, merge, and what each would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_engine.access import deed, keep_owner, typed_path
from lora_engine.adapter_operations.combine import CombineReport, combine
from lora_engine.adapter_operations.combine_sources import WeightedAdapter
from lora_engine.adapter_operations.extract import ExtractReport, extract
from lora_engine.adapter_operations.extraction_losses import (
    ExtractionLosses,
    extraction_losses,
    not_measured,
)
from lora_engine.adapter_operations.held_out_at_ranks import HeldOutAtRanks, held_out_at_ranks
from lora_engine.adapter_operations.interference import (
    PredictedInterference,
    predicted_interference,
)
from lora_engine.adapter_operations.losses_beside import LossesBeside, losses_beside
from lora_engine.adapter_operations.merge import merge
from lora_engine.adapter_operations.merge_bases import MergeBases, merge_bases
from lora_engine.adapter_operations.merge_report import DType, MergeOptions, MergeReport, Weights
from lora_engine.adapter_operations.resize import ResizeReport, ResizeTarget, resize
from lora_engine.adapter_operations.resize_curve import ResizeCurve, resize_curve
from lora_engine.adapter_operations.trials import new_trial, trial_folder
from lora_engine.adapters import describe_adapter, resolve_adapter
from lora_engine.adapters.names import OF_ADAPTERS, named_folder
from lora_engine.base_models import (
    BUNDLED,
    STARTER,
    BaseModel,
    list_base_models,
    resolve_base_model,
)
from lora_engine.base_models.weight_files import local_folder
from lora_engine.cancellation import NEVER_STOPPED, Stopped, StopSignal
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.service import Comparisons
from lora_engine.data import Row, load_dataset
from lora_engine.errors import EngineError, InvalidInput, NotFound
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, field_problems
from lora_engine.spectrum import ReportProgress, WorkMonitor


class AdapterOperations:
    """Operations on adapters; a source is a run's id, a listed name or a folder.

    Losses are measured on the base model that the comparisons keep in memory.
    """

    def __init__(self, settings: Settings, comparisons: Comparisons) -> None:
        self._settings = settings
        self._comparisons = comparisons

    @deed("resize")
    def resize(
        self, source: str | Path, output: Path, target: ResizeTarget, **options: Any
    ) -> ResizeReport:
        """As `resize.resize`, which has the options."""
        with self._owned(output) as path:
            return resize(self._folder(source), path, target, **options)

    def resize_curve(self, source: str | Path, **options: Any) -> ResizeCurve:
        """As `resize_curve.resize_curve`."""
        return resize_curve(self._folder(source), **options)

    def held_out_at_ranks(
        self, source: str | Path, ranks: Sequence[int] | None = None, **options: Any
    ) -> HeldOutAtRanks:
        """As `held_out_at_ranks.held_out_at_ranks`, on the base the adapter was trained on."""
        folder = self._folder(source)
        base = self._base(self._base_of(folder))

        def load(columns: Mapping[str, Path]) -> ComparisonModel:
            return self._comparisons.model_of(base, columns)

        return held_out_at_ranks(folder, ranks, self._settings, load, **options)

    @deed("combine")
    def combine(
        self, sources: Sequence[WeightedAdapter], output: Path, **options: Any
    ) -> CombineReport:
        """As `combine.combine`, which has the options."""
        with self._owned(output) as path:
            return combine(self._weighted(sources), path, **options)

    @deed("combine trial")
    def combine_trial(
        self, sources: Sequence[WeightedAdapter], name: str, **options: Any
    ) -> CombineReport:
        """`combine` into a trial, which is heard before anything is kept and is in no list."""
        with new_trial(self._settings, name) as output:
            return combine(self._weighted(sources), output, **options)

    @deed("extract")
    def extract(
        self,
        base: str,
        tuned: str | Path,
        output: Path,
        target: ResizeTarget,
        *,
        rows: str | None = None,
        overwrite: bool = False,
        progress: ReportProgress | None = None,
        stop: StopSignal = NEVER_STOPPED,
    ) -> ExtractReport:
        """As `extract.extract`; base and tuned: names, folders, and files for the tuned one.

        rows: a dataset to measure the losses on, as `extraction_losses`. Where that fails the
        adapter stays, and a note says why there are none.
        """
        monitor = WorkMonitor(progress, stop)
        first, second = self._base(base), self._tuned(tuned)
        chosen = None if rows is None else self._rows(rows)
        part = monitor.part(0.0, 1.0 if chosen is None else 0.5)
        with self._owned(output) as path:
            done = extract(
                first, second, path, target, overwrite=overwrite, progress=part.step, stop=stop
            )
        if chosen is None:
            return done
        part = monitor.part(0.5, 1.0)
        try:
            losses = extraction_losses(
                first, second, done.path, chosen, self._settings, progress=part.step, stop=stop
            )
        except Stopped:
            raise
        except EngineError as error:
            return replace(done, notes=(not_measured(error),))
        return replace(done, losses=losses)

    def extraction_losses(
        self, base: str, tuned: str | Path, adapter: Path, rows: str, **monitor: Any
    ) -> ExtractionLosses:
        """As `extraction_losses.extraction_losses`; rows: a dataset."""
        first, second = self._base(base), self._tuned(tuned)
        chosen = self._rows(rows)
        return extraction_losses(first, second, adapter, chosen, self._settings, **monitor)

    def predicted_interference(
        self, sources: Sequence[WeightedAdapter], **options: Any
    ) -> PredictedInterference:
        """As `interference.predicted_interference`."""
        return predicted_interference(self._weighted(sources), **options)

    def losses_beside(
        self, adapters: Sequence[str], rows_of: Sequence[str] | None = None, **options: Any
    ) -> LossesBeside:
        """As `losses_beside.losses_beside`, on the base that the first adapter was trained on.

        rows_of: whose held-out rows; those of all adapters where it is left out.
        """
        base = self._base_of(self._folder(adapters[0]))
        model = self._comparisons.model(base, adapters)
        folders = {name: self._folder(name) for name in (adapters if rows_of is None else rows_of)}
        return losses_beside(model, folders, self._settings, **options)

    def merge_bases(self, adapter: str | Path, base: str | None = None) -> MergeBases:
        """As `merge_bases.merge_bases`; the adapter's own base where none is named."""
        folder = self._folder(adapter)
        return merge_bases(folder, self._base(base or self._base_of(folder)))

    @deed("merge")
    def merge(
        self,
        adapter: str | Path,
        output: Path,
        *,
        base: str | None = None,
        original: str | None = None,
        rows: str | None = None,
        dtype: DType | None = None,
        weights: Weights | None = None,
        prove: bool = True,
        overwrite: bool = False,
        **monitor: Any,
    ) -> MergeReport:
        """As `merge.merge`, with names for the base (the adapter's own where none is given), for
        the original model and for the dataset of the proof."""
        folder = self._folder(adapter)
        options = MergeOptions(
            dtype=dtype,
            weights=weights,
            original=None if original is None else self._base(original),
            rows=None if rows is None else self._rows(rows),
            overwrite=overwrite,
            prove=prove,
        )
        found = self._base(base or self._base_of(folder))
        with self._owned(output) as path:
            return merge(folder, found, path, self._settings, options, **monitor)

    @contextmanager
    def _owned(self, output: Path) -> Iterator[Path]:
        """The path to write, which is then the person's own. Raises EngineError."""
        path = typed_path(output, self._settings)
        yield path
        keep_owner(path)

    def adapter_folder(self, name: str) -> Path:
        """Where an adapter of this name is written, to be listed. Raises InvalidInput."""
        return named_folder(self._settings.data_dir / "adapters", name, reserved=OF_ADAPTERS)

    def model_folder(self, name: str) -> Path:
        """Where a model of this name is written, to be listed as a base. Raises InvalidInput."""
        return named_folder(self._settings.models_dir, name, tr("The model"), BUNDLED)

    def trial_folder(self, name: str) -> Path:
        """As `trials.trial_folder`."""
        return trial_folder(self._settings, name)

    def _weighted(self, sources: Sequence[WeightedAdapter]) -> list[WeightedAdapter]:
        return [replace(one, path=self._folder(one.path)) for one in sources]

    def _rows(self, dataset: str) -> Sequence[Row]:
        try:
            spec = DatasetSpec(source=dataset)
        except ValidationError as error:
            problems = field_problems(error, "rows")
            raise InvalidInput(tr("The dataset"), problems, tr("Give another name.")) from None
        return load_dataset(spec, self._settings).rows

    def _tuned(self, name: str | Path) -> Path:
        """A listed model's folder, another folder or a file."""
        path = typed_path(name, self._settings)
        is_listed = str(name) in [one.name for one in list_base_models(self._settings)]
        if path.exists() and not is_listed:
            return path
        found = self._base(str(name))
        folder = local_folder(found)
        if folder is None:
            raise NotFound(
                tr("{name} is not on this machine.", name=f"{found.name!r}"),
                tr("Give the model's folder."),
            )
        return folder

    def _base(self, name: str) -> BaseModel:
        return resolve_base_model(name, self._settings)

    def _base_of(self, adapter: Path) -> str:
        return describe_adapter(adapter).base_model or STARTER

    def _folder(self, source: str | Path) -> Path:
        return resolve_adapter(str(source), self._settings)
