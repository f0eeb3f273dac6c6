"""One run among several in a worker: it starts, steps, ends and fails by itself.

What it does happens in its own random state and is logged to its own file. However it ends, its
result is written, its lock is released, and the others go on. Its clock counts its own work alone:
`elapsed_s` is the time that the run took of the worker, and `tokens_per_s` its tokens in that
time. Memory is the process's, which all share.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunLock
from lora_engine.settings import Settings
from lora_engine.training.evaluation import row_losses
from lora_engine.training.forward.packed import PackedPath
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.objectives.objective import StepGradients
from lora_engine.training.optimizers.update import NonFiniteLoss
from lora_engine.training.preparation import PreparedRun, prepare
from lora_engine.training.reporting.outcome import run_problem, run_result
from lora_engine.training.streaming.layer_stream import LayerStream
from lora_engine.training.streaming.rides import Rider
from lora_engine.training.streaming.streamed_path import StreamedPath
from lora_engine.training.together.one_pass import SharedStep
from lora_engine.training.together.random_state import OwnRandomState
from lora_engine.training.together.run_log import RunLog
from lora_engine.training.together.sharing import sharing_key
from lora_engine.training.train_run import ReadyRun

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")


class Member:
    """A run in a shared worker, from its directory to its result. `lock` is held until it ends."""

    def __init__(self, directory: RunDirectory, lock: RunLock, settings: Settings) -> None:
        self.directory, self.progress = directory, TrainingProgress()
        self.log = RunLog(directory)
        self.exit_status = 0
        self.is_living = True
        self._lock, self._settings = lock, settings
        self._prepared: PreparedRun | None = None
        self._ready: ReadyRun | None = None
        self._random: OwnRandomState | None = None

    @property
    def name(self) -> str:
        return self.directory.path.name

    @property
    def is_prepared(self) -> bool:
        return self._prepared is not None

    @property
    def prepared(self) -> PreparedRun:
        assert self._prepared is not None, "prepared first"
        return self._prepared

    @property
    def ready(self) -> ReadyRun:
        assert self._ready is not None, "made ready first"
        return self._ready

    @property
    def random(self) -> OwnRandomState:
        assert self._random is not None, "made ready first"
        return self._random

    def prepare(self, beside: Sequence[PreparedRun]) -> None:
        """Everything before the model. beside: those that are prepared already."""
        with self._at_work():
            self.directory.clear_result()
            self.directory.keep_reserve()
            spec = self.directory.spec()
            key = sharing_key(spec)
            if key is None or any(sharing_key(other.spec) != key for other in beside):
                raise EngineError(
                    tr(
                        "The run cannot share a worker with the others: its base, its data "
                        "or what it trains is another."
                    ),
                    tr("Train it alone."),
                )
            self._prepared = prepare(self.directory, self._settings, beside)

    def get_ready(
        self, base: PreTrainedModel, resume: bool, stream: LayerStream | None = None
    ) -> None:
        """Put the adapter on `base`, which is the run's own, and report the start.

        stream: of a member that is ready, where the base is streamed.
        """
        with self._at_work():
            self._ready = ReadyRun(self.prepared, resume, self.progress, base, stream=stream)
            self._random = OwnRandomState()
            with self._random.in_force():
                self._ready.begin()

    def gradients(self) -> StepGradients | None:
        """Those of the next step, in passes of the run's own; None where the run failed in it."""
        with self._at_work(), self.random.in_force():
            return self.ready.steps.gradients()
        return None

    @property
    def stream(self) -> LayerStream | None:
        """What the run reads its base's layers from, where it streams them."""
        path = None if self._ready is None else self._ready.path
        return path.stream if isinstance(path, StreamedPath) else None

    def rider(self) -> Rider:
        """What the run brings into a ride with others over a streamed base."""
        path = self.ready.path
        assert isinstance(path, StreamedPath), "no other path rides"
        return Rider(path, self.ready.steps.begin(), self.random.in_force)

    def shared_step(self) -> SharedStep:
        """What the run brings into a pass with others."""
        path = self.ready.path
        assert isinstance(path, PackedPath), "no other path shares a pass"
        generator = self.random.generator(self.prepared.device)
        return SharedStep(path, self.ready.steps.begin(), generator)

    def take_gradients(self) -> list[torch.Tensor | None]:
        """The gradients of the run's weights, which are then without."""
        taken = [parameter.grad for parameter in self.ready.steps.parameters]
        self.ready.optimizer.zero_grad(set_to_none=True)
        return taken

    def finish_step(self, gradients: StepGradients) -> None:
        """Clip, update, evaluate and save, once the gradients of the step are there."""
        with self._at_work(), self.random.in_force():
            self.ready.steps.finish(gradients)

    def held_out_losses(self, most: int) -> list[float] | None:
        """The loss of each of the first `most` held-out rows; None where the run failed in it."""
        with self._at_work(), self.random.in_force():
            started = time.perf_counter()
            path, rows = self.ready.path, self.prepared.data.evaluation[:most]
            if isinstance(path, StreamedPath):
                losses = path.row_losses(rows)
            else:
                losses = row_losses(path, rows)
            self.progress.elapsed_s += time.perf_counter() - started
            return losses
        return None

    def finish(self) -> None:
        """Save the result of a run whose steps are done."""
        with self._at_work(), self.random.in_force():
            self.ready.finish()
            self._end("finished")

    def stop(self, because: str | None = None) -> None:
        """Save a checkpoint and end as cancelled. because: why, where nobody asked for it."""
        with self._at_work(), self.random.in_force():
            self.ready.stop()
            self._end("cancelled", because)

    def fail(self, error: Exception) -> None:
        """Write down how the run failed, and end it."""
        problem = run_problem(error, self.directory, self._settings)
        self.exit_status = 1 if problem.is_bug else 2
        with self.log.writing():
            if isinstance(error, EngineError):
                log.error("%s %s", error.problem, error.remedy)
            else:
                log.error("%s", problem.problem, exc_info=error)
            self.directory.write_result(run_result("failed", self.progress, problem))
        self._leave()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Log to the run's file; an error ends this run alone."""
        with self.log.writing():
            try:
                yield
            except NonFiniteLoss as error:
                self.ready.save_result()
                self.fail(error)
            except Exception as error:  # noqa: BLE001 - every ending is written down
                self.fail(error)

    def _end(self, state: str, because: str | None = None) -> None:
        self.directory.write_result(run_result(state, self.progress, None, because))
        log.info("%s after step %d", state, self.progress.step)
        if because:
            log.info("%s", because)
        self._leave()

    def _leave(self) -> None:
        """Let go of the model, the files and the lock."""
        self.is_living = False
        if self._ready is not None:
            self._ready.close()
        self._ready = None
        self.log.close()
        self._lock.close()
