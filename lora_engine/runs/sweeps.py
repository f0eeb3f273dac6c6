"""What the engine offers about sweeps: submit a grid of runs, watch, stop, resume, delete it whole.

The children are ordinary runs of the list, which `engine.runs` can stop, resume and delete one by
one. One that fails leaves the others going. Knows nothing of how a worker trains, nor of which
child is best.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.access import deed, forget_owner, is_mine, keep_owner
from lora_engine.errors import (
    Conflict,
    EngineError,
    FieldProblem,
    InvalidInput,
    NotFound,
    Unreadable,
)
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.deletion import delete_run
from lora_engine.runs.launchers import refuse_held_elsewhere, refuse_unconfigured
from lora_engine.runs.record import RunRecord
from lora_engine.runs.states import OVER, RESUMABLE, STOPPING, RunState, state_name
from lora_engine.runs.store import RunStore
from lora_engine.runs.submission import new_id, queue_runs, undone_on_failure
from lora_engine.runs.supervisor import Supervisor
from lora_engine.runs.sweep_folder import RefusedRun, SweepFile, SweepFolder, SweptRun
from lora_engine.runs.view import RunView, view_run
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, SweepChild, SweepSpec
from lora_engine.training.preflight import check_run

# How fast and for how long a run learns: the check before a run reads none of these fields.
UNCHECKED: Mapping[str, Any] = {
    "name": True,
    "seed": True,
    "optimization": {
        "learning_rate": True,
        "weight_decay": True,
        "max_grad_norm": True,
        "schedule": True,
        "warmup_ratio": True,
        "epochs": True,
        "max_steps": True,
    },
}


@dataclass(frozen=True)
class SweepView:
    """A sweep as it is shown.

    runs: those there are, in the order of the grid. deleted: the names of those that are not.
    refused: those of the grid that could not begin.
    spec: None where this program cannot read it; `problem` then says why. created_at: seconds since
    the epoch.
    """

    id: str
    name: str
    runs: tuple[RunView, ...]
    spec: SweepSpec | None
    created_at: float
    deleted: tuple[str, ...] = ()
    problem: str | None = None
    refused: tuple[RefusedRun, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether no run of it waits or goes on."""
        return all(view.record.state in OVER for view in self.runs)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "created_at": self.created_at,
            "axes": [axis.model_dump() for axis in self.spec.axes] if self.spec else None,
            "stop_worse": self.spec.stop_worse if self.spec else None,
            "runs": [_child_json(run) for run in self.runs],
            "deleted": list(self.deleted),
            "refused": [one.model_dump() for one in self.refused],
            "problem": self.problem,
        }


