"""What the engine offers for choosing a rank: advice before a run, and judgement after it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from lora_engine.adapter_operations.merge_bases import quantized_in_training
from lora_engine.adapters import describe_adapter, resolve_adapter
from lora_engine.advisor.advice import Advice, AdviceRequest, advise
from lora_engine.advisor.after_run import AdviceAfter, advise_after
from lora_engine.advisor.answers import with_answers
from lora_engine.advisor.bootstrap import DRAWS
from lora_engine.advisor.children import Children, read_children
from lora_engine.advisor.classifier_losses import measure_classifiers
from lora_engine.advisor.earlier_runs import EarlierRuns
from lora_engine.advisor.early_warnings import EarlyWarning, early_warnings
from lora_engine.advisor.forecast import RunForecast, expected_bytes, forecast
from lora_engine.advisor.forecast_rows import FirstFigures, first_figures
from lora_engine.advisor.judgement import judge
from lora_engine.advisor.judgement_report import Judgement
from lora_engine.advisor.loss_tables import MOST_ROWS, LoadColumns, measure
from lora_engine.advisor.proposal_losses import ProposalLosses, measure_proposals
from lora_engine.advisor.rank_proposal import RankProposals, propose_ranks
from lora_engine.advisor.reading import AdviceForSpec, advise_for
from lora_engine.advisor.sampled_lengths import SampledLengths
from lora_engine.advisor.used_rank import UsedRank, used_rank
from lora_engine.base_models import STARTER, resolve_base_model, stored_quantization
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts import training_spec_of
from lora_engine.compare.service import Comparisons
from lora_engine.errors import NotFound
from lora_engine.library_imports import import_peft
from lora_engine.runs.service import Runs
from lora_engine.settings import Settings
from lora_engine.spec import QuantizationSpec, RunSpec
from lora_engine.spectrum import ReportProgress, WorkMonitor

LOSSES = 0.6  # the share of a judgement's work that is not answering


class Advisor:
    """Advice and judgement over the runs of one data directory.

    Losses are measured on the base model that the comparisons keep in memory; those of QLoRA runs
    on one that is quantized as theirs was.
    """

    def __init__(self, settings: Settings, runs: Runs, comparisons: Comparisons) -> None:
        self._settings = settings
        self._runs = runs
        self._comparisons = comparisons
        self._earlier = EarlierRuns(settings.runs_dir)
        self._lengths = SampledLengths()
        self._begins_getting_ready = threading.Lock()  # taken once, and kept
        self._is_ready = threading.Event()

    def advise(self, request: AdviceRequest) -> Advice:
        """As `advice.advise`."""
        return advise(request)

    def advise_for(self, spec: RunSpec, **wishes: Any) -> AdviceForSpec:
        """As `reading.advise_for`, which has the wishes: goal, task, card_gib."""
        return advise_for(spec, self._settings, **wishes)

    def early_warnings(self, spec: RunSpec) -> tuple[EarlyWarning, ...]:
        """As `early_warnings.early_warnings`: what the data alone says against this run."""
        return early_warnings(spec, self._settings)

    def first_figures(self, spec: RunSpec) -> FirstFigures | None:
        """As `forecast_rows.first_figures`, while `forecast` may wait for libraries to load; None
        from then on."""
        return None if self._is_ready.is_set() else first_figures(spec, self._settings)

    def forecast(self, spec: RunSpec) -> RunForecast:
        """As `forecast.forecast`: what this run will take, and by every other method."""
        return forecast(spec, self._settings, self._earlier.now(), self._lengths)

    def get_ready(self) -> None:
        """Load in a thread, once, what forecasts of other runs count with; returns at once."""
        if self._begins_getting_ready.acquire(blocking=False):
            threading.Thread(target=self._load_libraries, name="get-ready", daemon=True).start()

    def _load_libraries(self) -> None:
        import_peft()
        self._is_ready.set()

    def expected_memory(self, spec: RunSpec) -> int | None:
        """As `forecast.expected_bytes`: the memory that this run should need at its peak."""
        return expected_bytes(spec, self._settings, self._earlier.now(), self._lengths)

    def judge(
        self,
        runs: Sequence[str],
        *,
        deleted: Sequence[str] = (),
        not_worse_by: float | None = None,
        rows: int = MOST_ROWS,
        draws: int = DRAWS,
        seed: int = 0,
        progress: ReportProgress | None = None,
        stop: StopSignal = NEVER_STOPPED,
    ) -> Judgement:
        """The smallest rank of these runs that is not worse than the best.

        runs: ids. deleted: names of runs of the same sweep that are gone. not_worse_by: the margin
        in nats a token, 2 % of the best loss where it is None. rows: at most so many, held out and
        general, each. Those that cannot be judged are in `missing`. Raises NotFound for an unknown
        id; InvalidInput for runs that are no one experiment; EngineError where none has finished;
        Stopped.
        """
        children = self._children(runs, deleted)
        monitor = WorkMonitor(progress, stop)
        decide = partial(judge, children, not_worse_by=not_worse_by, draws=draws, seed=seed)
        if children.task != "causal_lm":
            return decide(measure_classifiers(children.present, self._settings, monitor, rows))
        load = self._columns(children.present[0].spec.base_model, children.quantization)
        losses, answers = monitor.part(0.0, LOSSES), monitor.part(LOSSES, 1.0)
        judged = decide(measure(children.present, load, self._settings, losses, rows))
        return with_answers(judged, children.present, load, self._settings, answers, rows)

    def advise_after(self, run: str) -> AdviceAfter:
        """As `after_run.advise_after`, for a run's id.

        Raises NotFound; EngineError where the run has not finished or left no adapter.
        """
        return advise_after(self._children([run]).present[0])

    def used_rank(self, runs: Sequence[str], **monitor: Any) -> UsedRank:
        """As `used_rank.used_rank`, for runs by their ids; those without an adapter are left out.

        Raises as `judge`.
        """
        return used_rank(self._children(runs).present, **monitor)

    def propose_ranks(self, adapter: str, rank: int, **monitor: Any) -> RankProposals:
        """As `rank_proposal.propose_ranks`; adapter: a run's id, a listed name or a folder."""
        folder = resolve_adapter(adapter, self._settings)
        try:
            trained = training_spec_of(folder).method
        except NotFound:
            trained = None
        return propose_ranks(folder, rank, trained, **monitor)

    def measure_proposals(
        self, adapter: str, proposals: RankProposals, **options: Any
    ) -> ProposalLosses:
        """As `proposal_losses.measure_proposals`, on the base that the adapter was trained on."""
        folder = resolve_adapter(adapter, self._settings)
        base = describe_adapter(folder).base_model or STARTER
        load = self._columns(base, quantized_in_training(folder))
        return measure_proposals(folder, proposals, self._settings, load, **options)

    def _children(self, runs: Sequence[str], deleted: Sequence[str] = ()) -> Children:
        views = [self._runs.get(one) for one in dict.fromkeys(runs)]
        return read_children(views, self._runs.directory, self._settings, deleted)

    def _columns(self, base_model: str, quantization: QuantizationSpec | None) -> LoadColumns:
        """Over the comparisons' base, or over one that is quantized while it loads, once."""
        base = resolve_base_model(base_model, self._settings)
        if quantization is None or stored_quantization(base) is not None:
            return partial(self._comparisons.model_of, base)
        shared = cache(partial(SharedBase.load, base, self._settings, quantization))

        def load(columns: Mapping[str, Path]) -> ComparisonModel:
            return ComparisonModel(shared(), columns)

        return load
