"""The shell command that trains a run again, each word quoted for the shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from lora_engine.runs.launcher import PROJECT_ROOT
from lora_engine.settings import Settings


def command_line(spec_path: Path, settings: Settings) -> str:
    """`cd … && LORA_…=… python -m lora_engine train SPEC`, for sh and its kin."""
    words = [sys.executable, "-m", "lora_engine", "train", str(spec_path)]
    variables = {
        "LORA_DATA_DIR": settings.data_dir,
        "LORA_MODELS_DIR": settings.models_dir,
        "LORA_DEVICE": settings.device,
    }
    assigned = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
    return f"cd {shlex.quote(str(PROJECT_ROOT))} && {assigned} {shlex.join(words)}"
