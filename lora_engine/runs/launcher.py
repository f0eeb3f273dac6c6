"""Starting a worker on this machine, and stopping it by its process group.

A worker trains one run, or several that share a base. The caller takes the runs' locks and the
worker inherits them, so there is no moment in which a started run looks dead. The worker leads its
own session: closing the server does not reach it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_engine import operating_system
from lora_engine.base_models import resolve_base_model
from lora_engine.data.sources import names_the_hub
from lora_engine.devices import CPU
from lora_engine.errors import Conflict, EngineError
from lora_engine.language import tr
from lora_engine.run_folder import (
    RunDirectory,
    RunLock,
    living_worker,
    name_worker,
    try_lock,
)
from lora_engine.scrubbing import SECRET_VARIABLES
from lora_engine.settings import Settings, environment_names

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LOCK_PATIENCE_S = 2.0

# The environment variables that a worker gets; the others stay outside. The hub's token is one of
# them for a run that names something on the hub.
PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "SSL_CERT_FILE",
    "WANDB_MODE", "WANDB_BASE_URL", "WANDB_ENTITY", "TRACKIO_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


# The settings that a worker gets. Who may sign in and what the API serves is none of its business.
OF_WORKERS = (
    "data_dir", "models_dir", "device", "max_upload_mb", "max_datasets_mb", "max_cache_mb",
)  # fmt: skip


@dataclass(frozen=True)
class HeldRun:
    """A run that is to start: its directory, and its lock, which the caller took."""

    directory: RunDirectory
    lock: RunLock


def launch(
    runs: Sequence[HeldRun], settings: Settings, resume: bool, device: str, stop_worse: bool = False
) -> subprocess.Popen:
    """Start one worker of these runs on a device, handing it their locks.

    Its output goes to `worker.log` of the first. It sees no other GPU than `device`. resume: each
    run goes on from its newest valid checkpoint, where it has one. stop_worse: the worker ends runs
    that are clearly worse than another of them. Raises OSError; the locks are closed in any case.
    """
    descriptors = [run.lock.descriptor for run in runs]
    command = [sys.executable, "-m", "lora_engine.training.worker"]
    command += [str(run.directory.path) for run in runs]
    for descriptor in descriptors:
        command += ["--lock-fd", str(descriptor)]
    command += ["--resume"] * resume + ["--stop-worse"] * stop_worse
    try:
        make_ready(runs)
        with runs[0].directory.log_path.open("ab") as log_file:
            process = subprocess.Popen(
                command,
                cwd=PROJECT_ROOT,
                env=worker_environment(
                    os.environ, settings, device, any(names_hub(run, settings) for run in runs)
                ),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                pass_fds=descriptors,
            )
        name_in_folders(process, runs)
        return process
    finally:
        close_locks(runs)


def make_ready(runs: Sequence[HeldRun]) -> None:
    """Clear what an earlier start left, and say in the others' logs which log has the output.

    Raises OSError.
    """
    first, *others = (run.directory for run in runs)
    for run in runs:
        run.directory.clear_result()
        run.directory.clear_stop_request()
    for directory in others:
        with directory.log_path.open("a", encoding="utf-8") as log_file:
            log_file.write(f"one worker with run {first.path.name}, whose log has all its output\n")


def close_locks(runs: Sequence[HeldRun]) -> None:
    for run in runs:
        run.lock.close()


def name_in_folders(process: subprocess.Popen, runs: Sequence[HeldRun]) -> None:
    """Write the worker into its runs' folders. One that cannot be named could not be stopped: it
    is killed. Raises OSError."""
    try:
        for run in runs:
            name_worker(run.directory, run.lock.descriptor, process.pid)
    except OSError:
        process.kill()
        raise


def lock_patiently(directory: RunDirectory) -> RunLock:
    """The run's lock. Raises Conflict where a worker keeps it."""
    # A process that asks whether the run is alive holds the lock for microseconds.
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        lock = try_lock(directory)
        if lock is not None:
            return lock
        if time.monotonic() > deadline:
            raise Conflict(
                tr("A worker is already training in {path}.", path=directory.path),
                tr("Wait for it, or cancel that run."),
            )
        time.sleep(0.02)


def signal_worker(directory: RunDirectory, number: signal.Signals) -> bool:
    """Signal the process group of a run's worker; False where that very process is gone."""
    worker = living_worker(directory)
    try:
        if worker is not None:
            os.killpg(worker.pid, number)
    except ProcessLookupError:
        return False
    return worker is not None


def is_stopped(directory: RunDirectory) -> bool:
    """Whether the worker lives but SIGSTOP or a debugger stopped it."""
    worker = living_worker(directory)
    return worker is not None and operating_system.is_stopped(worker.pid)


def names_hub(run: HeldRun, settings: Settings) -> bool:
    """Whether a run reads its base or a dataset from the hub."""
    try:
        spec = run.directory.spec()
        base = resolve_base_model(spec.base_model, settings)
        return not base.is_local or names_the_hub(spec.dataset, settings)
    except EngineError:  # the worker says what is wrong
        return False


def worker_environment(
    environment: Mapping[str, str], settings: Settings, device: str, names_hub: bool = False
) -> dict[str, str]:
    """The allow-listed environment, the settings in force, the device, and no telemetry.

    names_hub: the run reads from the hub, and gets the token for it.
    """
    names = (*PASSED_ON, *SECRET_VARIABLES) if names_hub else PASSED_ON
    passed = {name: environment[name] for name in names if name in environment}
    names_of = environment_names()
    in_force = {names_of[field]: str(getattr(settings, field)) for field in OF_WORKERS}
    card = {} if device == CPU else {"CUDA_VISIBLE_DEVICES": device}
    return {
        **passed,
        **in_force,
        **card,
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_ENABLE_MPS_FALLBACK": "1",  # a Mac: what its GPU lacks is done by the processor
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "DO_NOT_TRACK": "1",
    }


def shell_command(spec_path: Path, settings: Settings) -> str:
    """`cd … && LORA_…=… python -m lora_engine train SPEC`: the same training, from a POSIX shell.

    Every word is quoted for the shell.
    """
    words = [sys.executable, "-m", "lora_engine", "train", str(spec_path)]
    variables = {
        "LORA_DATA_DIR": settings.data_dir,
        "LORA_MODELS_DIR": settings.models_dir,
        "LORA_DEVICE": settings.device,
    }
    assigned = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
    return f"cd {shlex.quote(str(PROJECT_ROOT))} && {assigned} {shlex.join(words)}"
