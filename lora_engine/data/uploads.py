"""The library: files that people uploaded, each under a name made from its own and its content.

`rows-3fa2c1d9.jsonl` is `rows.jsonl` with eight digits of its sha256: the same file uploaded twice
is there once, and a name always means the same rows. Beside each file lies a summary, so that a
list reads no rows. This module knows nothing of what rows mean.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.access import LOCAL, deed, forget_owner, is_mine, keep_owner, person_now
from lora_engine.data.field_values import UnknownFormat
from lora_engine.data.record_files import EXTENSIONS, has_dataset_ending, refuse_ending
from lora_engine.data.row_cache import row_cache
from lora_engine.data.sources import STARTER_PREFIX, load_file
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import move, read_json_object, write_atomically
from lora_engine.language import tr, translatable
from lora_engine.names import plain_from
from lora_engine.quotas import DATASETS, refuse_more, room_for
from lora_engine.starter import DATASET_DESCRIPTIONS, DATASET_NAMES, dataset_path

if TYPE_CHECKING:
    from lora_engine.settings import Settings

MAX_NAME_CHARACTERS = 80
UNKNOWN_FORMAT = "columns to be named"
UPLOADED = translatable("Uploaded by you.")
IN_LIBRARY = translatable("A file in your library.")


@dataclass(frozen=True)
class DatasetSummary:
    """What the lists of datasets show; `name` is what a spec's `source` is given.

    description: in English, and in the catalogue.
    """

    name: str
    path: str
    rows: int
    format: str
    description: str
    size: int = 0


def list_datasets(settings: Settings) -> list[DatasetSummary]:
    """The three starter datasets, then the library by name.

    A file in the library that cannot be read is listed with 0 rows and the reason.
    """
    starters = [
        _summary(
            f"{STARTER_PREFIX}{name}", dataset_path(name), DATASET_DESCRIPTIONS[name], settings
        )
        for name in DATASET_NAMES
    ]
    return starters + list_uploads(settings)


def named_datasets(settings: Settings) -> list[tuple[str, str]]:
    """The same by name and description, for a choice; reads no rows of the starter datasets."""
    starters = [(f"{STARTER_PREFIX}{name}", DATASET_DESCRIPTIONS[name]) for name in DATASET_NAMES]
    return starters + [(item.name, item.description) for item in list_uploads(settings)]


def list_uploads(settings: Settings) -> list[DatasetSummary]:
    """The library by name."""
    return [_library_summary(path, settings) for path in sorted(_files(settings))]


@deed("upload dataset")
def save_upload(path: Path, name: str, settings: Settings) -> DatasetSummary:
    """Check a file by reading it, then copy it into the library.

    name: what the person's file was called; only its letters, digits, dots and dashes are used.
    A file whose columns fit no format is kept too: the spec names them.
    Raises EngineError, leaving nothing behind, where the file or the library would be too large,
    or its rows are wrong.
    """
    stem, extension = _safe_name(name)
    _refuse_size(path.stat().st_size, name, settings)
    settings.datasets_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.datasets_dir, prefix=".incoming-") as folder:
        copy = Path(folder) / f"upload{extension}"
        shutil.copyfile(path, copy)
        rows, found = _rows_and_format(copy, name, settings)
        kept = settings.datasets_dir / f"{stem}-{_content_hash(copy)}{extension}"
        with room_for(DATASETS, copy.stat().st_size, name, settings):
            keep_owner(kept)
            move(copy, kept)
    summary = DatasetSummary(kept.name, str(kept), rows, found, UPLOADED, kept.stat().st_size)
    write_atomically(_summary_path(kept), json.dumps(asdict(summary)).encode())
    return summary


@deed("delete dataset")
def delete_upload(name: str, settings: Settings) -> None:
    """Remove a file of the library. Raises NotFound where none has that very name."""
    found = next((path for path in _files(settings) if path.name == name), None)
    if found is None:
        raise NotFound(
            tr("The library has no dataset {name}.", name=f"{name[:200]!r}"),
            tr("`datasets` lists what can be deleted."),
        )
    found.unlink()
    forget_owner(found)
    _summary_path(found).unlink(missing_ok=True)


def _files(settings: Settings) -> list[Path]:
    """The library's files; never a link, a folder or a summary."""
    return [
        path
        for path in settings.datasets_dir.glob("[!.]*")
        if has_dataset_ending(path) and path.is_file() and not path.is_symlink() and is_mine(path)
    ]


def _refuse_size(size: int, name: str, settings: Settings) -> None:
    if size > settings.max_upload_mb * 1_000_000:
        raise EngineError(
            tr(
                "{name} has {size} bytes; uploads have at most {max_upload_mb} MB.",
                name=name,
                size=f"{size:,}",
                max_upload_mb=settings.max_upload_mb,
            ),
            tr("Upload a part of it, or set LORA_MAX_UPLOAD_MB."),
        )
    refuse_more(DATASETS, size, name, settings)


def _rows_and_format(path: Path, name: str, settings: Settings) -> tuple[int, str]:
    """The number of rows and the format of a file.

    Raises EngineError where no mapping of columns could read it.
    """
    try:
        cache = row_cache(settings)
        dataset = load_file(path, "auto", name, cache=cache, is_found_again=False)
    except UnknownFormat:
        return 0, UNKNOWN_FORMAT
    return len(dataset.rows), dataset.format


def _content_hash(path: Path) -> str:
    """Of the content, and of whose it is: two people's uploads are two files."""
    owner = person_now().name
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if owner != LOCAL.name:
        digest.update(owner.encode())
    return digest.hexdigest()[:8]


def _summary(name: str, path: Path, description: str, settings: Settings) -> DatasetSummary:
    size = path.stat().st_size
    try:
        rows, found = _rows_and_format(path, name, settings)
    except EngineError as error:
        return DatasetSummary(name, str(path), 0, "unreadable", error.problem, size)
    return DatasetSummary(name, str(path), rows, found, description, size)


def _library_summary(path: Path, settings: Settings) -> DatasetSummary:
    """The summary kept beside an upload where it is newer than the file; else a fresh one."""
    kept = _summary_path(path)
    if kept.is_file() and kept.stat().st_mtime >= path.stat().st_mtime:
        try:
            return DatasetSummary(**read_json_object(kept))
        except (ValueError, TypeError):
            pass  # torn, or of another version: made anew
    return _summary(path.name, path, IN_LIBRARY, settings)


def _summary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.summary")


def _safe_name(name: str) -> tuple[str, str]:
    """A stem of letters, digits, dots and dashes, and an extension that is read."""
    given = Path(name.replace("\\", "/")).name
    refuse_ending(Path(given), repr(given))
    lowered = given.lower()
    extension = max((end for end in EXTENSIONS if lowered.endswith(end)), key=len)
    stem = plain_from(given[: -len(extension)], MAX_NAME_CHARACTERS, "dataset")
    return stem, extension
