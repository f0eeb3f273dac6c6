"""Where datasets come from: the starter's, files, the library of uploads, the hub.

A name is looked up in this order: `starter:NAME`, a file in the library, a file by its path, a
hub id (`org/name`, the only name that may reach the network). Whatever the source, the rows go
through the same reading and checking. This module knows nothing of tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.data.formats import column_names, parse_rows
from lora_engine.data.record_files import (
    MAX_FILE_BYTES,
    MAX_ROWS,
    Record,
    check_row_count,
    ending,
    has_dataset_ending,
    read_records,
)
from lora_engine.data.rows import Dataset, Row, hash_rows
from lora_engine.errors import EngineError
from lora_engine.files import given_path
from lora_engine.starter import dataset_path

if TYPE_CHECKING:
    from lora_engine.settings import Settings
    from lora_engine.spec import ColumnsSpec, DatasetSpec

STARTER_PREFIX = "starter:"


def load_dataset(spec: DatasetSpec, settings: Settings) -> Dataset:
    """The rows that a dataset's name means, read and checked.

    Raises NotFound where nothing has that name; EngineError where the file or its rows are
    wrong, naming the first rows and columns.
    """
    try:
        path = _path_of(spec.source, settings)
        if path is not None:
            return load_file(
                path, spec.format, spec.source, spec.columns, spec.reasoning, spec.turns
            )
    except OSError as error:
        raise EngineError(
            f"{spec.source[:200]} cannot be read: {error.strerror or error}.",
            "Check the path and that you may read the file.",
        ) from error
    records = _hub_records(spec.source)
    return _from_records(
        records, spec.format, spec.source, spec.columns, spec.reasoning, spec.turns
    )


def dataset_columns(source: str, settings: Settings) -> tuple[str, ...]:
    """The columns of a dataset's first record, to choose from; none for plain text.

    Raises NotFound and EngineError as `load_dataset` does, whatever the columns are called.
    """
    path = _path_of(source, settings)
    if path is not None and ending(path) == ".txt":
        return ()
    return column_names(_hub_records(source) if path is None else read_records(path, source))


def is_on_the_hub(source: str, settings: Settings) -> bool:
    """Whether reading this dataset may reach the network."""
    return _path_of(source, settings) is None


def _path_of(source: str, settings: Settings) -> Path | None:
    """The file that `source` means; None for a hub id. A missing file's path is returned too."""
    if source.startswith(STARTER_PREFIX):
        return dataset_path(source.removeprefix(STARTER_PREFIX))
    from lora_engine.base_models import HUB_ID  # brings NumPy, which the starter's sets need not

    path = given_path(source)
    uploaded = settings.datasets_dir / source
    path = uploaded if uploaded.is_file() else path
    is_hub_id = HUB_ID.match(source) and not has_dataset_ending(path)
    return None if is_hub_id and not path.exists() else path


def load_file(
    path: Path,
    declared: str,
    source: str,
    columns: ColumnsSpec | None = None,
    reasoning: str = "learn",
    turns: str = "all",
) -> Dataset:
    """The rows of one file; `source` is what the person called it. Raises as `load_dataset`."""
    records = read_records(path, source)
    if ending(path) != ".txt":
        return _from_records(records, declared, source, columns, reasoning, turns)
    if columns is not None and columns.named:
        raise EngineError(f"{source} is plain text, which has no columns.", "Name no columns.")
    if declared not in ("auto", "text"):
        raise EngineError(
            f"{source} is plain text and cannot be read as {declared}.",
            "Choose the format auto or text.",
        )
    last = records[-1].number
    rows = tuple(
        Row(record.number, (), record.value, continues=record.number < last) for record in records
    )
    return Dataset(source, "text", rows, hash_rows(rows))


def _from_records(
    records: list[Record],
    declared: str,
    source: str,
    columns: ColumnsSpec | None,
    reasoning: str,
    turns: str,
) -> Dataset:
    read = parse_rows(records, declared, source, columns, reasoning, turns)
    content, said = hash_rows(read.rows), (read.warnings, read.notes, read.supervised)
    return Dataset(source, read.format, read.rows, content, *said)


def _hub_reason(error: Exception) -> str:
    """Why the hub gave nothing, in our own words."""
    text, kind = str(error), type(error).__name__
    if "Offline" in kind or "offline" in text:
        return "the network is switched off (HF_HUB_OFFLINE)"
    if isinstance(error, ConnectionError | TimeoutError) or "reach the Hub" in text:
        return "the hub cannot be reached"
    if "NotFound" in kind or "doesn't exist" in text or "not found" in text.lower():
        return "there is none of this name, or it is private"
    if "scripts are no longer supported" in text:
        return "it is made by a program of its own, which is never run"
    if "Config name is missing" in text:
        return "it has several configurations, and none can be chosen here"
    if "split" in text.lower():
        return "it has no split called train"
    return f"its files are damaged or of a kind that is not read ({kind})"


def _hub_records(hub_id: str) -> list[Record]:
    """The rows of a hub dataset's split `train`, through `datasets`, which runs no remote code."""
    import datasets

    try:
        size = datasets.load_dataset_builder(hub_id).info.dataset_size or 0
        if size > MAX_FILE_BYTES:
            raise EngineError(
                f"The hub dataset {hub_id} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are "
                "read.",
                "Train on a part of it, saved as a file.",
            )
        table = datasets.load_dataset(hub_id, split=f"train[:{MAX_ROWS}]")
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise EngineError(
            f"The hub dataset {hub_id} cannot be read: {_hub_reason(error)}.",
            "Check its name, that it has a split called train, and the network; or give a file.",
        ) from error
    records = [Record(number, row) for number, row in enumerate(table, start=1)]
    return check_row_count(records, hub_id)
