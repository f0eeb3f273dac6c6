"""A dataset without the rows of chosen findings, as a file that reads back as the rows kept.

Rows are written as they were read: turns with thoughts, calls of tools and weights, texts with
classes. A plain text whose passages belong together is written as plain text again.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.data.checks.check import DataCheck
from lora_engine.data.checks.findings import FindingKind
from lora_engine.data.rows import Dataset, Message, Row
from lora_engine.data.uploads import save_upload
from lora_engine.errors import EngineError
from lora_engine.files import atomic_file
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.settings import Settings


@dataclass(frozen=True)
class CleanedSet:
    """What was written. removed: the kinds and how many rows each took, a row counted once, for
    the first kind that took it."""

    path: str
    rows: int
    removed: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "rows": self.rows, "removed": self.removed}


def write_cleaned(
    dataset: Dataset, check: DataCheck, drop: Collection[FindingKind], path: Path
) -> CleanedSet:
    """Write the rows of `dataset` that have none of the findings `drop` to a new file; those of an
    evaluation set stay apart.

    Raises EngineError where the file exists, no row would be left, or the file cannot be written;
    nothing is left behind then.
    """
    removed = _removed(dataset, check, drop)
    rows = dataset.trainable_rows - len(removed)
    _refuse(dataset, check, drop, path, rows)
    kept = (
        row
        for place, row in enumerate(dataset.rows)
        if place not in removed and not _is_evaluated(dataset, place)
    )
    try:
        with atomic_file(path) as file:
            for line in _lines(kept, is_running_text=path.suffix == ".txt"):
                file.write(line.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise EngineError(
            tr(
                "{path} cannot be written: {strerror}.", path=path, strerror=error.strerror or error
            ),
            tr("Give another path, or make room."),
        ) from error
    return CleanedSet(str(path), rows, dict(Counter(removed.values())))


def save_cleaned(
    dataset: Dataset, check: DataCheck, drop: Collection[FindingKind], settings: Settings
) -> CleanedSet:
    """The cleaned set in the library of uploads, named after the set it came from; its `path` is
    what a spec's `source` is given.

    Raises as `write_cleaned` and `save_upload`.
    """
    settings.datasets_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.datasets_dir, prefix=".cleaning-") as folder:
        stem = _stem(dataset.source)
        path = Path(folder) / f"{stem}-cleaned{suffix_of(dataset)}"
        cleaned = write_cleaned(dataset, check, drop, path)
        saved = save_upload(path, path.name, settings)
    return replace(cleaned, path=saved.name)


def _stem(source: str) -> str:
    """What the set was called; an upload's name without the digits that tell its content."""
    name = Path(source.replace(":", "/")).name.split(".")[0]
    return re.sub(r"-[0-9a-f]{8}$", "", name) or "dataset"


def suffix_of(dataset: Dataset) -> str:
    """What the name of a cleaned file ends in; several sets in one file are rows of JSON."""
    if sum(not part.is_evaluation for part in dataset.parts) > 1:
        return ".jsonl"
    return ".txt" if any(row.continues for row in dataset.rows[:2]) else ".jsonl"


def _refuse(
    dataset: Dataset, check: DataCheck, drop: Collection[FindingKind], path: Path, rows: int
) -> None:
    """rows: how many would be left."""
    if dataset.content_hash != check.content_hash:
        raise EngineError(
            tr("{source} has changed since it was checked.", source=dataset.source),
            tr("Check it again first."),
        )
    if not drop:
        raise EngineError(
            tr("Nothing to drop."), tr("Choose the findings whose rows are to be dropped.")
        )
    if path.exists():
        raise EngineError(
            tr("{path} exists already.", path=path), tr("Give a name that is not taken.")
        )
    if path.suffix != suffix_of(dataset):
        raise EngineError(
            tr("{name} ends in {suffix}.", name=path.name, suffix=path.suffix or "nothing"),
            tr("Give a name that ends in {suffix_of}.", suffix_of=suffix_of(dataset)),
        )
    if not rows:
        raise EngineError(
            tr(
                "Every one of the {trainable_rows} rows of {source} would be dropped.",
                trainable_rows=f"{dataset.trainable_rows:,}",
                source=dataset.source,
            ),
            tr("Choose fewer findings."),
        )


def _removed(dataset: Dataset, check: DataCheck, drop: Collection[FindingKind]) -> dict[int, str]:
    """The places of the rows that are dropped, each with the first kind that takes it."""
    owners: dict[int, str] = {}
    for finding in check.findings:
        if finding.kind in drop:
            for place in finding.places:
                if not _is_evaluated(dataset, place):
                    owners.setdefault(place, finding.kind.label)
    return owners


def _is_evaluated(dataset: Dataset, place: int) -> bool:
    return any(part.start <= place < part.end for part in dataset.parts if part.is_evaluation)


def _lines(rows: Iterable[Row], is_running_text: bool) -> Iterator[str]:
    for row in rows:
        if is_running_text:
            yield row.text or ""
        else:
            yield json.dumps(_record(row), ensure_ascii=False) + "\n"


def _record(row: Row) -> dict[str, Any]:
    """The row in the columns that the reader knows."""
    if row.words:
        return {"tokens": row.words, "tags": row.tags}
    if row.text is not None:
        return {"text": row.text} | ({} if row.label is None else {"label": row.label})
    tools = {"tools": json.loads(row.tools)} if row.tools else {}
    turns = [_turn(message) for message in row.messages]
    if row.rejected:
        return {"chosen": turns, "rejected": [_turn(turn) for turn in row.rejected], **tools}
    if row.is_desirable is not None:
        return {
            "prompt": turns[:-1],
            "completion": turns[-1:],
            "label": row.is_desirable,
            **tools,
        }
    return {"messages": turns, **tools}


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = json.loads(message.tool_calls)
    if message.extra:
        turn |= json.loads(message.extra)
    if message.role == "assistant" and not message.is_learned:
        turn["weight"] = 0
    return turn
