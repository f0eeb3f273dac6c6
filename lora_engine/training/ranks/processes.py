"""The processes that share one run: the first starts the others, watches them and ends with them.

The first is the worker that the launcher started: it holds the run's lock, decides and writes. The
others get no lock and write nothing but the log. They live in the first one's session, so that a
signal to its process group ends all, and hold the end of a pipe from it, so that they end at once
where it dies alone. They find each other through a file in the run's folder, and on one machine
talk over its loopback interface only. `torchrun` may start the processes instead.

Where one ends before its time, the others stand waiting for its word. gloo tells them at once, nccl
may not: after LOST_PATIENCE_S the first process then ends the run by itself.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from lora_engine.devices import CPU, list_devices
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.training.ranks.ranks import GroupBroken, Ranks

log = logging.getLogger("lora_engine.training.worker")
FOLDER = "ranks"  # in the run's folder, while several processes train it
STOPS = (signal.SIGTERM, signal.SIGINT)
POLL_S = 0.05
FIRST_IS_GONE_S = 2.0  # from a broken connection to the end of the first process's pipe
NOTICED_S = 5.0  # from a broken connection to the end of the process behind it
LOST_PATIENCE_S = 30.0
# The first may compute a reference, answer prompts and save while the others wait for its word.
MESSAGE_PATIENCE = timedelta(hours=2)
ORPHANED = 3  # the exit status of a process whose first process is gone


@dataclass
class Group:
    """This process's place among those of a run, from before they are connected."""

    folder: Path
    rank: int
    count: int
    by_torchrun: bool = False
    others: OtherProcesses | None = None
    follower: threading.Thread | None = None  # ends this process with the first one

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait_for_the_first(self) -> None:
        """Until the first process has read the data, so that it is done once."""
        if not self.is_first and not self.by_torchrun:
            while not (self.folder / "prepared").exists():
                time.sleep(POLL_S)

    def join(self, device: str, lockstep: bool) -> Ranks:
        """Connect with all others. Raises GroupBroken where one of them is gone."""
        import torch
        import torch.distributed as dist

        if device == CPU:
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(1, torch.get_num_threads() // self.count))
            if not self.by_torchrun:
                os.environ["GLOO_SOCKET_IFNAME"] = _loopback()
        backend = "gloo" if device == CPU else "nccl"
        if self.by_torchrun:
            dist.init_process_group(backend, timeout=MESSAGE_PATIENCE)
        else:
            self._meet()
            dist.init_process_group(
                backend,
                store=dist.FileStore(str(self.folder / "store"), self.count),
                rank=self.rank,
                world_size=self.count,
                timeout=MESSAGE_PATIENCE,
            )
        log.info("rank %d of %d is connected (%s)", self.rank, self.count, backend)
        return Ranks(self.rank, self.count, device, lockstep)

    def end_with_the_first(self) -> None:
        """After a connection broke. Where the first process is behind it, this one ends here and
        takes the folder away; where another is, the first one sees to both."""
        if self.follower is not None:
            self.follower.join(FIRST_IS_GONE_S)

    def leave(self) -> None:
        """Say goodbye after the last word, so that nobody's connection breaks."""
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()

    def _meet(self) -> None:
        """Wait until all are here: connecting would wait for ever for one that is gone."""
        if not self.is_first:
            (self.folder / f"here-{self.rank}").touch()
            return
        (self.folder / "prepared").touch()
        missing = set(range(1, self.count))
        while missing:
            missing = {rank for rank in missing if not (self.folder / f"here-{rank}").exists()}
            if self.others is not None and self.others.lost() is not None:
                raise GroupBroken("a process ended before it was connected")
            time.sleep(POLL_S)


@dataclass
class OtherProcesses:
    """The processes that the first one started, by rank."""

    folder: Path
    processes: dict[int, subprocess.Popen]
    ending: threading.Lock = field(default_factory=threading.Lock)

    def lost(self) -> tuple[int, int] | None:
        """Rank and exit status of one that failed, one that was killed first of all."""
        codes = [(rank, one.poll()) for rank, one in self.processes.items()]
        failed = [(rank, code) for rank, code in codes if code]
        return min(failed, key=lambda one: (one[1] > 0, one[1] == ORPHANED, one[0]), default=None)

    def cause(self) -> EngineError | None:
        """Why the run cannot go on, where it is one of these processes; None where all are well."""
        until = time.monotonic() + NOTICED_S
        while (found := self.lost()) is None and time.monotonic() < until:
            time.sleep(POLL_S)
        return None if found is None else self._in_words(*found)

    def watch(self, end_all: Callable[[EngineError], None]) -> None:
        """From a thread: where one is lost and the first process does not notice, end the run."""

        def look() -> None:
            while (found := self.lost()) is None:
                if all(one.poll() == 0 for one in self.processes.values()):
                    return
                time.sleep(POLL_S * 4)
            time.sleep(LOST_PATIENCE_S)
            with self.ending:
                end_all(self._in_words(*found))

        threading.Thread(target=look, name="other ranks", daemon=True).start()

    def close(self) -> None:
        """End those that are left, and leave nothing behind."""
        for one in self.processes.values():
            if one.stdin is not None:
                with suppress(BrokenPipeError):
                    one.stdin.close()
        for one in self.processes.values():
            try:
                one.wait(timeout=NOTICED_S)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _in_words(self, rank: int, code: int) -> EngineError:
        count = len(self.processes) + 1
        said = self.folder / f"problem-{rank}"
        if code < 0:
            why = tr("it was killed by {signal}", signal=_signal_name(-code))
        elif said.is_file():
            why = json.loads(said.read_text("utf-8"))
        else:
            why = tr("it ended with status {code}; the log says more", code=code)
        return EngineError(
            tr(
                "Rank {rank} of the run's {count} processes ended before its time: {why}",
                rank=rank,
                count=count,
                why=why.rstrip(".") + ".",
            ),
            tr("All processes were ended. Resume the run from its newest checkpoint."),
        )


def start_others(directory: RunDirectory, count: int, resume: bool, settings: Settings) -> Group:
    """This process becomes the first of `count`, and starts the others.

    Raises EngineError where there are not as many devices.
    """
    cards = list_devices(settings)
    if cards != [CPU]:
        if count > len(cards):
            raise EngineError(
                tr(
                    "The run asks for {wanted} GPUs, and there are {there} here.",
                    wanted=count,
                    there=len(cards),
                ),
                tr("Set optimization.devices to {there} or fewer.", there=len(cards)),
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[0]
    folder = directory.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    command = [sys.executable, "-m", "lora_engine.training.worker", str(directory.path)]
    command += ["--resume"] * resume + ["--ranks", str(count), "--rank"]
    processes: dict[int, subprocess.Popen] = {}
    others = OtherProcesses(folder, processes)
    # A stop that comes while they start is this process's to answer; they inherit the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        for rank in range(1, count):
            card = {} if cards == [CPU] else {"CUDA_VISIBLE_DEVICES": cards[rank]}
            processes[rank] = subprocess.Popen(
                [*command, str(rank)], env={**os.environ, **card}, stdin=subprocess.PIPE
            )
    except OSError:
        others.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Group(folder, 0, count, others=others)


def be_another(directory: RunDirectory, rank: int, count: int) -> Group:
    """This process is not the first: it lives as long as that one does, and hears no signal."""
    _hear_no_signal()
    folder = directory.path / FOLDER
    follower = threading.Thread(target=_end_with_the_first, args=(folder,), daemon=True)
    follower.start()
    return Group(folder, rank, count, follower=follower)


def of_torchrun(
    directory: RunDirectory, settings: Settings, environment: Mapping[str, str] = os.environ
) -> Group | None:
    """This process's place where torchrun started it; None where it did not."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    cards = list_devices(settings)
    if cards != [CPU]:
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[int(environment["LOCAL_RANK"]) % len(cards)]
    rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    if rank:
        _hear_no_signal()
    return Group(directory.path / FOLDER, rank, count, by_torchrun=True)


def say_problem(group: Group, problem: str) -> None:
    """Leave word for the first process of why this one ends."""
    with suppress(OSError):  # the first one says then that this one ended
        (group.folder / f"problem-{group.rank}").write_text(json.dumps(problem), "utf-8")


def _hear_no_signal() -> None:
    """A signal that asks the group to stop is for the first process, whose word all follow."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _end_with_the_first(folder: Path) -> None:
    while os.read(0, 1):  # standard input: until the first process closes its end, or dies
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(ORPHANED)


def _loopback() -> str:
    """The interface of this machine alone."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
