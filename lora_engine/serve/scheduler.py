"""The thread that decodes for all requests, and the queue in front of it.

One thread runs the model in slices of 20 ms and lets go of it in between, so that Compare's columns
get their turn. New answers join the running batch after the slice, ended ones and those that nobody
reads any more leave it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.errors import EngineError
from lora_engine.serve.api_errors import RETRY_S, ApiError
from lora_engine.serve.generation import Generation, Job
from lora_engine.serve.lanes import Lane
from lora_engine.settings import Settings

SLICE_S = 0.02
logger = logging.getLogger(__name__)


class Scheduler:
    """Decodes the answers of all jobs over one shared base. Safe to use from several threads."""

    def __init__(self, shared: SharedBase, settings: Settings) -> None:
        self._shared = shared
        self._settings = settings
        self._news = threading.Condition()
        self._waiting: deque[tuple[Job, Generation]] = deque()
        self._running: dict[Generation, tuple[Job, Lane, ExitStack]] = {}
        self._lanes: dict[AdapterVariant | None, Lane] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, job: Job) -> None:
        """Queue a job's answers. Raises ApiError where the server is being stopped."""
        with self._news:
            if self._closed:
                raise ApiError(503, "The server is being stopped.", retry_s=RETRY_S)
            self._waiting += [(job, generation) for generation in job.generations]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="api", daemon=True)
                self._thread.start()
            self._news.notify_all()

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to answer."""
        with self._news:
            return not (self._waiting or self._running)

    def close(self) -> None:
        """End the thread; jobs in the making fail."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._has_work():
                self._turn()
        finally:  # whatever ends the thread, no reader waits for ever
            self._fail(list(self._running), ApiError(503, "The server was stopped."))
            with self._news:
                left = {id(job): job for job, _ in self._waiting}
                self._waiting.clear()
            for job in left.values():
                job.failure = ApiError(503, "The server was stopped.", retry_s=RETRY_S)
                job.notify()

    def _has_work(self) -> bool:
        """Wait for work. False once the scheduler is closed."""
        with self._news:
            while not (self._closed or self._waiting or self._running):
                self._news.wait()
            return not self._closed

    def _turn(self) -> None:
        self._admit()
        for lane in list(self._lanes.values()):
            try:
                with self._shared.exclusive():
                    lane.run_for(SLICE_S / len(self._lanes))
            except (RuntimeError, EngineError) as error:  # torch's errors, out of memory among them
                logger.exception("The API's batch failed")
                failed = [one for one, (_, its, _) in self._running.items() if its is lane]
                self._fail(failed, ApiError(500, f"The model failed: {str(error)[:300]}"))
        self._settle()

    def _admit(self) -> None:
        """Move waiting answers into lanes while there is room."""
        found: dict[AdapterVariant | None, list[tuple[AdapterVariant, Generation]]] = {}
        for job, generation in self._taken():
            stack = ExitStack()
            try:
                keys = stack.enter_context(self._shared.keep_loaded({"asked": generation.folder}))
            except (EngineError, OSError) as error:  # such as an adapter deleted meanwhile
                job.failure = error
                job.cancel()
                job.notify()
                continue
            variant = AdapterVariant(keys["asked"])
            alone = self._shared.switch.needs_own_pass(variant.adapter)
            lane = self._lanes.setdefault(variant if alone else None, Lane())
            self._running[generation] = (job, lane, stack)
            if not job.begun:
                job.begun = True
                job.notify()
            found.setdefault(variant if alone else None, []).append((variant, generation))
        for key, group in found.items():
            rows = [(variant, generation.row) for variant, generation in group]
            self._lanes[key].add(self._shared, rows)

    def _taken(self) -> Iterable[tuple[Job, Generation]]:
        """Waiting answers in their order, as many as there is room for; late ones fail."""
        with self._news:
            room = self._settings.api_max_running - len(self._running)
            taken: list[tuple[Job, Generation]] = []
            still: deque[tuple[Job, Generation]] = deque()
            late: list[Job] = []
            now = time.monotonic()
            for job, generation in self._waiting:
                if job.cancelled or job.failure is not None:
                    continue
                if not job.begun and now > job.wait_until and len(taken) >= room:
                    late.append(job)
                elif len(taken) < room:
                    taken.append((job, generation))
                else:
                    still.append((job, generation))
            self._waiting = still
        for job in late:
            job.failure = ApiError(
                503,
                f"No answer could begin within {self._settings.api_max_wait_s} s.",
                code="overloaded",
                retry_s=RETRY_S,
            )
            job.notify()
        return taken

    def _settle(self) -> None:
        """Report what was generated; let go of what has ended."""
        for generation, (job, lane, stack) in list(self._running.items()):
            before = generation.snapshot
            if job.cancelled or job.failure is not None:
                lane.end_rows([generation.row])
                ended = True
            else:
                generation.update(self._shared.tokenizer)
                ended = generation.snapshot.finish is not None
                if ended:
                    lane.end_rows([generation.row])
            if ended:
                del self._running[generation]
                stack.close()
            if generation.snapshot is not before:
                job.notify()
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.rows}

    def _fail(self, generations: Sequence[Generation], error: ApiError) -> None:
        """Fail all answers of some lanes."""
        for generation in generations:
            job, lane, stack = self._running.pop(generation)
            job.failure = error
            lane.clear()
            stack.close()
            job.notify()
