"""A sweep's own folder: one file with its spec and the runs that it began with.

    data_dir/sweeps/<id>/sweep.json

It is written once. What became of the runs is in the list of runs and in their directories.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from lora_engine.errors import Unreadable
from lora_engine.files import read_bounded, write_atomically
from lora_engine.language import tr, translatable
from lora_engine.spec import SweepSpec

MAX_BYTES = 4_000_000  # a spec of the largest size with every value, and 200 runs
REMEDY = translatable(
    "It was changed by hand or written by a newer Rankscope; open it with that one. Its runs can "
    "be used one by one."
)


class SweptRun(BaseModel):
    """A run of a sweep as it began; it may have been deleted since."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    name: str


class RefusedRun(BaseModel):
    """A run of the grid that could not begin, and why. chosen: its values of the axes, by path."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    chosen: dict[str, JsonValue]
    problem: str
    remedy: str


class SweepFile(BaseModel):
    """What `sweep.json` holds. created_at: seconds since the epoch. runs: in the grid's order.

    refused: those of the grid that were left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    created_at: float
    spec: SweepSpec
    runs: tuple[SweptRun, ...]
    refused: tuple[RefusedRun, ...] = ()


@dataclass(frozen=True)
class SweepFolder:
    """The paths of one sweep, and its file read and written."""

    path: Path

    @property
    def file_path(self) -> Path:
        return self.path / "sweep.json"

    def write(self, content: SweepFile) -> None:
        """Make the folder with its file, whole or not at all. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        # what the spec leaves out stays left out: an adapter to go on from may decide it
        document = content.model_dump_json(indent=1, exclude_unset=True)
        write_atomically(self.file_path, document.encode())

    def read(self) -> SweepFile:
        """Raises Unreadable."""
        try:
            return SweepFile.model_validate_json(read_bounded(self.file_path, MAX_BYTES))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            reason = f"{where}: {first['msg']}"
        except (OSError, ValueError) as error:
            reason = str(error)
        raise Unreadable(
            tr("{file_path} cannot be read: {reason}.", file_path=self.file_path, reason=reason),
            tr(REMEDY),
        )
