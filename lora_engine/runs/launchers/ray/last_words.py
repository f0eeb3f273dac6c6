"""Why a job of Ray ended without a result: what it said itself, as problem and remedy."""

from __future__ import annotations

from lora_engine.language import tr
from lora_engine.run_folder import RunProblem
from lora_engine.runs.launchers.ray.client import Job

PROBLEM = "error: "
"""Before a problem that a person can mend, in what a job prints."""

SAID = 500  # characters that are shown


def problem_said(log: str) -> str | None:
    """The newest problem in a job's log."""
    said = [line.partition(PROBLEM)[2] for line in log.splitlines() if line.startswith(PROBLEM)]
    return said[-1].strip()[:SAID].rstrip(".") if said else None


def did_not_begin(job: Job, log: str) -> RunProblem:
    """Of a job without a sign of life."""
    lines = log.strip().splitlines()
    why = problem_said(log) or (lines[-1] if lines else job.message or job.status)
    why = why.strip()[:SAID].rstrip(".")
    return RunProblem(
        problem=tr(
            "Ray job {name} failed before it began to train: {why}.", name=job.name, why=why
        ),
        remedy=tr(
            "The nodes need the data folder (LORA_RAY_FOLDER) or the storage (LORA_RAY_STORAGE), "
            "Python 3.11 or newer (LORA_RAY_PYTHON) and the packages of requirements.txt."
        ),
    )


def gave_up(job: Job, why: str) -> RunProblem:
    """Of a job that trained, or was about to, and met something that a person can mend."""
    return RunProblem(
        problem=tr("Ray job {name} gave up: {why}.", name=job.name, why=why),
        remedy=tr("What came here is kept. Resume the run when that is mended."),
    )
