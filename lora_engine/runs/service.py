"""What the engine offers about runs: submit, watch, stop, resume, annotate and delete them.

Every change goes through the store, and the supervisor looks at the workers right after it, so
that the answer shows what came of it. Knows nothing of how a worker trains.
"""

from __future__ import annotations

from collections.abc import Sequence

from lora_engine.access import deed, is_mine
from lora_engine.annotations import read_note, read_tags
from lora_engine.errors import Conflict
from lora_engine.language import tr
from lora_engine.run_folder import MetricsRow, RunDirectory
from lora_engine.runs.curve import POINTS, Curves
from lora_engine.runs.deletion import delete_run
from lora_engine.runs.extension import ExtensionPlan, plan_extension, refuse_unfinished
from lora_engine.runs.launcher import shell_command
from lora_engine.runs.memory_room import MemoryWait, read_wait
from lora_engine.runs.record import RunRecord
from lora_engine.runs.resuming import (
    Place,
    checked_to_go_on,
    has_choice,
    places_to_go_on,
    requeue_as,
)
from lora_engine.runs.run_files import RunFile, run_files
from lora_engine.runs.stall_detection import Stall, find_stall
from lora_engine.runs.states import RESUMABLE, RunState, state_name
from lora_engine.runs.store import RunStore, no_such_run
from lora_engine.runs.submission import new_id, queue_runs
from lora_engine.runs.supervisor import Supervisor
from lora_engine.runs.view import RunView, view_run
from lora_engine.settings import Settings
from lora_engine.spec import ExtensionSpec, RunSpec
from lora_engine.training.checkpointing.extending import (
    identity_before_training,
    refuse_unextendable,
)
from lora_engine.training.preflight import check_run


