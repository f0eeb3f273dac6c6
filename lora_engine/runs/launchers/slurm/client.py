"""Slurm's own commands, run on this machine or over ssh: submit, look, cancel, signal.

No shell reads what a person typed: the commands are lists of words, and over ssh each word is
quoted. ssh asks for no password and trusts the host keys that the person's own settings trust.
Knows nothing of runs.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings

HERE = "local"
PATIENCE_S = 60.0  # with one command
SSH = (
    "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ControlMaster=auto",
    "-o", "ControlPath=~/.ssh/rankscope-%C", "-o", "ControlPersist=60", "--",
)  # fmt: skip
SSH_FAILED, NOT_FOUND = 255, 127
NO_ANSWER = re.compile(
    r"unable to contact slurm controller|socket timed out|connection refused|connection timed out|"
    r"zero bytes were transmitted|slurm backup controller|transport endpoint|no route to host",
    re.IGNORECASE,
)
VERSION = re.compile(r"^slurm\S* \S.*", re.IGNORECASE | re.MULTILINE)
NO_SUCH_JOB = re.compile(r"invalid job id", re.IGNORECASE)
OTHER_VERSION = re.compile(r"incompatible version|protocol version", re.IGNORECASE)
SAID_BY = re.compile(r"^(?:sbatch|squeue|scancel|sinfo|scontrol|slurm_\w+)(?:: | )(?:error: )?")
WAITS = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
GOES_ON = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING",
     "STAGE_OUT"}
)  # fmt: skip


class NoAnswer(EngineError):
    """Slurm, or the machine with its commands, does not answer; it may later."""


class Refused(EngineError):
    """Slurm answered, and does not do what it was asked."""


@dataclass(frozen=True)
class Job:
    """A job as `squeue` shows it. reason: why it waits or failed, in Slurm's word; node: where."""

    number: str
    state: str
    reason: str = ""
    node: str = ""

    @property
    def waits(self) -> bool:
        return self.state in WAITS

    @property
    def has_no_node_yet(self) -> bool:
        """Whether it waits, or for its node to be up."""
        return self.waits or self.state == "CONFIGURING"

    @property
    def is_over(self) -> bool:
        return self.state not in WAITS | GOES_ON


class SlurmClient:
    """Slurm as these settings name it. Every method raises NoAnswer and Refused."""

    def __init__(self, settings: Settings) -> None:
        self._host = settings.slurm_host or HERE

    def submit(self, options: Sequence[str], script: str) -> str:
        """Hand in a script; the number of its job."""
        answer = self._run(["sbatch", "--parsable", *options], script)
        # a login node may greet before it
        number = (answer.split() or [""])[-1].partition(";")[0]
        if not number.isdecimal():
            raise Refused(
                tr("Slurm answered {answer} and no job number.", answer=f"{answer[:200]!r}"),
                tr("Try `sbatch` there by hand."),
            )
        return number

    def look(self, number: str) -> Job | None:
        """The job; None where Slurm does not know it any more."""
        try:
            found = self._squeue(["--jobs", number, "--states", "all"])
        except Refused as error:
            if NO_SUCH_JOB.search(error.problem):
                return None
            raise
        return found[0] if found else None

    def find(self, name: str) -> Job | None:
        """The job of this name that waits or goes on; a job that is ending does not count."""
        found = self._squeue(["--name", name])
        return next((job for job in found if job.state != "COMPLETING"), None)

    def cancel(self, number: str) -> None:
        self._run(["scancel", number])

    def ask_to_stop(self, number: str) -> None:
        """SIGTERM for the job's own process; the job stays."""
        self._run(["scancel", "--batch", "--signal", "TERM", number])

    def requeue(self, number: str) -> None:
        self._run(["scontrol", "requeue", number])

    def partitions(self) -> list[str]:
        """Each partition, with its nodes and their generic resources, in Slurm's words."""
        answer = self._run(["sinfo", "--noheader", "--format", "%P %D nodes %G"])
        return [line.strip() for line in answer.splitlines() if " nodes " in line]

    def version(self) -> str:
        answer = self._run(["sinfo", "--version"])
        found = VERSION.search(answer)
        if found is None:
            raise Refused(
                tr(
                    "{host} answers {answer} where Slurm's version is expected.",
                    host=self._host,
                    answer=f"{answer.strip()[:200]!r}",
                ),
                tr("Correct LORA_SLURM_HOST: it names the login node of a Slurm cluster."),
            )
        return found[0]

    def _squeue(self, options: Sequence[str]) -> list[Job]:
        answer = self._run(["squeue", "--noheader", "--format", "%i|%T|%r|%N", *options])
        rows = (line.strip().split("|") for line in answer.splitlines())
        return [Job(*row[:4]) for row in rows if len(row) >= 4 and row[0].isdecimal()]

    def _run(self, words: Sequence[str], given: str = "") -> str:
        """What a command prints."""
        is_here = self._host == HERE
        command = list(words) if is_here else [*SSH, self._host, shlex.join(words)]
        try:
            done = subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE_S,
                start_new_session=True,  # a signal to whoever asks does not cut the answer off
            )
        except FileNotFoundError:
            raise _not_installed(command[0], None) from None
        except OSError as error:
            raise Refused(
                tr(
                    "{command} cannot be started on this machine: {reason}.",
                    command=command[0],
                    reason=error.strerror or error,
                ),
                tr("Try it by hand."),
            ) from error
        except subprocess.TimeoutExpired:
            raise NoAnswer(
                tr(
                    "{command} has not answered for {seconds} seconds.",
                    command=words[0],
                    seconds=f"{PATIENCE_S:.0f}",
                ),
                tr("Try it by hand; the cluster may be down or busy."),
            ) from None
        if done.returncode == 0:
            return done.stdout
        raise self._error(words[0], done.returncode, done.stderr)

    def _error(self, command: str, status: int, said: str) -> EngineError:
        lines = [SAID_BY.sub("", line.strip()) for line in said.splitlines() if line.strip()]
        words = (lines[-1] if lines else f"exit status {status}")[:300].rstrip(".")
        if self._host != HERE and status == SSH_FAILED:
            return NoAnswer(
                tr("{host} cannot be reached by ssh: {words}.", host=self._host, words=words),
                tr(
                    "Correct LORA_SLURM_HOST, or see that `ssh {host}` works there without a "
                    "password.",
                    host=self._host,
                ),
            )
        if self._host != HERE and status == NOT_FOUND:
            return _not_installed(command, self._host)
        if NO_ANSWER.search(said):
            return NoAnswer(
                tr("Slurm's controller does not answer: {words}.", words=words),
                tr("Try `sinfo`; the controller may be down."),
            )
        if OTHER_VERSION.search(said):
            return Refused(
                tr("Slurm's commands and its controller differ in version: {words}.", words=words),
                tr("Use the commands of the cluster: name its login node in LORA_SLURM_HOST."),
            )
        return Refused(
            tr("Slurm refuses: {words}.", words=" / ".join(dict.fromkeys(lines)) or words),
            tr("`sinfo` lists the partitions and what their nodes have."),
        )


def _not_installed(command: str, host: str | None) -> Refused:
    if command == SSH[0]:
        return Refused(
            tr("There is no command ssh on this machine."),
            tr("Install an ssh client, or set LORA_SLURM_HOST to local where Slurm's commands are "
               "on this machine."),
        )  # fmt: skip
    where = tr("on this machine") if host is None else tr("on {host}", host=host)
    return Refused(
        tr("There is no command {command} {where}.", command=command, where=where),
        tr("Install Slurm's client there, or name a login node in LORA_SLURM_HOST."),
    )
