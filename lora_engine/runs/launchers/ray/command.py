"""What a run's job is told: its command and its environment, with paths as the nodes have them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePosixPath

from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.tenancy import Tenancy
from lora_engine.runs.launchers.versions import versions_as_arguments
from lora_engine.settings import Settings

PASSED_ON = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def entrypoint(directory: RunDirectory, tenancy: Tenancy, settings: Settings, resume: bool) -> str:
    words = [settings.ray_python, "-m", "lora_engine.runs.launchers.ray.job"]
    words += [str(_there(directory.path, settings)), "--token", str(tenancy.token)]
    words += [] if tenancy.storage is None else ["--storage", tenancy.storage]
    return shlex.join([*words, *versions_as_arguments(), *["--resume"] * resume])


def environment(settings: Settings) -> dict[str, str]:
    """No secret: Ray shows the environment of its jobs."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **passed,
        "LORA_DATA_DIR": str(_there(settings.data_dir, settings)),
        "LORA_MODELS_DIR": str(_there(settings.models_dir, settings)),
        "LORA_DEVICE": settings.device,
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }


def _there(path: Path, settings: Settings) -> Path | PurePosixPath:
    """A path of the data folder as the nodes have it."""
    if settings.ray_folder is None or not path.is_relative_to(settings.data_dir):
        return path
    return settings.ray_folder / path.relative_to(settings.data_dir)
