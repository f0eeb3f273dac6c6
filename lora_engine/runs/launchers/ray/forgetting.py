"""Deleted runs are forgotten by their storage too, in a process of its own: nobody waits for it.

    python -m lora_engine.runs.launchers.ray.forgetting

`ray_forget/<run>` in the data folder names the storage of a run that was deleted. What the storage
does not let be done now is done when the next run is deleted. What is said goes into
`ray_forget.log`.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, Unreadable
from lora_engine.files import write_atomically
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers.ray.shared_content import forget_run, sweep
from lora_engine.runs.launchers.ray.storage import open_storage
from lora_engine.runs.launchers.ray.tenancy import read_tenancy
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings

log = logging.getLogger("ray.forgetting")
NOTES, LOG = "ray_forget", "ray_forget.log"


def storage_of(directory: RunDirectory, settings: Settings) -> str | None:
    """Where content of a run may lie; None for one that was never a job over a storage."""
    if not (directory.path / "ray.json").exists():
        return None
    try:
        return read_tenancy(directory).storage or settings.ray_storage
    except Unreadable:
        return settings.ray_storage


def note(run: str, url: str, settings: Settings) -> None:
    """Raises OSError."""
    folder = settings.data_dir / NOTES
    folder.mkdir(exist_ok=True)
    write_atomically(folder / run, url.encode())


def forget(settings: Settings) -> None:
    """Do what the notes say, then remove the content that no run refers to any more."""
    asked: dict[str, list[Path]] = {}
    for path in sorted((settings.data_dir / NOTES).glob("[!.]*")):
        asked.setdefault(path.read_text("utf-8"), []).append(path)
    for url, notes in asked.items():
        try:
            storage = open_storage(url)
            for path in notes:
                forget_run(storage, path.name)
                path.unlink(missing_ok=True)
            log.info("%d pieces that no run refers to were removed from %s", sweep(storage), url)
        except EngineError as error:
            log.error("%s %s It is tried again with the next.", error.problem, error.remedy)


if __name__ == "__main__":
    scrub_output()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s"
    )
    forget(load_settings())
