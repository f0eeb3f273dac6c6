"""Merging and extracting onto a disk of its own that fills up half-way, in a mount namespace.

    unshare --mount python -m tests.faults.full_disk_outputs REQUEST

The mount dies with this process. REQUEST is JSON: `folder` to mount on, and the folders `base`,
`tuned` and `adapter`, which lie elsewhere. Prints one JSON document: what was said and what was
left of each operation while the disk was full, and what it wrote once there was room.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from lora_engine.adapter_operations import MergeOptions, ToRank, extract
from lora_engine.adapter_operations.merge import merge
from lora_engine.base_models import BaseModel
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from tests.faults.full_disk import fill, mount

LEFT_FREE = 8_192  # two pages: less than one of the weights that are still to be written


def main() -> None:
    request = json.loads(sys.argv[1])
    folder = Path(request["folder"])
    mount(folder)
    base, tuned, adapter = (Path(request[name]) for name in ("base", "tuned", "adapter"))
    settings = Settings(data_dir=folder / "data", models_dir=folder / "models", device="cpu")
    disk = Disk(folder)

    def merge_into(output: Path, **changes) -> None:
        options = MergeOptions(prove=False, **changes)
        model = BaseModel("base", base)
        merge(adapter, model, output, settings, options, progress=disk.fills_at("writing"))

    def extract_into(output: Path, **changes) -> None:
        progress = disk.fills_at("taking model.layers.1")
        extract(BaseModel("base", base), tuned, output, ToRank(8), progress=progress, **changes)

    found = {
        name: disk.tried(name, operation)
        for name, operation in (("merge", merge_into), ("extract", extract_into))
    }
    print(json.dumps(found))


class Disk:
    """The small disk: full from a point of an operation on, until room is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self._fills = False

    def fills_at(self, words: str) -> Callable[[float, str], None]:
        """For an operation's progress: fills the disk when it begins to do this."""

        def progress(_: float, doing: str) -> None:
            if self._fills and doing.startswith(words) and not self._ballast.exists():
                fill(self._ballast, LEFT_FREE)

        return progress

    def tried(self, name: str, operation: Callable[..., None]) -> dict:
        """A new output on the full disk, then with room, then replaced on the full disk."""
        output = self._folder / name / "out"
        said = self._said(operation, output)
        left = self._files(output.parent)
        operation(output)
        written = self._files(output.parent)
        said_again = self._said(operation, output, overwrite=True)
        kept = self._files(output.parent)
        return {"said": [said, said_again], "left": left, "written": written, "kept": kept}

    def _said(self, operation: Callable[..., None], output: Path, **changes) -> str:
        self._fills = True
        try:
            operation(output, **changes)
        except EngineError as error:
            return str(error)
        finally:
            self._fills = False
            self._ballast.unlink()
        return "nothing"

    def _files(self, parent: Path) -> dict[str, int]:
        """Every file of the outputs with its time of writing."""
        files = [path for path in parent.rglob("*") if path.is_file()]
        return {str(path.relative_to(parent)): path.stat().st_mtime_ns for path in files}


if __name__ == "__main__":
    main()
