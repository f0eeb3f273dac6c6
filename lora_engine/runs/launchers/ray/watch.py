"""The process that watches the Ray job of one run, on the machine of the dashboard.

    python -m lora_engine.runs.launchers.ray.watch RUN_DIR --lock-fd N [--resume]

It holds the run's lock, submits the job or takes up the one that there is, and follows it. The
heartbeat says whether the job lives, and Ray only where there is none: after its head was started
anew Ray may show a job as running that is gone. Over a storage it brings here what the job leaves
there. SIGTERM stops the run with a checkpoint, SIGINT cancels its job. What it says goes into the
run's log.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable

from lora_engine.base_models import resolve_base_model
from lora_engine.errors import EngineError
from lora_engine.files import write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs.launchers.cluster_queue import QueueNote
from lora_engine.runs.launchers.ray.apart import Here, Shared, Stopped, end_of
from lora_engine.runs.launchers.ray.client import Job, NoAnswer, RayClient
from lora_engine.runs.launchers.ray.code import code_archive
from lora_engine.runs.launchers.ray.command import entrypoint, environment
from lora_engine.runs.launchers.ray.last_words import did_not_begin, gave_up, problem_said
from lora_engine.runs.launchers.ray.storage import StorageTrouble
from lora_engine.runs.launchers.ray.tenancy import (
    Heartbeat,
    Tenancy,
    read_tenancy,
    write_tenancy,
)
from lora_engine.runs.launchers.trouble import TroubleNote
from lora_engine.runs.launchers.watching import LOOK_S, Ear, Voice, run_watcher
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings

log = logging.getLogger("ray")
RESULT_PATIENCE_S = 5.0  # a shared disk may show a file late
LOG_LINES = 50  # of a job that ended, in which its own word is looked for


class Watch:
    """One run's job, followed to its end."""

    def __init__(self, directory: RunDirectory, settings: Settings, ear: Ear) -> None:
        self._directory = directory
        self._settings = settings
        self._client = RayClient(settings.ray_address or "")
        self._queue = QueueNote(directory)
        self._trouble = TroubleNote(directory)
        self._ear = ear
        self._end: Here | Shared = Shared(directory)
        self._was_cancelled = False
        self._last_beat: Heartbeat | None = None
        self._heard_at = time.monotonic()  # a sign of life, of the job or of Ray while it waits
        self._say = Voice(log).say

    def follow(self, resume: bool) -> None:
        """Until the job is over, or nothing was heard of it for too long."""
        try:
            tenancy = self._submitted(resume)
        except EngineError as error:
            self._fail(RunProblem(problem=error.problem, remedy=error.remedy))
            return
        except Stopped:
            self._say("the run was stopped before its job was submitted")
            self._release(read_tenancy(self._directory))
            return
        job: Job | None = Job(tenancy.job or "", "PENDING")
        while job is None or not job.is_over:
            try:
                job = self._client.look(tenancy.job or "")
                self._trouble.clear()
                self._say(self._words(job))
                self._queue.say(job is not None and job.waits, job.message if job else "")
                self._stop_where_asked(tenancy, job)
                if self._was_cancelled and job is not None and job.waits:
                    break  # Ray stops it only when it starts, and then its token is an old one
            except EngineError as error:
                self._say(f"{error.problem} {error.remedy}")
                self._trouble.say(error.problem, error.remedy)
                job = None
            self._take()
            if self._directory.result() is not None:
                break  # the worker's own word; how its job ends matters to nobody
            if self._is_silent(tenancy, job):
                self._give_up(tenancy)
                return
            self._ear.wait(self._settings.ray_poll_s)
        self._conclude(tenancy, job)

    def _submitted(self, resume: bool) -> Tenancy:
        """The run's job: the one that goes on already, else a new one with the next token."""
        there = read_tenancy(self._directory)
        if there.job is not None:
            self._end = end_of(self._directory, there, self._settings)
            if self._goes_on(there) or self._has_ended():
                self._say(f"job {there.job} is taken up again")
                return there
        self._say(f"Ray {self._client.version()} at {self._settings.ray_address}")
        token = there.token + 1
        tenancy = Tenancy(
            token=token,
            job=f"{self._directory.path.name}-{token}",
            storage=self._settings.ray_storage,
        )
        self._end = end_of(self._directory, tenancy, self._settings)
        write_tenancy(self._directory, tenancy)  # from here on an earlier job writes no more
        resume = resume or there.token > 0
        self._end.write_token(token)
        if resume:
            self._said(self._end.take_earlier)
        self._queue.say(True)
        self._end.bring(resume, self._go_on_bringing)
        name, content = code_archive()
        self._client.submit(
            tenancy.job or "",
            entrypoint(self._directory, tenancy, self._settings, resume),
            self._client.upload(name, content),
            environment(self._settings),
            self._directory.spec().resources,
        )
        return tenancy

    def _go_on_bringing(self) -> None:
        if self._ear.asked is not None:
            raise Stopped

    def _goes_on(self, tenancy: Tenancy) -> bool:
        try:
            job = self._client.look(tenancy.job or "")
        except NoAnswer:
            return True  # its heartbeat tells
        return job is not None and not job.is_over

    def _has_ended(self) -> bool:
        """Whether the job ended while nobody watched."""
        self._take()
        return self._directory.result() is not None

    def _take(self) -> bool:
        """Bring here what the job has left so far; False where it cannot be brought now."""
        return self._said(self._end.take)

    def _said(self, do: Callable[[], None]) -> bool:
        """Whether the storage did it; what was in the way is said."""
        try:
            do()
        except StorageTrouble as error:
            self._say(str(error))
            return False
        return True

    def _stop_where_asked(self, tenancy: Tenancy, job: Job | None) -> None:
        """A file that the worker looks for; a job that waits, or is to end at once, is cancelled.
        Raises NoAnswer, and is asked again then."""
        if self._ear.asked is None:
            return
        self._directory.request_stop()
        waits = job is not None and job.waits
        if (self._ear.asked == signal.SIGINT or waits) and not self._was_cancelled:
            self._client.cancel(tenancy.job or "")
            self._was_cancelled = True
        self._end.request_stop()

    def _heartbeat(self) -> Heartbeat | None:
        try:
            return self._end.heartbeat()
        except StorageTrouble as error:
            self._say(str(error))
            return None

    def _has_begun(self, tenancy: Tenancy) -> bool:
        """Whether this job ever gave a sign of life."""
        beat = self._heartbeat() or self._last_beat
        return beat is not None and beat.token == tenancy.token

    def _is_silent(self, tenancy: Tenancy, job: Job | None) -> bool:
        """Whether nothing was heard for too long, by this machine's clock."""
        beat = self._heartbeat()
        is_new = beat is not None and beat.token == tenancy.token and beat != self._last_beat
        if is_new or (job is not None and job.waits):
            self._last_beat, self._heard_at = beat, time.monotonic()
        return time.monotonic() - self._heard_at > self._settings.ray_patience_s

    def _give_up(self, tenancy: Tenancy) -> None:
        """Leave the run as interrupted, and its job without a right to write."""
        self._release(tenancy)
        said = problem_said(self._log_of(tenancy))
        self._interrupted(
            tr(
                "Nothing was heard of Ray job {name} for {seconds} seconds, so the run counts as "
                "interrupted.",
                name=tenancy.job,
                seconds=f"{self._settings.ray_patience_s:.0f}",
            )
        )
        if said is not None:
            self._say(f"The last words of the job: {said}.")
        try:
            self._client.cancel(tenancy.job or "")
        except EngineError as error:
            self._say(error.problem)

    def _interrupted(self, problem: str) -> None:
        remedy = tr("Resume it from its newest checkpoint, there or at another place.")
        self._say(f"{problem} {remedy}")
        self._trouble.say(problem, remedy)

    def _conclude(self, tenancy: Tenancy, job: Job | None) -> None:
        """The job is over. What it left is its result; without one say what is known."""
        is_whole = self._take_last()
        deadline = time.monotonic() + RESULT_PATIENCE_S
        while self._directory.result() is None and time.monotonic() < deadline:
            if job is None or job.status != "SUCCEEDED":
                break
            time.sleep(LOOK_S)
            is_whole = self._take()
        if self._directory.result() is None and job is not None and job.status == "FAILED":
            self._say(f"Ray: {job.message}")
            self._fail_as_said(tenancy, job)
        self._name_base_of_here()
        self._release(tenancy)
        self._say(f"job {tenancy.job} is over")
        if is_whole:
            self._said(self._end.clear)
        else:
            self._say("What is missing here lies in the storage; a resumed run takes it first.")

    def _fail_as_said(self, tenancy: Tenancy, job: Job) -> None:
        """A job that could not begin, or that gave up over what a person can mend. Any other, as
        one that was killed, leaves the run as interrupted."""
        said = self._log_of(tenancy)
        why = problem_said(said)
        if not self._has_begun(tenancy):
            self._fail(did_not_begin(job, said))
        elif why is not None:
            self._fail(gave_up(job, why))
        else:
            self._interrupted(tr("Ray job {name} failed and left no result.", name=job.name))

    def _log_of(self, tenancy: Tenancy) -> str:
        try:
            return self._client.log(tenancy.job or "", LOG_LINES)
        except EngineError:
            return ""

    def _take_last(self) -> bool:
        """As `_take`, asked for as long as a job may be silent."""
        deadline = time.monotonic() + self._settings.ray_patience_s
        while not self._take():
            if time.monotonic() > deadline:
                return False
            time.sleep(self._settings.ray_poll_s)
        return True

    def _name_base_of_here(self) -> None:
        """The adapter names its base by a path, which was one of the node's."""
        config = self._directory.adapter_path / "adapter_config.json"
        base = resolve_base_model(self._directory.spec().base_model, self._settings)
        if base.path is not None and config.exists():
            said = json.loads(config.read_text("utf-8"))
            said["base_model_name_or_path"] = str(base.path)
            write_atomically(config, json.dumps(said, indent=2, sort_keys=True).encode())

    def _release(self, tenancy: Tenancy) -> None:
        """Nobody watches the job any more, and it may write no more."""
        self._fence(tenancy.token + 1)
        self._directory.clear_stop_request()

    def _fence(self, token: int) -> None:
        storage = read_tenancy(self._directory).storage  # where what it took lies
        write_tenancy(self._directory, Tenancy(token=token, storage=storage))
        self._said(lambda: self._end.write_token(token))

    def _fail(self, problem: RunProblem) -> None:
        self._say(f"{problem.problem} {problem.remedy}")
        self._directory.write_result(RunResult.failed(problem))
        self._fence(read_tenancy(self._directory).token + 1)

    def _words(self, job: Job | None) -> str:
        if job is None:
            return "Ray knows the job no more"
        if not job.waits:
            return f"job {job.name} is {job.status}"
        asked = self._directory.spec().resources
        memory = "" if asked.memory_gib is None else f", {asked.memory_gib} GiB"
        wanted = f"{asked.cpus or 1} cores, {asked.gpus} GPUs{memory}"
        return f"job {job.name} waits for {wanted}. {job.message}"


if __name__ == "__main__":
    scrub_output()
    run_watcher("lora_engine.runs.launchers.ray.watch", Watch)
