"""The worker: one process that trains a run, or several, and talks only through their directories.

    python -m lora_engine.training.worker RUN_DIR [RUN_DIR ...] [--resume] [--lock-fd N ...]
                                         [--stop-worse]

It holds a run's lock for as long as the run lives, reads `spec.json`, appends to `metrics.jsonl`,
saves checkpoints and the adapter, and ends by writing `result.json`. SIGTERM asks it to stop after
the current step, a stop request in a run's directory asks it to stop that run. It knows nothing of
the list of runs or of who started it; `train_run` trains one, `together` several.
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
from lora_engine.language import remembering
from lora_engine.run_folder import RunDirectory, RunLock, name_worker, try_lock
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings, load_settings
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.reporting.outcome import run_problem, run_result
from lora_engine.training.together.member import Member
from lora_engine.training.together.run_log import FORMAT
from lora_engine.training.together.train_together import train_together
from lora_engine.training.train_run import train_run

log = logging.getLogger("lora_engine.training.worker")


def main(arguments: list[str] | None = None) -> int:
    """Train the runs that the command line names.

    Exit status 0: all finished or were cancelled; 2: a problem the person can mend; 1: a bug.
    """
    parser = argparse.ArgumentParser(prog="python -m lora_engine.training.worker")
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lock-fd", type=int, action="append", help="once for each RUN_DIR")
    parser.add_argument("--stop-worse", action="store_true", help="as `together.halving` says")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=FORMAT)
    directories = [RunDirectory(path.resolve()) for path in options.run_dirs]
    inherited = options.lock_fd or [None] * len(directories)
    if len(inherited) != len(directories):
        parser.error("give --lock-fd once for each RUN_DIR, in their order, or not at all")
    locks = [_hold_lock(*one) for one in zip(directories, inherited, strict=True)]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings()
    with remembering():  # a result is read in another language than it was written in
        if len(directories) > 1:
            members = [Member(*one, settings) for one in zip(directories, locks, strict=True)]
            train_together(members, options.resume, stop.is_set, options.stop_worse)
            failed = [member.exit_status for member in members if member.exit_status]
            return min(failed, default=0)
        try:
            return _run(directories[0], settings, options.resume, stop)
        finally:
            locks[0].close()


def _hold_lock(directory: RunDirectory, inherited: int | None) -> RunLock:
    if inherited is not None:
        # The launcher took the lock before this process existed; our children must not keep it.
        os.set_inheritable(inherited, False)
        return RunLock(inherited)
    lock = try_lock(directory)
    if lock is None:
        raise SystemExit(f"error: another worker is training {directory.path}.")
    name_worker(directory, lock.descriptor, os.getpid())
    return lock


def _run(directory: RunDirectory, settings: Settings, resume: bool, stop: threading.Event) -> int:
    """Train and write the result, however the training ends, short of a kill."""

    def should_stop() -> bool:
        return stop.is_set() or directory.stop_requested()

    directory.clear_result()
    progress = TrainingProgress()
    try:
        directory.keep_reserve()
        finished = train_run(directory, settings, resume, progress, should_stop)
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
    scrub_output()
    sys.exit(main())
