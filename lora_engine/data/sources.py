"""Where datasets come from: the starter's, files, the library of uploads, the hub.

A name is looked up in this order: `starter:NAME`, a file in the library, a file by its path, a
hub id (`org/name`, the only name that may reach the network). Whatever the source, the rows go
through the same reading and checking. This module knows nothing of tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.access import is_open, typed_path
from lora_engine.data.filters import RowFilters
from lora_engine.data.formats import parse_rows
from lora_engine.data.hub_sets import HubSet, hub_records
from lora_engine.data.joining import WeightedSet, joined
from lora_engine.data.picked import Keep
from lora_engine.data.record_files import (
    check_row_count,
    ending,
    has_dataset_ending,
    read_records,
)
from lora_engine.data.records import Record
from lora_engine.data.row_cache import RowCache, row_cache, set_key
from lora_engine.data.row_store import content_hash_of
from lora_engine.data.rows import LARGE_ROWS, Dataset, Row
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.starter import dataset_path

if TYPE_CHECKING:
    from lora_engine.settings import Settings
    from lora_engine.spec import ColumnsSpec, DatasetSpec

STARTER_PREFIX = "starter:"


@dataclass(frozen=True)
class NamedSet:
    """One set by its name, and how it is read. config, split: of a set on the hub."""

    source: str
    config: str | None = None
    split: str = "train"
    format: str = "auto"
    columns: ColumnsSpec | None = None
    reasoning: str = "learn"
    turns: str = "all"

    @property
    def title(self) -> str:
        """The source, with configuration and split where they are not the usual ones."""
        more = [self.config, self.split if self.split != "train" else None]
        said = ", ".join(filter(None, more))
        return f"{self.source} ({said})" if said else self.source


def load_dataset(spec: DatasetSpec, settings: Settings) -> Dataset:
    """The rows that the spec means, read, checked and filtered: of one set, or of those of a
    mixture and of the evaluation set, joined.

    Raises NotFound where nothing has that name; EngineError where the file or its rows are
    wrong, naming the first rows and columns, or where the filters leave none.
    """
    filters = RowFilters(spec.filters)
    sets = [
        WeightedSet(_filtered(_read(one, settings), filters), weight)
        for one, weight in _named_sets(spec, settings)
    ]
    evaluation = evaluation_set(spec)
    if not spec.mixture and evaluation is None:
        return sets[0].dataset
    return joined(sets, None if evaluation is None else _read(evaluation, settings))


def evaluation_set(spec: DatasetSpec) -> NamedSet | None:
    """The set of its own that is evaluated, where the spec names one."""
    if not spec.has_own_evaluation:
        return None
    own = _named(spec)
    source = own.source if spec.eval_source is None else spec.eval_source
    config = spec.eval_config or (own.config if source == own.source else None)
    return replace(own, source=source, config=config, split=spec.eval_split or "train")


def _named(spec: DatasetSpec) -> NamedSet:
    return NamedSet(
        spec.source,
        spec.config,
        spec.split,
        spec.format,
        spec.columns,
        spec.reasoning,
        spec.turns,
    )


def _named_sets(spec: DatasetSpec, settings: Settings) -> list[tuple[NamedSet, float]]:
    """The sets to train on, each with its weight. What a part leaves out is as the spec says; the
    spec's configuration and split are for sets on the hub."""
    own = _named(spec)
    if not spec.mixture:
        return [(own, 1.0)]
    found = []
    for part in spec.mixture:
        on_hub = is_on_the_hub(part.source, settings)
        named = replace(
            own,
            source=part.source,
            config=part.config or (own.config if on_hub else None),
            split=part.split or (own.split if on_hub else "train"),
            format=part.format or own.format,
            columns=own.columns if part.columns is None else part.columns,
        )
        found.append((named, part.weight))
    return found


def _read(named: NamedSet, settings: Settings) -> Dataset:
    """The rows of one set. Raises as `load_dataset`."""
    try:
        path = path_of_source(named.source, settings)
        if path is not None:
            _refuse_hub_fields(named)
            return load_file(
                path,
                named.format,
                named.source,
                named.columns,
                named.reasoning,
                named.turns,
                row_cache(settings),
            )
    except OSError as error:
        raise EngineError(
            tr(
                "{source} cannot be read: {strerror}.",
                source=named.source[:200],
                strerror=error.strerror or error,
            ),
            tr("Check the path and that you may read the file."),
        ) from error
    records = _hub_records(named)
    return row_cache(settings).dataset(
        None,
        lambda keep: _from_records(
            records,
            named.format,
            named.title,
            named.columns,
            named.reasoning,
            named.turns,
            keep,
        ),
    )


