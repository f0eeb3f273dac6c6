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
import os
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from lora_engine.base_models import resolve_base_model
from lora_engine.errors import EngineError
from lora_engine.files import write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs.launchers.cluster_queue import QueueNote
from lora_engine.runs.launchers.ray.apart import Here, Shared, end_of
from lora_engine.runs.launchers.ray.client import Job, NoAnswer, RayClient
from lora_engine.runs.launchers.ray.code import code_archive
from lora_engine.runs.launchers.ray.storage import StorageTrouble
from lora_engine.runs.launchers.ray.tenancy import (
    Heartbeat,
    Tenancy,
    read_tenancy,
    write_tenancy,
)
from lora_engine.runs.launchers.watching import LOOK_S, Ear, Voice, run_watcher
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings

log = logging.getLogger("ray")
RESULT_PATIENCE_S = 5.0  # a shared disk may show a file late
PASSED_ON = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Watch:
    """One run's job, followed to its end."""

    def __init__(self, directory: RunDirectory, settings: Settings, ear: Ear) -> None:
        self._directory = directory
        self._settings = settings
        self._client = RayClient(settings.ray_address or "")
        self._queue = QueueNote(directory)
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
            self._fail(error.problem, error.remedy)
            return
        job: Job | None = Job(tenancy.job or "", "PENDING")
        while job is None or not job.is_over:
            try:
                job = self._client.look(tenancy.job or "")
                self._say(self._words(job))
                self._queue.say(job is not None and job.waits)
                self._stop_where_asked(tenancy, job)
                if self._was_cancelled and job is not None and job.waits:
                    break  # Ray stops it only when it starts, and then its token is an old one
            except EngineError as error:
                self._say(f"{error.problem} {error.remedy}")
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
        if there.job is not None and self._goes_on(there):
            self._end = end_of(self._directory, there, self._settings)
            self._say(f"job {there.job} is taken up again")
            return there
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
        self._end.bring(resume)
        name, content = code_archive()
        self._say(f"Ray {self._client.version()} at {self._settings.ray_address}")
        self._client.submit(
            tenancy.job or "",
            self._entrypoint(tenancy, resume),
            self._client.upload(name, content),
            self._environment(),
            self._directory.spec().resources,
        )
        return tenancy

    def _goes_on(self, tenancy: Tenancy) -> bool:
        try:
            job = self._client.look(tenancy.job or "")
        except NoAnswer:
            return True  # its heartbeat tells
        return job is not None and not job.is_over

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

    def _entrypoint(self, tenancy: Tenancy, resume: bool) -> str:
        words = [self._settings.ray_python, "-m", "lora_engine.runs.launchers.ray.job"]
        words += [str(self._there(self._directory.path)), "--token", str(tenancy.token)]
        words += [] if tenancy.storage is None else ["--storage", tenancy.storage]
        return shlex.join([*words, *["--resume"] * resume])

    def _there(self, path: Path) -> Path | PurePosixPath:
        """A path of the data folder as the nodes have it."""
        folder = self._settings.ray_folder
        data_dir = self._settings.data_dir
        if folder is None or not path.is_relative_to(data_dir):
            return path
        return folder / path.relative_to(data_dir)

    def _environment(self) -> dict[str, str]:
        """What the job is told. No secret: Ray shows the environment of its jobs."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {
            **passed,
            "LORA_DATA_DIR": str(self._there(self._settings.data_dir)),
            "LORA_MODELS_DIR": str(self._there(self._settings.models_dir)),
            "LORA_DEVICE": self._settings.device,
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
        }

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

    def _is_silent(self, tenancy: Tenancy, job: Job | None) -> bool:
        """Whether nothing was heard for too long, by this machine's clock."""
        beat = self._heartbeat()
        is_new = beat is not None and beat.token == tenancy.token and beat != self._last_beat
        if is_new or (job is not None and job.waits):
            self._last_beat, self._heard_at = beat, time.monotonic()
        return time.monotonic() - self._heard_at > self._settings.ray_patience_s

    def _give_up(self, tenancy: Tenancy) -> None:
        """Leave the run as interrupted, and its job without a right to write."""
        self._say(
            f"Nothing was heard of job {tenancy.job} for {self._settings.ray_patience_s:.0f} "
            "seconds. The run counts as interrupted: it can be resumed from its newest checkpoint, "
            "here or elsewhere."
        )
        self._release(tenancy)
        try:
            self._client.cancel(tenancy.job or "")
        except EngineError as error:
            self._say(error.problem)

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
            if self._heartbeat() is None:
                self._fail(*self._did_not_begin(job))
        self._name_base_of_here()
        self._release(tenancy)
        self._say(f"job {tenancy.job} is over")
        if is_whole:
            self._said(self._end.clear)

    def _take_last(self) -> bool:
        """As `_take`, asked for as long as a job may be silent."""
        deadline = time.monotonic() + self._settings.ray_patience_s
        while not self._take():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def _name_base_of_here(self) -> None:
        """The adapter names its base by a path, which was one of the node's."""
        config = self._directory.adapter_path / "adapter_config.json"
        base = resolve_base_model(self._directory.spec().base_model, self._settings)
        if base.path is not None and config.exists():
            said = json.loads(config.read_text("utf-8"))
            said["base_model_name_or_path"] = str(base.path)
            write_atomically(config, json.dumps(said, indent=2, sort_keys=True).encode())

    def _did_not_begin(self, job: Job) -> tuple[str, str]:
        try:
            said = self._client.log(job.name, 1)
        except EngineError:
            said = ""
        why = (said or job.message or job.status).strip()[:300].rstrip(".")
        return (
            tr("Ray job {name} failed before it began to train: {why}.", name=job.name, why=why),
            tr(
                "The nodes need the data folder (LORA_RAY_FOLDER), Python 3.11 or newer "
                "(LORA_RAY_PYTHON) and the packages of requirements.txt."
            ),
        )

    def _release(self, tenancy: Tenancy) -> None:
        """Nobody watches the job any more, and it may write no more."""
        self._fence(tenancy.token + 1)
        self._directory.clear_stop_request()

    def _fence(self, token: int) -> None:
        write_tenancy(self._directory, Tenancy(token=token))
        self._said(lambda: self._end.write_token(token))

    def _fail(self, problem: str, remedy: str) -> None:
        self._say(f"{problem} {remedy}")
        self._directory.write_result(RunResult.failed(RunProblem(problem=problem, remedy=remedy)))
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
