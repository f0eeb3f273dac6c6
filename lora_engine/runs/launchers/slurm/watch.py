"""The process that watches the Slurm job of one run, on the machine of the dashboard.

    python -m lora_engine.runs.launchers.slurm.watch RUN_DIR --lock-fd N [--resume]

It holds the run's lock, submits the job or takes up the one that there is, follows it, and leaves
in the folder how it ended. SIGTERM stops the run with a checkpoint, SIGINT cancels its job. What it
says goes into the run's log.
"""

from __future__ import annotations

import logging
import os
import signal
import time

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs.launchers.cluster_queue import QueueNote
from lora_engine.runs.launchers.slurm.client import Job, NoAnswer, SlurmClient
from lora_engine.runs.launchers.slurm.ownership import (
    forget_job,
    has_begun,
    remember_job,
    remembered_job,
    wait_until_free,
)
from lora_engine.runs.launchers.slurm.script import job_name, job_options, job_script
from lora_engine.runs.launchers.trouble import TroubleNote
from lora_engine.runs.launchers.watching import LOOK_S, Ear, Voice, run_watcher
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings

log = logging.getLogger("slurm")
RESULT_PATIENCE_S = 5.0  # a shared disk may show a file late
FENCE_PATIENCE_S = 30.0
HAS_RESULT = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class Watch:
    """One run's job, followed to its end."""

    def __init__(self, directory: RunDirectory, settings: Settings, ear: Ear) -> None:
        self._directory = directory
        self._settings = settings
        self._client = SlurmClient(settings)
        self._queue = QueueNote(directory)
        self._trouble = TroubleNote(directory)
        self._ear = ear
        self._done: set[signal.Signals] = set()
        self._silent_since: float | None = None
        self._say = Voice(log).say

    def follow(self, resume: bool) -> None:
        """Until the job is over, or Slurm has been silent for too long."""
        try:
            number = self._submitted(resume)
        except EngineError as error:
            self._fail(error.problem, error.remedy)
            return
        except OSError as error:
            self._fail(*_disk_refuses(self._directory, error))
            return
        job: Job | None = Job(number, "PENDING")
        went_on = False
        while job is not None and not job.is_over:
            try:
                self._stop_where_asked(job)
                went_on, job = not job.waits, self._client.look(number)
                self._silent_since = None
                self._trouble.clear()
                if job is not None:
                    self._say(_words(job))
                if job is not None and not job.is_over:
                    self._queue.say(job.has_no_node_yet, job.reason)
            except EngineError as error:
                if self._was_silent_too_long(error):
                    self._give_up(number, error)
                    return
            except OSError as error:  # this machine's disk; the job may train all the same
                self._say(" ".join(_disk_refuses(self._directory, error)))
            self._ear.wait(self._settings.slurm_poll_s)
        self._conclude(number, job, went_on)

    def _submitted(self, resume: bool) -> str:
        """The number of the run's job: the one that waits or goes on already, or of which nobody
        has seen the end; else a new one."""
        there = self._client.find(job_name(self._directory))
        number = there.number if there is not None else remembered_job(self._directory)
        if number:
            self._say(f"job {number} is there already and is taken up again")
        else:
            spec = self._directory.spec()
            number = self._client.submit(
                job_options(self._directory, spec, self._settings),
                job_script(self._directory, spec, self._settings, resume),
            )
        try:
            remember_job(self._directory, number)
        except OSError:
            self._client.cancel(number)  # nobody would follow it
            raise
        return number

    def _stop_where_asked(self, job: Job) -> None:
        """Once: the file that the worker looks for, and its signal. A job that waits, or that is to
        end at once, is cancelled. Raises NoAnswer, and is asked again then."""
        asked = self._ear.asked
        if asked is None:
            return
        self._directory.request_stop()
        if asked is signal.SIGINT or job.waits:
            if signal.SIGINT not in self._done:
                self._client.cancel(job.number)
                self._done.add(signal.SIGINT)
        elif asked not in self._done and job.state == "RUNNING":
            self._client.ask_to_stop(job.number)
            self._done.add(asked)

    def _was_silent_too_long(self, error: EngineError) -> bool:
        self._say(f"{error.problem} {error.remedy}")
        if not isinstance(error, NoAnswer):
            return False  # a refusal, as of a job that just ended: the next look tells
        self._trouble.say(error.problem, error.remedy)
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since > self._settings.slurm_patience_s

    def _give_up(self, number: str, error: EngineError) -> None:
        """Leave the run as interrupted. Its job may still train: it is told so over the disk."""
        self._interrupted(
            tr(
                "Slurm has not answered for {seconds} seconds, so the run counts as interrupted. "
                "{problem}",
                seconds=f"{self._settings.slurm_patience_s:.0f}",
                problem=error.problem,
            )
        )
        self._fence(number)

    def _interrupted(self, problem: str) -> None:
        remedy = tr("Resume it from its newest checkpoint, there or at another place.")
        self._say(f"{problem} {remedy}")
        self._trouble.say(problem, remedy)

    def _fence(self, number: str) -> None:
        self._directory.request_stop()
        if not wait_until_free(self._directory, FENCE_PATIENCE_S):
            self._say(f"job {number} still holds the run's folder; a stop was asked of it")
        result = self._result()
        if result is not None and result.state == "cancelled" and self._ear.asked is None:
            self._directory.clear_result()  # the job's answer to the fence
        forget_job(self._directory)

    def _conclude(self, number: str, job: Job | None, went_on: bool) -> None:
        """The job is over. What it left is its result; without one say what is known. went_on: it
        was no more waiting when it was last seen."""
        state = "gone" if job is None else job.state
        if job is None:
            self._say(f"Slurm knows job {number} no more")
            if self._result() is None:
                problem = tr("Slurm knows job {number} no more, and it left no result.",
                             number=number)  # fmt: skip
                self._interrupted(problem)
                self._fence(number)
                return
        elif self._waited_for_result(job, went_on) is None:
            self._without_result(number, job)
        forget_job(self._directory)
        self._say(f"job {number} is over: {state}")

    def _waited_for_result(self, job: Job, went_on: bool) -> RunResult | None:
        patience = RESULT_PATIENCE_S if went_on and job.state in HAS_RESULT else 0.0
        deadline = time.monotonic() + patience
        while (result := self._result()) is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return result

    def _without_result(self, number: str, job: Job) -> None:
        """Say why there is no result. A run that trained stays without one: it is interrupted."""
        if job.state == "OUT_OF_MEMORY":
            self._fail(
                tr("Slurm ended job {number}: it used more memory than it had.", number=number),
                tr("Give the run more memory, or make it smaller; then resume it."),
            )
        elif job.state == "FAILED" and not has_begun(self._directory, number):
            self._fail(
                tr("Slurm job {number} failed before it began to train.", number=number),
                tr(
                    "The run's log says why. The nodes need this program, its Python and the data "
                    "folder: see LORA_SLURM_PROJECT, LORA_SLURM_PYTHON and LORA_SLURM_FOLDER."
                ),
            )
        else:
            self._interrupted(
                tr(
                    "Slurm job {number} ended as {state} and left no result.",
                    number=number,
                    state=job.state,
                )
            )

    def _result(self) -> RunResult | None:
        os.listdir(self._directory.path)  # read anew over a shared disk
        return self._directory.result()

    def _fail(self, problem: str, remedy: str) -> None:
        self._say(f"{problem} {remedy}")
        result = RunResult.failed(RunProblem(problem=problem, remedy=remedy))
        try:
            self._directory.write_result(result)
        except OSError as error:  # the run is interrupted then, and no new job is submitted for it
            self._say(" ".join(_disk_refuses(self._directory, error)))
            self._trouble.say(problem, remedy)
            forget_job(self._directory)


def _disk_refuses(directory: RunDirectory, error: OSError) -> tuple[str, str]:
    return (
        tr(
            "The folder of the run, {folder}, cannot be written to: {strerror}.",
            folder=directory.path,
            strerror=error.strerror or error,
        ),
        tr("Free some space on that disk, or see that it can be written to; then resume the run."),
    )


def _words(job: Job) -> str:
    where = f" on {job.node}" if job.node else ""
    why = f" ({job.reason})" if job.reason not in ("", "None") else ""
    return f"job {job.number} is {job.state}{where}{why}"


if __name__ == "__main__":
    scrub_output()
    run_watcher("lora_engine.runs.launchers.slurm.watch", Watch)
