"""Exports onto a disk that really fills: a small tmpfs in a mount namespace of its own.

    unshare --mount python -m tests.faults.full_disk_export REQUEST

REQUEST is JSON: `folder` to mount on, `data_dir` where the adapter named `known` lies (another
disk), `earlier`: where an export of each form lies, and `free_bytes` for each form. Prints JSON: by
form, what was said while the disk was full, and what was left: over a free name and over an earlier
export.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from tests.faults.full_disk import fill, folders, mount


def main() -> None:
    request = json.loads(sys.argv[1])
    folder, data_dir = Path(request["folder"]), Path(request["data_dir"])
    mount(folder)
    settings = Settings(data_dir=data_dir, models_dir=data_dir / "models", device="cpu")
    engine = Engine(settings)
    found = {
        form: of_form(engine, folder, form, Path(request["earlier"][form]), free)
        for form, free in request["free_bytes"].items()
    }
    print(json.dumps(found))


def of_form(engine: Engine, folder: Path, form: str, whole: Path, free: int) -> dict:
    earlier, ballast = folder / f"{form}-earlier", folder / "ballast"
    shutil.copytree(whole, earlier)
    (earlier / "mine.txt").write_text("of the earlier export")
    before = contents(earlier)
    fill(ballast, free)
    said = [refused(engine, folder / f"{form}-new", form), refused(engine, earlier, form, True)]
    found = {"said": said, "left": folders(folder), "kept": contents(earlier) == before}
    ballast.unlink()
    shutil.rmtree(earlier)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(engine: Engine, output: Path, form: str, overwrite: bool = False) -> str:
    try:
        engine.exports.export("known", output, form, measure=False, overwrite=overwrite)
    except EngineError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
