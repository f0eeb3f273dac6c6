"""The engine as the pages and the command line hold it: settings, the runs, and what acts on them.

One object, made once for a process and handed to whoever needs it. It knows no screen.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.adapters.library import (
    AdapterSummary,
    describe_adapter,
    list_adapters,
    resolve_adapter,
)
from lora_engine.base_models import list_base_models, load_tokenizer, resolve_base_model
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.compatibility import Foreseen, foresee
from lora_engine.compare.generate.model_pool import ComparisonPool
from lora_engine.compare.generate.prompt_set import PromptSetResult, answer_prompts
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.data.preview_rows import Preview, preview
from lora_engine.errors import Conflict, EngineError
from lora_engine.run_folder.directory import MetricsRow, RunDirectory, RunResult
from lora_engine.runs.curve import POINTS, read_curve
from lora_engine.runs.deletion import delete_run
from lora_engine.runs.notes import read_note, read_tags
from lora_engine.runs.shell_command import command_line
from lora_engine.runs.stall_detection import Silence, silence_of
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunRecord, RunStore
from lora_engine.runs.supervisor import Supervisor
from lora_engine.settings import Settings
from lora_engine.spec.run import RunSpec
from lora_engine.training.preflight import check_run


@dataclass(frozen=True)
class RunView:
    """A run as it is shown: its record, the newest metrics and how it ended."""

    record: RunRecord
    newest: MetricsRow | None
    result: RunResult | None

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def seconds_left(self) -> float | None:
        """From the mean time a step so far; None before the first step or after the last."""
        if self.newest is None or self.record.state is not RunState.RUNNING:
            return None
        steps_left = self.newest.total_steps - self.newest.step
        return self.newest.elapsed_s / self.newest.step * steps_left


class Engine:
    """Submit, watch and stop runs; compare what they made."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.runs_dir.mkdir(parents=True, exist_ok=True)
        self._store = RunStore(settings.database_path)
        self._supervisor = Supervisor(self._store, settings)
        self._pool = ComparisonPool(settings)

    def start(self) -> None:
        """Keep looking after the runs from a thread of this process."""
        self._supervisor.start()

    def stop(self) -> None:
        """End that thread; workers go on and are adopted by the next server."""
        self._supervisor.stop()

    def refresh(self) -> None:
        """One look at the workers now; what the command line does before it answers."""
        self._supervisor.tick()

    def submit(self, spec: RunSpec) -> RunView:
        """Check the spec against what is here, then queue a run.

        Raises EngineError where it could not work; no run is left behind then.
        """
        check_run(spec, self.settings)
        run_id = new_run_id()
        directory = self.directory(run_id)
        try:
            directory.create(spec)
            self._store.add(run_id, spec)
        except (OSError, EngineError) as error:
            shutil.rmtree(directory.path, ignore_errors=True)
            if isinstance(error, EngineError):
                raise
            raise EngineError(
                f"The run cannot be written to {directory.path.parent}: {error.strerror}.",
                "Free some space there, or see that it can be written to; then start it again.",
            ) from error
        self.refresh()
        return self.run(run_id)

    def preview(self, spec: RunSpec, rows: int) -> Preview:
        """The first rows of the spec's dataset as its base model will see them.

        Raises EngineError where the model or the dataset cannot be read.
        """
        tokenizer = load_tokenizer(resolve_base_model(spec.base_model, self.settings))
        length = spec.optimization.max_length
        return preview(spec.dataset, tokenizer, length, rows, self.settings)

    def run(self, run_id: str) -> RunView:
        """Raises NotFound."""
        return self._view(self._store.get(run_id))

    def runs(self) -> list[RunView]:
        """Every run, newest first."""
        return [self._view(record) for record in self._store.list()]

    def metrics(self, run_id: str, after_seq: int = 0) -> list[MetricsRow]:
        return self.directory(self._store.get(run_id).id).metrics(after_seq)

    def log_tail(self, run_id: str, lines: int = 200) -> str:
        return self.directory(self._store.get(run_id).id).log_tail(lines)

    def curve(self, run_id: str, points: int = POINTS) -> list[MetricsRow]:
        """A run's metrics in the order of their steps, thinned to what a picture can show."""
        return read_curve(self.directory(self._store.get(run_id).id), points)

    def command_line(self, run_id: str) -> str:
        """The shell command that trains the same again, with this program and these settings."""
        spec_path = self.directory(self._store.get(run_id).id).spec_path
        return command_line(spec_path, self.settings)

    def silence(self, run_id: str) -> Silence | None:
        """Since when a running worker shows no progress; None where nothing is amiss."""
        view = self.run(run_id)
        return silence_of(view.record, self.directory(run_id), view.newest)

    def queue(self) -> list[str]:
        """The ids of the runs that wait, in the order in which they will start."""
        return [record.id for record in self._store.queue()]

    def cancel(self, run_id: str) -> RunView:
        """Ask a run to stop; asking twice is the same as once, a run that ended stays as it is."""
        if not self._store.move(run_id, [RunState.QUEUED], RunState.CANCELLED):
            going = [RunState.RUNNING, RunState.PAUSING]
            self._store.move(run_id, going, RunState.CANCELLING)
        self.refresh()
        return self.run(run_id)

    def pause(self, run_id: str) -> RunView:
        """Ask a run to save a checkpoint and stop, to be resumed later; twice is the same as once.

        Raises Conflict where it is over or being cancelled.
        """
        if not self._store.move(run_id, [RunState.QUEUED], RunState.PAUSED):
            self._store.move(run_id, [RunState.RUNNING], RunState.PAUSING)
        self.refresh()
        view = self.run(run_id)
        if view.record.state not in (RunState.PAUSING, RunState.PAUSED):
            raise Conflict(
                f"Run {run_id} is {view.record.state}; only a run that waits or goes on can be "
                "paused.",
                "`runs` lists the states.",
            )
        return view

    def resume(self, run_id: str) -> RunView:
        """Queue a run again, to go on from its newest valid checkpoint; twice is the same as once.

        Raises Conflict where the run is stopping or has finished.
        """
        record = self._store.get(run_id)
        if record.state not in (RunState.QUEUED, RunState.RUNNING):
            check_run(record.spec, self.settings)
            if not self._store.requeue(run_id):
                raise Conflict(
                    f"Run {run_id} is {self._store.get(run_id).state}; only a run that was "
                    "paused, interrupted, failed or was cancelled can be resumed.",
                    "Wait until it has stopped, or submit it again as a new run.",
                )
        self.refresh()
        return self.run(run_id)

    def delete(self, run_id: str) -> None:
        """Delete a run that is over, with its adapter. Raises NotFound or Conflict."""
        delete_run(run_id, self._store, self.settings)

    def annotate(self, run_id: str, note: str, tags: Sequence[str]) -> RunView:
        """Keep a note and tags with a run. Raises NotFound, InvalidInput."""
        self._store.get(run_id)
        self._store.annotate(run_id, read_note(note), read_tags(tags))
        return self.run(run_id)

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

    def base_model_names(self) -> list[str]:
        return [model.name for model in list_base_models(self.settings)]

    def adapters(self) -> list[AdapterSummary]:
        """Every trained adapter, newest first."""
        return list_adapters(self.settings)

    def adapter(self, name: str) -> AdapterSummary:
        """The adapter that a run's id, a listed name or a folder means. Raises NotFound."""
        return describe_adapter(resolve_adapter(name, self.settings))

    def comparison(self, base: str, adapters: Sequence[str]) -> ComparisonModel:
        """The base and the named adapters as columns, over the one base kept in memory.

        A column is called what the adapter was called here. Raises EngineError for a base or an
        adapter that cannot be used.
        """
        folders = {name: resolve_adapter(name, self.settings) for name in adapters}
        return self._pool.get(resolve_base_model(base, self.settings), folders)

    def foreseen(self, base: str, adapters: Sequence[str]) -> Foreseen:
        """What is wrong with these adapters on this base, told without loading either.

        Raises EngineError for an unknown adapter.
        """
        folders = {name: resolve_adapter(name, self.settings) for name in adapters}
        try:
            found = resolve_base_model(base, self.settings)
        except EngineError:
            # The adapters can be chosen all the same; a question to them says that it is not here.
            return Foreseen({}, {})
        return foresee(found, folders)

    def compare(
        self, base: str, adapters: Sequence[str], prompts: Sequence[str], sampling: Sampling
    ) -> PromptSetResult:
        """Every prompt answered by the base and by each adapter. Raises as `comparison`."""
        model = self.comparison(base, adapters)
        started = time.perf_counter()
        answers = tuple(answer_prompts(model, prompts, sampling))
        return PromptSetResult(answers, time.perf_counter() - started, tuple(model.warnings()))

    def directory(self, run_id: str) -> RunDirectory:
        return RunDirectory(self.settings.runs_dir / run_id)

    def _view(self, record: RunRecord) -> RunView:
        directory = self.directory(record.id)
        return RunView(record, directory.last_metrics(), directory.result())


def new_run_id() -> str:
    """Date and time for the eye, and 40 random bits so that it cannot be guessed."""
    return time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(5)
