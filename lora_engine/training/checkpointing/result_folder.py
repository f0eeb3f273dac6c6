"""A result's folder, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lora_engine.run_folder.directory import sync_directory

CHAT_TEMPLATE = "chat_template.jinja"  # as transformers names it beside a tokenizer


def write_folder(folder: Path, fill: Callable[[Path], None], provenance: bytes) -> None:
    """Replace `folder` by what `fill` writes into an empty one, with `provenance.json` beside it.

    Raises OSError where the disk refuses; what `folder` held before is then still there.
    """
    staging = folder.with_name(f".{folder.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    fill(staging)
    (staging / "provenance.json").write_bytes(provenance)
    for path in staging.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(staging, folder)
    sync_directory(folder.parent)