class Sweeps:
    """The sweeps of one data directory. A method that takes an id raises NotFound for an unknown
    one."""

    def __init__(self, store: RunStore, supervisor: Supervisor, settings: Settings) -> None:
        self._store = store
        self._supervisor = supervisor
        self._settings = settings

    @deed("start sweep")
    def submit(self, spec: SweepSpec, *, leave_out_refused: bool = False) -> SweepView:
        """Check every run of the grid against this machine, then queue them all.

        leave_out_refused: queue those that can begin; the sweep tells why the others could not.
        Raises EngineError, with the problems of all runs together, where one is refused, or all
        are; nothing is left behind then.
        """
        if leave_out_refused:
            children, refused = _checked_apart(spec, self._settings)
        else:
            children, refused = _checked(spec.children(), self._settings), []
        runs = {new_id(): child for child in children}
        sweep_id = new_id()
        folder = SweepFolder(self._settings.sweeps_dir / sweep_id)
        with undone_on_failure([folder.path]):
            keep_owner(folder.path)
            folder.write(
                SweepFile(
                    name=spec.name,
                    created_at=time.time(),
                    spec=spec,
                    runs=tuple(SweptRun(id=one, name=child.name) for one, child in runs.items()),
                    refused=tuple(refused),
                )
            )
            queue_runs(runs, self._store, self._settings, sweep_id)
        self._supervisor.tick()
        return self.get(sweep_id)

    def get(self, sweep_id: str) -> SweepView:
        if sweep_id not in self._ids():
            raise NotFound(
                tr("There is no sweep {sweep_id}.", sweep_id=f"{sweep_id!r}"),
                tr("`sweeps` lists the sweeps there are."),
            )
        return self._view(sweep_id)

    @deed("cancel sweep")
    def cancel(self, sweep_id: str) -> SweepView:
        """Ask every run of a sweep to stop; those that are over stay as they are."""
        for run in self._waiting_first(sweep_id):
            self._store.cancel(run.id)
        self._supervisor.tick()
        return self.get(sweep_id)

    @deed("pause sweep")
    def pause(self, sweep_id: str) -> SweepView:
        """Ask every run of a sweep to save a checkpoint and stop, to be resumed later."""
        for run in self._waiting_first(sweep_id):
            self._store.pause(run.id)
        self._supervisor.tick()
        return self.get(sweep_id)

    @deed("resume sweep")
    def resume(self, sweep_id: str) -> SweepView:
        """Queue again what was paused, interrupted, failed or was cancelled, to go on together.

        Runs that their worker stopped as clearly worse stay paused; each can be resumed by itself.
        Raises Conflict where one is still stopping, or none waits, goes on or can be resumed;
        EngineError where one could no longer work. None is queued then.
        """
        view = self.get(sweep_id)
        stopped = [run.record for run in view.runs if _is_to_be_resumed(run)]
        if any(run.record.state in STOPPING for run in view.runs):
            raise Conflict(
                tr(
                    "Runs of the sweep {sweep_id} are still stopping: {states}.",
                    sweep_id=sweep_id,
                    states=_states(view),
                ),
                tr("Wait until they have stopped, then resume it."),
            )
        if not stopped and view.is_over:
            raise Conflict(
                tr(
                    "No run of the sweep {sweep_id} can be resumed with it: {states}.",
                    sweep_id=sweep_id,
                    states=_states(view),
                ),
                tr("Resume a run that was stopped as worse by itself, or submit a new sweep."),
            )
        specs = [record.readable_spec() for record in stopped]
        _checked(specs, self._settings)
        for record, spec in zip(stopped, specs, strict=True):
            refuse_unconfigured(spec, self._settings)
            refuse_held_elsewhere(self._directory(record), spec)
        self._store.requeue([record.id for record in stopped])
        self._supervisor.tick()
        return self.get(sweep_id)

    @deed("delete sweep")
    def delete(self, sweep_id: str) -> None:
        """Delete a sweep with all its runs and their adapters. Raises Conflict where one is not
        over."""
        view = self.get(sweep_id)
        if not view.is_over:
            raise Conflict(
                tr(
                    "Runs of the sweep {sweep_id} are not over: {states}.",
                    sweep_id=sweep_id,
                    states=_states(view),
                ),
                tr("Cancel the sweep first, then delete it."),
            )
        for run in view.runs:
            delete_run(run.id, self._store, self._settings)
        folder = self._settings.sweeps_dir / sweep_id
        if folder.exists():  # a sweep is known from its runs too, without a folder
            shutil.rmtree(folder)
        forget_owner(folder)

    def list(self) -> list[SweepView]:
        """Every sweep, newest first. One that cannot be read has its problem in its view."""
        views = [self._view(sweep_id) for sweep_id in self._ids()]
        return sorted(views, key=lambda view: (view.created_at, view.id), reverse=True)

    def _ids(self) -> set[str]:
        folder = self._settings.sweeps_dir
        found = folder.iterdir() if folder.is_dir() else ()
        written = {path.name for path in found if path.is_dir() and is_mine(path)}
        return written | self._store.sweeps()

    def _view(self, sweep_id: str) -> SweepView:
        records = self._store.of_sweep(sweep_id)
        runs = tuple(view_run(record, self._directory(record)) for record in records)
        try:
            file = SweepFolder(self._settings.sweeps_dir / sweep_id).read()
        except Unreadable as error:
            began = min((record.created_at for record in records), default=0.0)
            return SweepView(sweep_id, sweep_id, runs, None, began, problem=error.problem)
        there = {record.id for record in records}
        deleted = tuple(run.name for run in file.runs if run.id not in there)
        return SweepView(
            sweep_id, file.name, runs, file.spec, file.created_at, deleted, refused=file.refused
        )

    def _waiting_first(self, sweep_id: str) -> Iterator[RunRecord]:
        """The runs of a sweep, those that wait first, so that none of them starts meanwhile."""
        records = [run.record for run in self.get(sweep_id).runs]
        yield from sorted(records, key=lambda record: record.state is not RunState.QUEUED)

    def _directory(self, record: RunRecord) -> RunDirectory:
        return RunDirectory(self._settings.runs_dir / record.id)