class Runs:
    """The runs of one data directory. A method that takes an id raises NotFound for an unknown
    one."""

    def __init__(self, store: RunStore, supervisor: Supervisor, settings: Settings) -> None:
        self._store = store
        self._supervisor = supervisor
        self._settings = settings
        self._curves = Curves()

    def refresh(self) -> None:
        """Look at the workers once, now. A process without the supervisor's thread needs this."""
        self._supervisor.tick()

    def expect(self) -> None:
        """Somebody may start a run soon: a server has a process import the libraries for it."""
        self._supervisor.standby.expect()

    @deed("start")
    def submit(self, spec: RunSpec) -> RunView:
        """Check the spec against this machine, then queue a run.

        Raises EngineError where the run could not work; nothing is left behind then.
        """
        spec = check_run(spec, self._settings)
        if spec.extended_from is not None:
            self._check_extension(spec, spec.extended_from)
        run_id = new_id()
        queue_runs({run_id: spec}, self._store, self._settings)
        self.refresh()
        return self.get(run_id)

    def get(self, run_id: str) -> RunView:
        return self._view(self._store.get(run_id))

    def metrics(self, run_id: str, after_seq: int = 0) -> list[MetricsRow]:
        """The logged rows with a number above `after_seq`."""
        return self._existing(run_id).metrics(after_seq)

    def log_tail(self, run_id: str, lines: int = 200) -> str:
        """The last lines of the worker's log."""
        return self._existing(run_id).log_tail(lines)

    def curve(self, run_id: str, points: int = POINTS) -> list[MetricsRow]:
        """A run's metrics in the order of their steps, thinned to what a figure can show."""
        return self._curves.read(self._existing(run_id), points)

    def shell_command(self, run_id: str) -> str:
        """The shell command that trains the same again, with this program and these settings."""
        return shell_command(self._existing(run_id).spec_path, self._settings)

    def stall(self, run_id: str) -> Stall | None:
        """How long a running worker has logged no step; None where nothing is amiss."""
        view = self.get(run_id)
        return find_stall(view.record, self.directory(run_id), view.newest)

    def waits_for(self, run_id: str) -> MemoryWait | None:
        """The memory that the next run of the queue waits for; None for every other run."""
        if self.queue()[:1] != [run_id]:
            return None
        return read_wait(self.directory(run_id))

    def files(self, run_id: str) -> list[RunFile]:
        """What lies in the run's folder, with sizes."""
        return run_files(self.directory(run_id).path)

    def directory(self, run_id: str) -> RunDirectory:
        """The run's directory, whether there is such a run or not. Raises NotFound for one that
        belongs to somebody else."""
        directory = RunDirectory(self._settings.runs_dir / run_id)
        if not is_mine(directory.path):
            raise no_such_run(run_id)
        return directory

    @deed("cancel")
    def cancel(self, run_id: str) -> RunView:
        """Ask a run to stop. Asking twice is the same as once; an ended run stays as it is."""
        self._store.get(run_id)
        self._store.cancel(run_id)
        self.refresh()
        return self.get(run_id)

    @deed("pause")
    def pause(self, run_id: str) -> RunView:
        """Ask a run to save a checkpoint and stop, to be resumed later; twice is the same as once.

        Raises Conflict where it is over or being cancelled.
        """
        self._store.get(run_id)
        self._store.pause(run_id)
        self.refresh()
        view = self.get(run_id)
        if view.record.state not in (RunState.PAUSING, RunState.PAUSED):
            raise Conflict(
                tr(
                    "Run {run_id} is {state}; only a run that waits or goes on can be paused.",
                    run_id=run_id,
                    state=state_name(view.record.state),
                ),
                tr("`runs` lists the states."),
            )
        return view

    @deed("resume")
    def resume(self, run_id: str, place: Place | None = None) -> RunView:
        """Queue a run again, to go on from its newest valid checkpoint; twice is the same as once.

        place: where it goes on; without one where it was. Raises Conflict where the run is
        stopping or has finished, or somebody still trains in its folder; EngineError where it
        could not work there.
        """
        record = self._store.get(run_id)
        if record.state not in (RunState.QUEUED, RunState.RUNNING):
            if record.state not in RESUMABLE:
                raise _not_resumable(record)
            spec = checked_to_go_on(record, place or Place(), self._settings)
            if not requeue_as(record, spec, self.directory(run_id), self._store):
                raise _not_resumable(self._store.get(run_id))
        self.refresh()
        return self.get(run_id)

    def places_to_go_on(self, run_id: str) -> tuple[str, ...]:
        """The launchers that a run which is resumed can choose from, its own first; none where
        there is nothing to choose, not even a number of devices."""
        spec = self._store.get(run_id).spec
        if spec is None or not has_choice(spec, self._settings):
            return ()
        return places_to_go_on(spec, self._settings)

    def plan_extension(
        self, run_id: str, *, epochs: float | None = None, steps: int | None = None
    ) -> ExtensionPlan:
        """What `extend` would do. Raises Conflict, InvalidInput."""
        view = self.get(run_id)
        return plan_extension(view.record, view.newest, epochs, steps)

    @deed("extend")
    def extend(
        self, run_id: str, *, epochs: float | None = None, steps: int | None = None
    ) -> RunView:
        """Queue a new run that goes on from the finished run's last checkpoint.

        Raises Conflict where the run has not finished, kept no checkpoint of its last step, or its
        spec, data or base model changed since; InvalidInput where not one of the two is given.
        """
        return self.submit(self.plan_extension(run_id, epochs=epochs, steps=steps).spec)

    def _check_extension(self, spec: RunSpec, extension: ExtensionSpec) -> None:
        refuse_unfinished(self._store.get(extension.run))
        identity = identity_before_training(spec, self._settings)
        refuse_unextendable(self.directory(extension.run), extension.step, identity)

    @deed("delete run")
    def delete(self, run_id: str) -> None:
        """Delete a run that is over, with its adapter. Raises Conflict where it is not over."""
        delete_run(run_id, self._store, self._settings)

    @deed("note on run")
    def annotate(self, run_id: str, note: str, tags: Sequence[str]) -> RunView:
        """Keep a note and tags with a run. Raises InvalidInput."""
        self._store.get(run_id)
        self._store.annotate(run_id, read_note(note), read_tags(tags))
        return self.get(run_id)

    def queue(self) -> list[str]:
        """The ids of the runs that wait, in the order in which they will start."""
        return [record.id for record in self._store.queue()]

    @deed("move in queue")
    def move_in_queue(self, run_id: str, places: int) -> list[str]:
        """Let a waiting run start earlier (places < 0) or later; the queue afterwards.

        At an end of the queue, or where the run waits no more, nothing changes.
        """
        self._store.get(run_id)
        for _ in range(abs(places)):
            queue = self.queue()
            place = queue.index(run_id) if run_id in queue else -1
            other = place + (1 if places > 0 else -1)
            if place < 0 or not 0 <= other < len(queue):
                break
            self._store.swap_in_queue(run_id, queue[other])
        return self.queue()

    def list(self) -> list[RunView]:
        """Every run, newest first."""
        # The last public method: below it, `list` in an annotation means this one.
        return [self._view(record) for record in self._store.list()]

    def _existing(self, run_id: str) -> RunDirectory:
        return self.directory(self._store.get(run_id).id)

    def _view(self, record: RunRecord) -> RunView:
        return view_run(record, self.directory(record.id))


def _not_resumable(record: RunRecord) -> Conflict:
    return Conflict(
        tr(
            "Run {run_id} is {state}; only a run that was paused, interrupted, "
            "failed or was cancelled can be resumed.",
            run_id=record.id,
            state=state_name(record.state),
        ),
        tr("Wait until it has stopped, or submit it again as a new run."),
    )
