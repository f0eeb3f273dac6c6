"""What the engine offers for trying one task by every method: start, read, measure the answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from lora_engine.calculator import MethodCount, compare_methods, named_source
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.service import Comparisons
from lora_engine.errors import Conflict, EngineError, NotFound
from lora_engine.files import read_bounded, write_atomically
from lora_engine.language import tr
from lora_engine.measured_methods.measuring import Latencies, Measuring, Report
from lora_engine.measured_methods.report import MethodsReport, report_of
from lora_engine.run_folder import RunDirectory
from lora_engine.runs import RunView, SweepView
from lora_engine.runs.sweeps import Sweeps
from lora_engine.settings import Settings
from lora_engine.spec import METHOD, WAYS, RunSpec, Way, sweep_over
from lora_engine.training.memory import read_prediction

FILE = "latencies.json"
MAX_BYTES = 1_000_000


class MeasuredMethods:
    """The groups of one data directory: sweeps over the whole method and nothing else.

    A method that takes an id raises NotFound for an unknown one.
    """

    def __init__(self, settings: Settings, sweeps: Sweeps, comparisons: Comparisons) -> None:
        self._settings = settings
        self._sweeps = sweeps
        self._comparisons = comparisons
        self._timing = threading.Lock()

    def submit(self, run: RunSpec, ways: Sequence[Way] = WAYS) -> MethodsReport:
        """Queue a run for each method; one that cannot begin has its row all the same.

        Raises EngineError where none can begin; nothing is left behind then.
        """
        spec = sweep_over(run, others={METHOD: list(ways)})
        return self.report(self._sweeps.submit(spec, leave_out_refused=True).id)

    def list(self) -> list[SweepView]:
        """The groups there are, newest first."""
        return [view for view in self._sweeps.list() if _ways(view)]

    def report(self, group: str) -> MethodsReport:
        """What is known so far of a group's methods."""
        view = self._view(group)
        spec, latencies = view.spec, self._latencies(group)
        assert spec is not None, "only a group whose spec is readable has ways"
        predictions = {
            run.id: found.peak_bytes
            for run in view.runs
            if (found := read_prediction(self._directory(run))) is not None
        }
        notes = [f"{run}: {problem}" for run, problem in _problems(view, latencies).items()]
        return report_of(
            view,
            _ways(view),
            self._counts(spec.run),
            predictions,
            latencies.runs if latencies else {},
            latencies.base_ms_per_token if latencies else None,
            notes,
        )

    def measure_answers(
        self, group: str, told: Report = lambda _: None, stop: StopSignal = NEVER_STOPPED
    ) -> MethodsReport:
        """Measure how long answers take with what each run left, and keep it with the group.

        told: hears what is measured next. A run that cannot answer has no figure, and the report
        a note. Raises Conflict while runs go on; EngineError where the base cannot answer.
        """
        view = self._view(group)
        if not view.is_over:
            raise Conflict(
                tr(
                    "Runs of the group {group} are not over, and would take from the measuring.",
                    group=group,
                ),
                tr("Wait until they have ended."),
            )
        found = Measuring(self._settings, self._comparisons, view, told, stop).run()
        if not stop.is_set():
            path = self._settings.sweeps_dir / group / FILE
            write_atomically(path, found.model_dump_json(indent=1).encode())
        return self.report(group)

    def answers_once(self, group: str) -> MethodsReport:
        """As `measure_answers`, where it was not done yet; a second caller waits for the first."""
        with self._timing:
            report = self.report(group)
            return report if report.has_latencies else self.measure_answers(group)

    def _view(self, group: str) -> SweepView:
        view = self._sweeps.get(group)
        if not _ways(view):
            raise NotFound(
                tr(
                    "{group} is a sweep over other fields than the whole method.",
                    group=f"{group!r}",
                ),
                tr("`sweeps` shows it; `methods` starts a run for each method."),
            )
        return view

    def _counts(self, run: RunSpec) -> Mapping[Way, MethodCount]:
        """What the calculator counts; nothing for a base whose shape is not known here."""
        try:
            source = named_source(run.base_model, self._settings)
            return {count.way: count for count in compare_methods(source, run.method)}
        except EngineError:
            return {}  # the measured figures stand for themselves

    def _latencies(self, group: str) -> Latencies | None:
        path = self._settings.sweeps_dir / group / FILE
        try:
            return Latencies.model_validate_json(read_bounded(path, MAX_BYTES))
        except (OSError, ValidationError, ValueError):
            return None  # not measured yet, or by another program: measured anew at will

    def _directory(self, run: RunView) -> RunDirectory:
        return RunDirectory(self._settings.runs_dir / run.id)


def _ways(view: SweepView) -> list[Way]:
    """The methods of a group, in its order; none where the sweep is no such group."""
    if view.spec is None or [axis.path for axis in view.spec.axes] != [METHOD]:
        return []
    return [way for way in WAYS if way in view.spec.axes[0].values]


def _problems(view: SweepView, latencies: Latencies | None) -> dict[str, str]:
    """Why runs could not answer, by their names."""
    names = {run.id: run.record.name for run in view.runs}
    found = latencies.problems if latencies else {}
    return {names[run]: problem for run, problem in found.items() if run in names}