def _checked(children: Sequence[RunSpec], settings: Settings) -> list[RunSpec]:
    """The specs as they are to be kept, each thing that a check looks at looked at once.

    Raises EngineError for all runs together.
    """
    firsts: dict[str, RunSpec] = {}
    for child in children:
        firsts.setdefault(_as_checked(child), child)
    kept, errors = {}, {}
    for key, first in firsts.items():
        try:
            kept[key] = check_run(first, settings)
        except EngineError as error:
            errors[first.name] = error
    if errors:
        raise _together(errors, all_failed=not kept)
    # a check changes the method alone: to the shape of an adapter to go on from
    return [
        child.model_copy(update={"method": kept[_as_checked(child)].method}) for child in children
    ]


def _checked_apart(spec: SweepSpec, settings: Settings) -> tuple[list[RunSpec], list[RefusedRun]]:
    """The specs that can begin, and what is wrong with the others.

    Raises EngineError for all together where none can.
    """
    kept: list[RunSpec] = []
    errors: list[tuple[SweepChild, EngineError]] = []
    for child in spec.each_child():
        if isinstance(child.spec, InvalidInput):
            errors.append((child, child.spec))
            continue
        try:
            kept.append(check_run(child.spec, settings))
        except EngineError as error:
            errors.append((child, error))
    if not kept:
        raise _together({child.name: error for child, error in errors}, all_failed=True)
    return kept, [
        RefusedRun(
            name=child.name,
            chosen=dict(child.chosen),
            problem=_in_words(error),
            remedy=error.remedy,
        )
        for child, error in errors
    ]


def _in_words(error: EngineError) -> str:
    """What is wrong, without whose fault it is: the run's name stands beside it."""
    if not isinstance(error, InvalidInput):
        return error.problem
    return " ".join(f"{one.path}: {one.message}." for one in error.problems)


def _as_checked(spec: RunSpec) -> str:
    """What of a spec a check looks at, as JSON."""
    return spec.model_dump_json(exclude=UNCHECKED)


def _together(errors: dict[str, EngineError], all_failed: bool) -> EngineError:
    """One error for those of several runs, by the names of the runs."""
    found = list(errors.values())
    if all_failed and len({str(error) for error in found}) == 1:
        return found[0]
    problems: dict[FieldProblem, None] = {}
    for name, error in errors.items():
        of_fields = error.problems if isinstance(error, InvalidInput) else []
        problems |= dict.fromkeys(of_fields or [FieldProblem(name, error.problem)])
    remedies = dict.fromkeys(error.remedy for error in found)
    return InvalidInput(tr("The sweep"), list(problems), " ".join(remedies))


def _is_to_be_resumed(view: RunView) -> bool:
    was_worse = view.result is not None and view.result.stopped_because is not None
    return view.record.state in RESUMABLE and not was_worse


def _states(view: SweepView) -> str:
    """How many runs are in which state, in words."""
    counts = Counter(run.record.state for run in view.runs)
    listed = (
        tr("{count} {state}", count=count, state=state_name(state))
        for state, count in counts.items()
    )
    return ", ".join(listed) or tr("none is left")


def _child_json(run: RunView) -> dict[str, Any]:
    spec = run.record.spec
    return {
        "id": run.id,
        "name": run.record.name,
        "state": run.record.state,
        "rank": spec.method.rank if spec else None,
        "learning_rate": spec.optimization.learning_rate if spec else None,
        "seed": spec.seed if spec else None,
        "step": run.newest.step if run.newest else 0,
        "result": run.result.model_dump(exclude={"said"}) if run.result else None,
    }
