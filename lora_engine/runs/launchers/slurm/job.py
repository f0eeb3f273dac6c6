"""The job on a node: the worker of one run, in the process that Slurm signals.

    python -m lora_engine.runs.launchers.slurm.job RUN_DIR [--resume]
                                                   [--sent-with PACKAGE=VERSION ...]

SIGTERM ends the worker after the present step, with a checkpoint. It comes before the time limit,
when the job must make room, and when somebody stops the run. Where it was Slurm's own doing the job
queues itself again and later goes on from that checkpoint, as the same run.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.slurm.client import SlurmClient
from lora_engine.runs.launchers.slurm.ownership import is_wanted, take_for_job
from lora_engine.runs.launchers.versions import add_versions, log_other_versions, other_versions
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings
from lora_engine.training import worker

log = logging.getLogger("lora_engine.runs.launchers.slurm.job")
LOCK_PATIENCE_S = 60.0  # an earlier job of the run may still be ending
NAMED_PATIENCE_S = 120.0  # until the machine of the dashboard has written its number down
COULD_NOT_BEGIN = 75


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lora_engine.runs.launchers.slurm.job")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--resume", action="store_true")
    add_versions(parser)
    options = parser.parse_args()
    directory = RunDirectory(options.run_dir)
    number = os.environ.get("SLURM_JOB_ID", "")
    if not is_wanted(directory, number, NAMED_PATIENCE_S):
        print(f"error: nobody follows job {number}; the run may train elsewhere.", file=sys.stderr)
        return COULD_NOT_BEGIN
    lock = take_for_job(directory, number, LOCK_PATIENCE_S)
    if lock is None:
        print(f"error: another job trains in {directory.path}.", file=sys.stderr)
        return COULD_NOT_BEGIN
    log_other_versions(directory, other_versions(options.sent_with))
    resume = options.resume or os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    status = worker.main([str(directory.path), "--lock-fd", str(lock), *["--resume"] * resume])
    if _slurm_ended_it(directory, number):
        directory.clear_result()
        log.info("job %s is queued again, and goes on from its checkpoint", number)
        # its own commands: the node has them, whatever the machine of the dashboard needs
        SlurmClient(Settings()).requeue(number)
    return status


def _slurm_ended_it(directory: RunDirectory, number: str) -> bool:
    """Whether the worker stopped at a signal that no person sent."""
    result = directory.result()
    if result is None or result.state != "cancelled" or result.stopped_because:
        return False
    # The list of the folder is read anew over a shared disk; a name in it may be remembered.
    if directory.stop_path.name in os.listdir(directory.path):
        return False
    try:
        job = SlurmClient(Settings()).look(number)
    except EngineError as error:
        log.error("%s %s", error.problem, error.remedy)
        return False
    return job is not None and job.state == "RUNNING"  # a job that is cancelled is COMPLETING


if __name__ == "__main__":
    scrub_output()
    sys.exit(main())
