"""The worker: one process that trains a run, or several, and talks only through their directories.

    python -m lora_engine.training.worker RUN_DIR [RUN_DIR ...] [--resume] [--lock-fd N ...]
                                         [--stop-worse] [--rank N --ranks N]

It holds a run's lock for as long as the run lives, reads `spec.json`, appends to `metrics.jsonl`,
saves checkpoints and the adapter, and ends by writing `result.json`. SIGTERM asks it to stop after
the current step, a stop request in a run's directory asks it to stop that run. It knows nothing of
the list of runs or of who started it; `train_run` trains one, `together` several. Where a run asks
for several devices, the worker starts a process like itself for each further one (`ranks`).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.language import remembering
from lora_engine.run_folder import RunDirectory, RunLock, name_worker, try_lock
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings
from lora_engine.training.compatibility import refuse_other_group
from lora_engine.training.kept_base import KeptBase
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.ranks.processes import (
    ORPHANED,
    Group,
    be_another,
    of_torchrun,
    say_problem,
    start_others,
)
from lora_engine.training.ranks.ranks import GroupBroken
from lora_engine.training.reporting.outcome import run_problem, run_result
from lora_engine.training.together.member import Member
from lora_engine.training.together.run_log import FORMAT
from lora_engine.training.together.train_together import train_together
from lora_engine.training.train_run import train_run

log = logging.getLogger("lora_engine.training.worker")


def main(arguments: list[str] | None = None, kept: KeptBase | None = None) -> int:
    """Train the runs that the command line names. kept: may hold their base.

    Exit status 0: all finished or were cancelled; 2: a problem the person can mend; 1: a bug.
    """
    parser = argparse.ArgumentParser(prog="python -m lora_engine.training.worker")
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--lock-fd", type=int, action="append", help="once for each RUN_DIR")
    parser.add_argument("--stop-worse", action="store_true", help="as `together.halving` says")
    parser.add_argument("--rank", type=int, default=0, help="of a process that another started")
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=FORMAT)
    directories = [RunDirectory(path.resolve()) for path in options.run_dirs]
    settings = load_settings()
    torchrun = of_torchrun(directories[0], settings)
    if options.rank:
        return _run_beside(be_another(directories[0], options.rank, options.ranks), options.resume)
    if torchrun is not None and not torchrun.is_first:
        return _run_beside(torchrun, options.resume)
    inherited = options.lock_fd or [None] * len(directories)
    if len(inherited) != len(directories):
        parser.error("give --lock-fd once for each RUN_DIR, in their order, or not at all")
    locks = [_hold_lock(*one) for one in zip(directories, inherited, strict=True)]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with remembering():  # a result is read in another language than it was written in
        if len(directories) > 1:
            members = [Member(*one, settings) for one in zip(directories, locks, strict=True)]
            train_together(members, options.resume, stop.is_set, options.stop_worse, kept)
            failed = [member.exit_status for member in members if member.exit_status]
            return min(failed, default=0)
        try:
            return _run(directories[0], settings, options.resume, stop, torchrun, kept)
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


def _run(
    directory: RunDirectory,
    settings: Settings,
    resume: bool,
    stop: threading.Event,
    group: Group | None,
    kept: KeptBase | None,
) -> int:
    """Train and write the result, however the training ends, short of a kill."""

    def should_stop() -> bool:
        return stop.is_set() or directory.stop_requested()

    def end_all(error: EngineError) -> None:
        directory.write_result(
            run_result("failed", progress, run_problem(error, directory, settings))
        )
        log.error("%s", error.problem)
        os._exit(2)

    directory.clear_result()
    progress = TrainingProgress()
    try:
        directory.keep_reserve()
        devices = directory.spec().optimization.devices
        if group is not None:
            refuse_other_group(directory.spec(), group.count, settings)
        elif devices > 1:
            group = start_others(directory, devices, resume, settings)
        if group is not None and group.others is not None:
            group.others.watch(end_all)
        finished = train_run(directory, settings, resume, progress, should_stop, group, kept)
        result = run_result("finished" if finished else "cancelled", progress, None)
        status = 0
    except Exception as error:  # noqa: BLE001 - every ending is written down
        error = _cause(error, group)
        problem = run_problem(error, directory, settings)
        _log_failure(error, problem.problem)
        result, status = run_result("failed", progress, problem), 1 if problem.is_bug else 2
    with nullcontext() if group is None or group.others is None else group.others.ending:
        if group is not None:
            _part(group, is_well=status == 0)
        directory.write_result(result)
    log.info("%s after step %d", result.state, progress.step)
    return status


def _run_beside(group: Group, resume: bool) -> int:
    """Train along with the first process of a run, which writes what there is to write."""
    directory = RunDirectory(group.folder.parent)
    try:
        settings = load_settings()
        refuse_other_group(directory.spec(), group.count, settings)
        train_run(directory, settings, resume, TrainingProgress(), lambda: False, group)
        group.leave()
    except GroupBroken as error:
        log.error("rank %d: another process is gone: %s", group.rank, error)
        group.end_with_the_first()
        return ORPHANED
    except EngineError as error:
        say_problem(group, error.problem)
        log.error("rank %d: %s %s", group.rank, error.problem, error.remedy)
        return 2
    except Exception as error:
        say_problem(group, f"{type(error).__name__}: {error}")
        log.exception("rank %d failed", group.rank)
        return 1
    return 0


def _cause(error: Exception, group: Group | None) -> Exception:
    """The error, or that of another process where it is behind this one."""
    if isinstance(error, EngineError) or group is None or group.others is None:
        return error
    return group.others.cause() or error


def _part(group: Group, is_well: bool) -> None:
    """End the connections, where they are whole, and the other processes."""
    if is_well:
        group.leave()
    if group.others is not None:
        group.others.close()


def _log_failure(error: Exception, problem: str) -> None:
    if isinstance(error, EngineError):
        log.error("%s %s", error.problem, error.remedy)
    else:
        log.error("%s", problem, exc_info=error)


if __name__ == "__main__":
    scrub_output()
    sys.exit(main())