def _refuse_hub_fields(named: NamedSet) -> None:
    """Raises EngineError where a configuration or a split is asked of a file."""
    if named.config is not None or named.split != "train":
        raise EngineError(
            tr(
                "{source} is no set on the hub, so it has neither configurations nor splits, "
                "and {config} was asked for.",
                source=named.source[:200],
                config=named.config or named.split,
            ),
            tr("Leave dataset.config, split and eval_split out, or name a hub id (org/name)."),
        )


def _filtered(dataset: Dataset, filters: RowFilters) -> Dataset:
    """The dataset without the rows that the filters leave out, which are counted."""
    rows, removed = filters.of(dataset.rows, dataset.source)
    if not removed:
        return dataset
    document = json.dumps([dataset.content_hash, filters.document]).encode()
    return replace(
        dataset,
        rows=rows,
        content_hash=hashlib.sha256(document).hexdigest()[:16],
        removed=removed,
    )


def first_records(spec: DatasetSpec, settings: Settings, count: int) -> tuple[Record, ...]:
    """The first records of a dataset, of a mixture's first set, as they stand in the file, whatever
    their columns are called; none of plain text.

    Raises NotFound and EngineError as `load_dataset` does.
    """
    named = _named_sets(spec, settings)[0][0]
    path = path_of_source(named.source, settings)
    if path is not None and ending(path) == ".txt":
        return ()
    records = _hub_records(named) if path is None else read_records(path, named.source)
    return tuple(islice(records, count))


def names_the_hub(spec: DatasetSpec, settings: Settings) -> bool:
    """Whether reading what the spec names may reach the network."""
    return any(is_on_the_hub(source, settings) for source in spec.sources)


def is_on_the_hub(source: str, settings: Settings) -> bool:
    """Whether reading this dataset may reach the network."""
    return path_of_source(source, settings) is None


def path_of_source(source: str, settings: Settings) -> Path | None:
    """The file that `source` means; None for a hub id. A missing file's path is returned too."""
    if source.startswith(STARTER_PREFIX):
        return dataset_path(source.removeprefix(STARTER_PREFIX))
    from lora_engine.base_models import HUB_ID  # brings NumPy, which the starter's sets need not

    path = typed_path(source, settings)
    uploaded = settings.datasets_dir / source
    if uploaded.is_file() and is_open(uploaded.resolve(), settings):
        path = uploaded
    is_hub_id = HUB_ID.match(source) and not has_dataset_ending(path)
    return None if is_hub_id and not path.exists() else path


def load_file(
    path: Path,
    declared: str,
    source: str,
    columns: ColumnsSpec | None = None,
    reasoning: str = "learn",
    turns: str = "all",
    cache: RowCache | None = None,
    is_found_again: bool = True,
) -> Dataset:
    """The rows of one file; `source` is what the person called it. Raises as `load_dataset`.

    cache: where the rows of a large file lie; none: all stand in memory. is_found_again: they are
    kept for the next time.
    """

    def read(keep: Keep[Row]) -> Dataset:
        records = read_records(path, source)
        if ending(path) == ".txt":
            return _from_passages(records, declared, source, columns, keep)
        return _from_records(records, declared, source, columns, reasoning, turns, keep)

    if cache is None or not path.is_file():
        return read(tuple)
    named = {} if columns is None else columns.named
    key = set_key(path, [source, declared, named, reasoning, turns]) if is_found_again else None
    return cache.dataset(key, read)


def _from_passages(
    records: Sequence[Record],
    declared: str,
    source: str,
    columns: ColumnsSpec | None,
    keep: Keep[Row],
) -> Dataset:
    """The passages of a text; each but the last goes on in the next."""
    if columns is not None and columns.named:
        raise EngineError(
            tr("{source} is plain text, which has no columns.", source=source),
            tr("Name no columns."),
        )
    if declared not in ("auto", "text"):
        raise EngineError(
            tr(
                "{source} is plain text and cannot be read as {declared}.",
                source=source,
                declared=declared,
            ),
            tr("Choose the format auto or text."),
        )
    last = len(records)
    rows = keep(
        Row(record.number, (), record.value, continues=record.number < last) for record in records
    )
    return Dataset(source, "text", rows, content_hash_of(rows))


def _from_records(
    records: Sequence[Record],
    declared: str,
    source: str,
    columns: ColumnsSpec | None,
    reasoning: str,
    turns: str,
    keep: Keep[Row] = tuple,
) -> Dataset:
    read = parse_rows(records, declared, source, columns, reasoning, turns, keep)
    content, said = content_hash_of(read.rows), (read.warnings, read.notes, read.supervised)
    return Dataset(source, read.format, read.rows, content, *said)


def _hub_records(named: NamedSet) -> Sequence[Record]:
    """Raises EngineError as `hub_records`."""
    records = hub_records(HubSet(named.source, named.config, named.split))
    if len(records) > LARGE_ROWS:
        return records
    return check_row_count([*records], named.title)
