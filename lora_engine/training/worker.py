"""The worker: one process that trains one run and talks only through its run directory.

    python -m lora_engine.training.worker RUN_DIR [--resume] [--lock-fd N]

It holds the run's lock for as long as it lives, reads `spec.json`, appends to `metrics.jsonl`,
saves checkpoints and the adapter, and ends by writing `result.json`. SIGTERM asks it to stop after
the current step. It knows nothing of the list of runs or of who started it; `train_run` trains.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory, RunLock, try_lock
from lora_engine.settings import Settings, load_settings
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.reporting.outcome import run_problem, run_result
from lora_engine.training.train_run import train_run

log = logging.getLogger("lora_engine.training.worker")


def main(arguments: list[str] | None = None) -> int:
    """Train the run that the command line names.

    Exit status 0: finished or cancelled; 2: a problem the person can mend; 1: a bug.
    """
    parser = argparse.ArgumentParser(prog="python -m lora_engine.training.worker")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lock-fd", type=int)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    directory = RunDirectory(options.run_dir.resolve())
    lock = _hold_lock(directory, options.lock_fd)
    try:
        return _run(directory, load_settings(), options.resume)
    finally:
        lock.close()


def _hold_lock(directory: RunDirectory, inherited: int | None) -> RunLock:
    if inherited is not None:
        # The launcher took the lock before this process existed; our children must not keep it.
        os.set_inheritable(inherited, False)
        return RunLock(inherited)
    lock = try_lock(directory)
    if lock is None:
        raise SystemExit(f"error: another worker is training {directory.path}.")
    return lock


def _run(directory: RunDirectory, settings: Settings, resume: bool) -> int:
    """Train and write the result, however the training ends, short of a kill."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    directory.clear_result()
    progress = TrainingProgress()
    try:
        directory.keep_reserve()
        finished = train_run(directory, settings, resume, progress, stop.is_set)
    except Exception as error:  # noqa: BLE001 - every ending is written down
        problem = run_problem(error, directory, settings)
        _log_failure(error, problem.problem)
        directory.write_result(run_result("failed", progress, problem))
        return 1 if problem.is_bug else 2
    state = "finished" if finished else "cancelled"
    directory.write_result(run_result(state, progress, None))
    log.info("%s after step %d", state, progress.step)
    return 0


def _log_failure(error: Exception, problem: str) -> None:
    if isinstance(error, EngineError):
        log.error("%s %s", error.problem, error.remedy)
    else:
        log.error("%s", problem, exc_info=error)


if __name__ == "__main__":
    sys.exit(main())
