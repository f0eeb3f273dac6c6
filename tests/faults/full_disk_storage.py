"""Both ends of a Ray job over a storage on a disk that really fills: a small tmpfs in a mount
namespace of its own.

    unshare --mount python -m tests.faults.full_disk_storage REQUEST

REQUEST is JSON: `folder` to mount on, `home` for what lies on the ordinary disk. Prints one JSON
document: what the node was told, and what came here, at each stage.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from lora_engine.run_folder import RunDirectory, RunProblem, RunResult
from lora_engine.runs.launchers.ray.apart import Here, There
from lora_engine.runs.launchers.ray.storage import StorageTrouble, open_storage
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from tests.faults.full_disk import fill, mount

CHECKPOINT_BYTES = 3 << 20


def main() -> None:
    request = json.loads(sys.argv[1])
    folder, home = Path(request["folder"]), Path(request["home"])
    mount(folder)
    settings = Settings(data_dir=home / "data", models_dir=home / "models", device="cpu")
    local = RunDirectory(settings.runs_dir / "a-run")
    local.create(RunSpec())
    storage = open_storage(f"file://{folder}/storage")
    here = Here(local, storage, 1, settings)
    here.write_token(1)
    here.bring(resume=False, between=lambda: None)
    there = There(open_storage(f"file://{folder}/storage"), "a-run", 1, home / "node")
    there.begin(threading.Event())
    write_checkpoint(there.directory, 2)
    stages = [stage(there, here, local)]
    write_checkpoint(there.directory, 4)
    there.directory.write_result(RunResult.failed(RunProblem(problem="One.", remedy="Two.")))
    fill(folder / "ballast", CHECKPOINT_BYTES // 2)
    stages.append(stage(there, here, local))
    fill(folder / "more", 0)
    stages.append(stage(there, here, local))
    (folder / "more").unlink()
    (folder / "ballast").unlink()
    stages.append(stage(there, here, local))
    print(json.dumps(stages))


def write_checkpoint(directory: RunDirectory, step: int) -> None:
    folder = directory.checkpoints_path / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "trained.safetensors").write_bytes(bytes([step]) * CHECKPOINT_BYTES)
    (folder / "manifest.json").write_text(
        '{"identity": {"spec_hash": "", "data_hash": "", "base_fingerprint": ""}, "files": {}}'
    )


def stage(there: There, here: Here, local: RunDirectory) -> dict:
    """The node gives what it has, and we take what is there."""
    try:
        there.give()
        said = None
    except StorageTrouble as error:
        said = str(error)
    here.take()
    sizes = {
        path.parent.name: path.stat().st_size
        for path in local.checkpoints_path.glob("step-*/trained.safetensors")
    }
    return {"said": said, "steps": sizes, "has_result": local.result() is not None}


if __name__ == "__main__":
    main()
