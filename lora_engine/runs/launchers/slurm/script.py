"""The Slurm job of one run: the options of `sbatch`, and the script that the node runs.

Options are words of a command, never lines of the script, and every value in the script is quoted:
nothing that a person typed becomes shell or an option. Knows no cluster.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lora_engine.devices import CPU
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launcher import PROJECT_ROOT, worker_environment
from lora_engine.runs.launchers.versions import versions_as_arguments
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec

WARNING_S = 60  # before its time limit a job is told, so that it saves a checkpoint


def job_name(directory: RunDirectory) -> str:
    """By this name a job is found again: the run's folder is its identity."""
    return f"rankscope-{directory.path.name}"


def job_options(directory: RunDirectory, spec: RunSpec, settings: Settings) -> list[str]:
    """The options of `sbatch`. Raises EngineError for a path that Slurm cannot have."""
    log = str(_there(directory.log_path, settings))
    if (
        "\\" in log or not log.isprintable()
    ):  # Slurm reads patterns in it, and a backslash ends them
        raise EngineError(
            tr("Slurm cannot write a log to {path}.", path=f"{log!r}"),
            tr("Take a data folder whose path has no backslash and no sign that is not seen."),
        )
    wanted = spec.resources
    options = {
        "--job-name": job_name(directory),
        "--output": log.replace("%", "%%"),
        "--open-mode": "append",
        "--signal": f"B:TERM@{WARNING_S}",
        "--nodes": 1,
        "--ntasks": 1,
        "--partition": settings.slurm_partition,
        "--account": settings.slurm_account,
        "--time": settings.slurm_minutes,
        "--cpus-per-task": wanted.cpus,
        "--gres": f"gpu:{wanted.gpus}" if wanted.gpus else None,
        "--mem": f"{round(wanted.memory_gib * 1024)}M" if wanted.memory_gib else None,
    }
    return ["--requeue", *(f"{name}={value}" for name, value in options.items() if value)]


def job_script(directory: RunDirectory, spec: RunSpec, settings: Settings, resume: bool) -> str:
    """The script: settings, then the job in the process that Slurm signals."""
    project = settings.slurm_project or PROJECT_ROOT
    python = settings.slurm_python or sys.executable
    words = [python, "-m", "lora_engine.runs.launchers.slurm.job"]
    words += [str(_there(directory.path, settings)), *versions_as_arguments()]
    words += ["--resume"] * resume
    environment = _environment(spec, settings, project)
    return "\n".join(
        [
            "#!/bin/bash",
            "set -u",
            f"cd {shlex.quote(str(project))} || exit 1",
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            f"exec {shlex.join(words)}",
            "",
        ]
    )


def _environment(spec: RunSpec, settings: Settings, project: Path) -> Mapping[str, str]:
    there = settings.model_copy(
        update={
            "data_dir": _there(settings.data_dir, settings),
            "models_dir": _there(settings.models_dir, settings),
            "device": "cuda" if spec.resources.gpus else "cpu",
        }
    )
    threads = {"OMP_NUM_THREADS": str(spec.resources.cpus)} if spec.resources.cpus else {}
    return {**worker_environment({}, there, CPU), **threads, "PYTHONPATH": str(project)}


def _there(path: Path, settings: Settings) -> PurePosixPath:
    """A path of this machine as the nodes see it: inside the data folder it may be another."""
    if settings.slurm_folder is None or not path.is_relative_to(settings.data_dir):
        return PurePosixPath(path)
    return PurePosixPath(settings.slurm_folder) / path.relative_to(settings.data_dir)
