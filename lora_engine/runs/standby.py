"""The standby: one process that has the libraries imported, kept for the next run.

Importing torch, transformers and PEFT is most of the time from a click to the first step. While
somebody fills in the form, or after a run has ended, a process does it ahead and waits. It serves
one run, as a fresh process would: with its environment, its locks, its log and a session of its
own. Where anything differs (the device, a setting, the code, a need of the hub or of bitsandbytes)
or it does not answer, the run starts in a fresh process. It ends with the server, when its memory
is wanted, and after an idle time. After a run it loads that run's base too, for a next run of the
same kind (`training.kept_base`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_engine.base_models import resolve_base_model
from lora_engine.data.sources import names_the_hub
from lora_engine.errors import EngineError
from lora_engine.runs.expected_base import ExpectedBase
from lora_engine.runs.launcher import (
    PROJECT_ROOT,
    HeldRun,
    close_locks,
    make_ready,
    name_in_folders,
    worker_environment,
)
from lora_engine.settings import Settings
from lora_engine.training.skipped_imports import needs_bitsandbytes
from lora_engine.training.standby_channel import READY, TAKEN

log = logging.getLogger(__name__)
ANSWER_S = 5.0  # from the order to the standby's answer, which comes in milliseconds


@dataclass(frozen=True)
class _Waiting:
    """The process, its channel, and what it was started with."""

    process: subprocess.Popen
    channel: socket.socket
    environment: Mapping[str, str]
    code: int
    since: float
    base: ExpectedBase | None

    def close(self) -> None:
        """Let it go: it ends when the channel does, and is killed where it is still importing."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


class Standby:
    """At most one process that waits. idle_s: how long it may; 0 for none at all."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._waiting: _Waiting | None = None
        self._lock = threading.RLock()
        self._is_wanted = False
        self._base: ExpectedBase | None = None

    def expect(self, base: ExpectedBase | None = None) -> None:
        """A run may come soon, perhaps of this base: `start` is to be called for it."""
        with self._lock:
            self._is_wanted = True
            self._base = base or self._base

    @property
    def base(self) -> ExpectedBase | None:
        """The base of the run that is expected."""
        return self._base

    @property
    def is_wanted(self) -> bool:
        return self._is_wanted and self._idle_s > 0

    @property
    def is_ready(self) -> bool:
        with self._lock:
            return self._waiting is not None and _is_ready(self._waiting)

    @property
    def process_id(self) -> int | None:
        """Of the one that waits."""
        with self._lock:
            return None if self._waiting is None else self._waiting.process.pid

    def look_after(self) -> None:
        """Let go of one that has waited too long or has died."""
        with self._lock:
            waiting = self._waiting
            if waiting is None:
                return
            code = waiting.process.poll()
            if code is not None:
                log.warning("the standby ended by itself with status %s", code)
            if code is not None or time.monotonic() - waiting.since > self._idle_s:
                self.let_go()

    def start(self, environment: Mapping[str, str], base: ExpectedBase | None = None) -> None:
        """Start one that is expected, for runs with this environment and perhaps of this base, in
        place of one that waits with another base. Raises OSError."""
        with self._lock:
            if base is not None and self._waiting is not None and self._waiting.base != base:
                self.let_go()
            self._is_wanted, self._base = False, None
            if self._waiting is None and self._idle_s > 0:
                self._waiting = _started(environment, base)

    def let_go(self) -> None:
        """End the one that waits, and start none before the next is expected."""
        with self._lock:
            self._is_wanted, self._base = False, None
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.close()

    def let_base_go(self) -> None:
        """End one that has a base: a run starts without it and has more use for the memory."""
        with self._lock:
            if self._waiting is not None and self._waiting.base is not None:
                self.let_go()

    def close(self) -> None:
        """Let go for good: a thread that is still looking after it starts no other."""
        with self._lock:
            self._idle_s = 0
            self.let_go()

    def take(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log_file: int,
        locks: Sequence[int],
    ) -> subprocess.Popen | None:
        """Make the waiting process the worker of these runs; None where there is none that can.

        arguments: the worker's, without the locks. log_file and locks are descriptors.
        """
        with self._lock:
            waiting = self._waiting
            if waiting is None or not _is_ready(waiting):
                return None
            self._waiting = None
        fits = waiting.environment == environment and waiting.code == code_stamp()
        if fits and _has_taken(waiting, arguments, [log_file, *locks]):
            waiting.channel.close()
            return waiting.process
        waiting.close()
        return None


def launch_from(
    standby: Standby,
    runs: Sequence[HeldRun],
    settings: Settings,
    resume: bool,
    device: str,
    stop_worse: bool = False,
) -> subprocess.Popen | None:
    """As `launcher.launch`, with the process that waits; None, with the locks still held, where
    none waits that can take these runs; one with a base ends then. Raises OSError."""
    if not standby.is_ready or any(_needs_more(run, settings) for run in runs):
        standby.let_base_go()
        return None
    arguments = [str(run.directory.path) for run in runs]
    arguments += ["--resume"] * resume + ["--stop-worse"] * stop_worse
    environment = worker_environment(os.environ, settings, device)
    locks = [run.lock.descriptor for run in runs]
    try:
        make_ready(runs)
        with runs[0].directory.log_path.open("ab") as log_file:
            process = standby.take(arguments, environment, log_file.fileno(), locks)
        if process is None:
            return None
        name_in_folders(process, runs)
    except OSError:
        close_locks(runs)
        raise
    close_locks(runs)
    return process


def _needs_more(run: HeldRun, settings: Settings) -> bool:
    """Whether a run reads from the hub, or needs bitsandbytes or more processes; or is broken."""
    try:
        spec = run.directory.spec()
        base = resolve_base_model(spec.base_model, settings)
        needs_more = needs_bitsandbytes(spec) or spec.optimization.devices > 1
        needs_more = needs_more or names_the_hub(spec.dataset, settings)
        return needs_more or not base.is_local
    except EngineError:
        return True


def code_stamp() -> int:
    """When the engine's code was last changed: a process that imported it earlier is not used."""
    package = PROJECT_ROOT / "lora_engine"
    return max(file.stat().st_mtime_ns for file in package.rglob("*.py"))


def _started(environment: Mapping[str, str], base: ExpectedBase | None) -> _Waiting:
    of_base = [] if base is None else ["--base", base.name, "--precision", base.precision]
    ours, theirs = socket.socketpair()
    code = code_stamp()
    with theirs:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lora_engine.training.standby",
                "--channel",
                str(theirs.fileno()),
                *of_base,
            ],
            cwd=PROJECT_ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[theirs.fileno()],
        )
    return _Waiting(process, ours, dict(environment), code, time.monotonic(), base)


def _is_ready(waiting: _Waiting) -> bool:
    """Whether it has said that it has loaded what it should. What it said stays in the channel."""
    with contextlib.suppress(OSError):
        said = waiting.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return said == READY
    return False


def _has_taken(waiting: _Waiting, arguments: Sequence[str], descriptors: list[int]) -> bool:
    """Send the order; whether it was answered. The caller kills one that did not answer."""
    channel = waiting.channel
    try:
        channel.settimeout(ANSWER_S)
        channel.recv(1)
        socket.send_fds(channel, [json.dumps(list(arguments)).encode() + b"\n"], descriptors)
        return channel.recv(1) == TAKEN
    except OSError as error:
        log.warning("the standby did not take the run, which starts in a fresh process: %s", error)
        return False
