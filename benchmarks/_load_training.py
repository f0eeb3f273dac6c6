"""A dashboard that trains the starter, and how fast it trains while something else goes on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import _path  # noqa: F401
import psutil
from _server import served

from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec

SETTLE_S = 3.0
NEVER = 1_000_000  # steps
SPEC = {
    "name": "watched",
    "base_model": "starter",
    "dataset": {"source": "starter:pirate"},
    "optimization": {"max_steps": NEVER, "eval_every": NEVER, "save_every": NEVER},
    "report": {"samples": 0},
}


@dataclass(frozen=True)
class Training:
    """A run that goes on for as long as the benchmark, on a server of its own."""

    url: str
    server: psutil.Process
    run_id: str
    directory: RunDirectory

    def rate(self, seconds: float) -> float:
        """Steps a second in the next so many seconds, by the worker's own clock."""
        before = self._newest()
        time.sleep(seconds)
        after = self._newest()
        return (after.step - before.step) / (after.elapsed_s - before.elapsed_s)

    def _newest(self):
        row = self.directory.last_metrics()
        if row is None:
            raise SystemExit("the run has logged no step")
        return row


@contextmanager
def trained(folder: Path) -> Iterator[Training]:
    """A server with a run that has logged its first steps; both end with the block."""
    from gradio_client import Client

    with served(folder) as url:
        server = server_process()
        try:
            spec = RunSpec.model_validate(SPEC).model_dump(mode="json")
            run_id = Client(url, verbose=False).predict(spec, api_name="/submit")["id"]
            training = Training(url, server, run_id, RunDirectory(folder / "runs" / run_id))
            _wait_for_steps(training.directory)
            yield training
        finally:
            for worker in server.children(recursive=True):
                worker.kill()


def server_process() -> psutil.Process:
    """The dashboard that this process has started."""
    children = psutil.Process().children()
    return next(one for one in children if one.cmdline()[-1:] == ["app.py"])


def _wait_for_steps(directory: RunDirectory) -> None:
    end = time.monotonic() + 120
    while (row := directory.last_metrics()) is None or row.step < 50:
        if time.monotonic() > end:
            raise SystemExit("the run did not start:\n" + directory.log_tail(20))
        time.sleep(0.2)


def slowdown(
    training: Training,
    seconds: float,
    rounds: int,
    loads: Sequence[Callable[[], AbstractContextManager[object]]],
) -> list[float]:
    """For each load by how much slower the run trains under it: 0.1 is ten percent.

    The loads take turns with windows without any, and each window is set against the mean of those
    before and after it, so that other work on the machine weighs on both alike. The median of the
    rounds.
    """
    slower: list[list[float]] = [[] for _ in loads]
    before = training.rate(seconds)
    for _ in range(rounds):
        for number, load in enumerate(loads):
            with load():
                time.sleep(SETTLE_S)
                under = training.rate(seconds)
            time.sleep(SETTLE_S)
            after = training.rate(seconds)
            slower[number].append(1 - under / ((before + after) / 2))
            before = after
    return [statistics.median(rounds_of_one) for rounds_of_one in slower]


def processor_seconds(process: psutil.Process) -> float:
    """What a process and those that it has started have used of a core so far."""
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return sum(one.user + one.system for one in times)
