"""Rows of a set on the hub, through `datasets`, which runs no remote code and keeps it on disk.

The token is huggingface_hub's own (HF_TOKEN, else the login), never read here. Knows nothing of
formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data.record_files import MAX_FILE_BYTES, MAX_ROWS
from lora_engine.data.records import ReadAnew, Record
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from datasets import Dataset as HubTable
    from datasets import DatasetBuilder

BATCH_ROWS = 1_000
LISTED = 20  # names of configurations or splits in an error


@dataclass(frozen=True)
class HubSet:
    """A set on the hub. split: a split's name, or a part of one such as `train[:10%]`."""

    id: str
    config: str | None = None
    split: str = "train"

    @property
    def split_name(self) -> str:
        return self.split.partition("[")[0]


def hub_records(asked: HubSet) -> HubRecords:
    """The records of a set, read as they are asked for, numbered from 1.

    Raises EngineError where there is none of this name, configuration or split (naming those there
    are), where it is private and no token opens it, where it is too large, and where the hub cannot
    be reached.
    """
    import datasets

    with _in_words(asked):
        try:
            builder = datasets.load_dataset_builder(asked.id, asked.config)
        except ValueError as error:
            raise _other_config(asked, error) from None
        _refuse_files(asked, builder)
        table = datasets.load_dataset(asked.id, asked.config, split=asked.split)
    if len(table) > MAX_ROWS:
        raise EngineError(
            tr(
                "The hub dataset {id} has {count} rows in {split}; at most {max_rows} are read.",
                id=asked.id,
                count=f"{len(table):,}",
                split=asked.split,
                max_rows=f"{MAX_ROWS:,}",
            ),
            tr(
                "Read a part of it: a split such as {split_name}[:{max_rows}].",
                split_name=asked.split_name,
                max_rows=MAX_ROWS,
            ),
        )
    return HubRecords(table)


class HubRecords(ReadAnew):
    """The rows of a set that `datasets` keeps in Arrow files, read each time they are gone through.

    Pictures and sound stay bytes.
    """

    def __init__(self, table: HubTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Record]:
        number = 0
        for batch in self._table.with_format("arrow").iter(batch_size=BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield Record(number, row)


def _other_config(asked: HubSet, error: ValueError) -> Exception:
    """The error for a configuration that is missing or unknown; any other stays as it is."""
    import datasets

    text = str(error)
    if "Config name is missing" not in text and "BuilderConfig" not in text:
        return error
    known = ", ".join(datasets.get_dataset_config_names(asked.id)[:LISTED])
    return EngineError(
        tr(
            "The hub dataset {id} has several configurations: {known}."
            if asked.config is None
            else "The hub dataset {id} has no configuration {config}; it has: {known}.",
            id=asked.id,
            config=repr((asked.config or "")[:100]),
            known=known,
        ),
        tr("Name one of them (dataset.config, or config in the mixture)."),
    )


def _refuse_files(asked: HubSet, builder: DatasetBuilder) -> None:
    """Raises EngineError for a split that is not there, and for too many bytes. `datasets` prepares
    all splits of a configuration, so all of them count."""
    files = builder.config.data_files or {}
    splits = [str(name) for name in files] or [str(name) for name in builder.info.splits or ()]
    if splits and asked.split_name not in splits:
        raise EngineError(
            tr(
                "The hub dataset {id} has no split {split_name}; it has: {splits}.",
                id=asked.id,
                split_name=f"{asked.split_name!r}",
                splits=", ".join(splits[:LISTED]),
            ),
            tr("Name one of them (dataset.split, eval_split, or split in the mixture)."),
        )
    paths = [str(path) for of_split in files.values() for path in of_split]
    size = max(builder.info.dataset_size or 0, _size_of(asked.id, paths))
    if size > MAX_FILE_BYTES:
        raise EngineError(
            tr(
                "The hub dataset {id} has {size} bytes; at most {max_file_bytes} are read.",
                id=asked.id,
                size=f"{size:,}",
                max_file_bytes=f"{MAX_FILE_BYTES:,}",
            ),
            tr("Train on a part of it, saved as a file."),
        )


def _size_of(hub_id: str, paths: list[str]) -> int:
    """The bytes of files of one set, as the hub has them. paths: `hf://datasets/ID@REVISION/…`."""
    from huggingface_hub import HfApi

    if not paths:
        return 0
    start = len(f"hf://datasets/{hub_id}@")
    revision = paths[0][start:].partition("/")[0]
    names = [path[start:].partition("/")[2] for path in paths]
    found = HfApi().get_paths_info(hub_id, names, repo_type="dataset", revision=revision)
    return sum(getattr(one, "size", 0) or 0 for one in found)


@contextmanager
def _in_words(asked: HubSet) -> Iterator[None]:
    """What `datasets` and the hub's client raise, in our own words: theirs may hold what was sent
    and paths of this machine."""
    import datasets
    from huggingface_hub.errors import HTTPError  # of the client that it uses

    try:
        yield
    except (datasets.exceptions.DatasetsError, HTTPError, OSError, ValueError) as error:
        raise _told(asked, error) from None
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise _told(asked, error) from None


def _told(asked: HubSet, error: Exception) -> EngineError:
    reason, remedy = _reason_and_remedy(error)
    return EngineError(
        tr("The hub dataset {id} cannot be read: {reason}.", id=asked.id, reason=reason), remedy
    )


def _reason_and_remedy(error: Exception) -> tuple[str, str]:
    from httpx2 import TransportError  # what the hub's client raises without an answer
    from huggingface_hub import get_token

    text, kind = str(error), type(error).__name__
    network = tr("Check the network, or give a file.")
    if "Offline" in kind or "offline" in text:
        return tr("the network is switched off (HF_HUB_OFFLINE)"), network
    if isinstance(error, ConnectionError | TimeoutError | TransportError) or any(
        sign in text for sign in ("reach the Hub", "check your connection", "Couldn't reach")
    ):
        return tr("the hub cannot be reached"), network
    if "Data files don't belong" in text or "Unable to find" in text:
        return (
            tr("its card names files that are not its own, or of a kind that is not read"),
            tr("Download what you trust of it and give it as a file."),
        )
    if "gated" in text.lower() or "NotFound" in kind or "doesn't exist" in text:
        if get_token() is None:
            return (
                tr("there is none of this name, or it is private"),
                tr("Check its name; for a private one, set HF_TOKEN to a token that may read it."),
            )
        return (
            tr(
                "there is none of this name, or the token that is set (HF_TOKEN or the "
                "login) may not read it"
            ),
            tr("Check its name, and that the token is valid and may read it."),
        )
    if "scripts are no longer supported" in text:
        return (
            tr("it is made by a program of its own, which is never run"),
            tr("Download its rows and give them as a file."),
        )
    return (
        tr("its files are damaged or of a kind that is not read ({kind})", kind=kind),
        tr("Look at its files on the hub; give a file of your own."),
    )
