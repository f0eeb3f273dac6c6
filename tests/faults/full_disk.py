"""A run on a disk of its own that really fills: a small tmpfs in a mount namespace of its own.

    unshare --mount python -m tests.faults.full_disk REQUEST

The mount dies with this process, whatever happens. REQUEST is JSON: `spec`, `folder` to mount on,
`free_bytes` to leave on the disk before the run. Prints one JSON document of what was found while
the disk was full, and after room was made and the run resumed (or submitted again).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.runs.states import OVER
from lora_engine.settings import Settings
from lora_engine.spec import spec_from
from lora_engine.training.checkpointing.checkpoints import newest_valid_checkpoint

DISK_BYTES = 64 << 20
PATIENCE_S = 120


def main() -> None:
    request = json.loads(sys.argv[1])
    folder = Path(request["folder"])
    mount(folder)
    ballast = folder / "ballast"
    engine = Engine(Settings(data_dir=folder, models_dir=folder / "models", device="cpu"))
    fill(ballast, request["free_bytes"])
    spec = spec_from(request["spec"])
    try:
        run_id = engine.runs.submit(spec).id
    except EngineError as error:
        refused = {"refused": str(error), "left": folders(engine.settings.runs_dir)}
        assert engine.runs.list() == []
        ballast.unlink()
        print(json.dumps({"full": refused, "resumed": found(engine, engine.runs.submit(spec).id)}))
        return
    full = found(engine, run_id)
    ballast.unlink()
    engine.runs.resume(run_id)
    print(json.dumps({"full": full, "resumed": found(engine, run_id)}))


def mount(folder: Path) -> None:
    """A disk of `DISK_BYTES` on the folder."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    subprocess.run(words, check=True)


def fill(ballast: Path, leave: int) -> None:
    free = os.statvfs(ballast.parent)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))


def found(engine: Engine, run_id: str) -> dict:
    """How the run ended, in the words of the list that the pages show, and what is left of it."""
    deadline = time.monotonic() + PATIENCE_S
    while engine.runs.get(run_id).record.state not in OVER:
        assert time.monotonic() < deadline, engine.runs.log_tail(run_id)
        time.sleep(0.05)
        engine.runs.refresh()
    view, directory = engine.runs.get(run_id), engine.runs.directory(run_id)
    checkpoint = newest_valid_checkpoint(directory.checkpoints_path)
    adapter = directory.adapter_path / "adapter_model.safetensors"
    return {
        "state": view.record.state,
        "error": view.result.error.model_dump() if view.result and view.result.error else None,
        "valid_step": checkpoint.progress.step if checkpoint else None,
        "checkpoints": folders(directory.checkpoints_path),
        "losses": [row.loss for row in sorted(directory.metrics(), key=lambda row: row.step)],
        "adapter": adapter.read_bytes().hex() if adapter.exists() else None,
        "log": directory.log_tail(20),
    }


def folders(path: Path) -> list[str]:
    return sorted(found.name for found in path.iterdir()) if path.is_dir() else []


if __name__ == "__main__":
    main()
