"""Quotas of the disk: what people keep in the data folder, all together and each person's share.

Everything on a shelf counts, whoever asks: a person is told the sum of what others keep, and never
what it is. `local`, who sits at the machine or has its token, has no share of their own. Knows
nothing of what the files mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_engine.access import LOCAL, owner_of, person_now
from lora_engine.language import tr, translatable
from lora_engine.operating_system import lock
from lora_engine.quotas.errors import QuotaExceeded
from lora_engine.settings import Settings, environment_names

MEGABYTE = 1_000_000
LOCK = ".quotas.lock"
UPLOADS = "gradio"  # in the data folder: uploads that nobody has read yet, and the pages' copies


@dataclass(frozen=True)
class Shelf:
    """A folder of the data directory in which people keep things.

    title: what they are called, in English and in the catalogue. limit: the setting's field.
    """

    folder: str
    limit: Literal["max_datasets_mb", "max_adapters_mb"]
    title: str
    remedy: str

    def path(self, settings: Settings) -> Path:
        return settings.data_dir / self.folder

    def most(self, settings: Settings) -> int:
        """How many bytes may lie there."""
        return int(getattr(settings, self.limit)) * MEGABYTE

    def things(self, settings: Settings) -> list[Path]:
        """What lies there; records beside the things and what is being written are none."""
        try:
            with os.scandir(self.path(settings)) as found:
                return [Path(one.path) for one in found if not one.name.startswith(".")]
        except FileNotFoundError:
            return []

    def used(self, settings: Settings) -> int:
        """The bytes of everything there, whosever it is."""
        return sum(tree_bytes(one) for one in self.things(settings))


DATASETS = Shelf(
    "datasets",
    "max_datasets_mb",
    translatable("uploaded datasets"),
    translatable("Delete uploaded datasets that are no longer needed, or raise {variable}."),
)
ADAPTERS = Shelf(
    "adapters",
    "max_adapters_mb",
    translatable("added adapters"),
    translatable("Delete added adapters that are no longer needed, or raise {variable}."),
)
SHELVES = (DATASETS, ADAPTERS)


def refuse_more(shelf: Shelf, size: int, name: str, settings: Settings) -> None:
    """Raises QuotaExceeded where `size` bytes more, called `name`, are too many for the shelf or
    for the person who acts."""
    used = shelf.used(settings)
    if used + size > shelf.most(settings):
        raise QuotaExceeded(
            tr(
                "{name} has {size}; the {things} already use {used} of the {most} allowed.",
                name=name[:200],
                size=megabytes(size),
                things=tr(shelf.title),
                used=megabytes(used),
                most=megabytes(shelf.most(settings)),
            ),
            tr(shelf.remedy, variable=environment_names()[shelf.limit]),
        )
    if not has_share():
        return
    own, most = share_used(person_now().name, settings), settings.max_person_mb * MEGABYTE
    if own + size > most:
        raise QuotaExceeded(
            tr(
                "{name} has {size}; your datasets and adapters already use {used} of the {most} "
                "allowed for each person.",
                name=name[:200],
                size=megabytes(size),
                used=megabytes(own),
                most=megabytes(most),
            ),
            tr(
                "Delete datasets and adapters of your own, or ask whoever manages this dashboard "
                "to raise LORA_MAX_PERSON_MB."
            ),
        )


@contextmanager
def room_for(shelf: Shelf, size: int, name: str, settings: Settings) -> Iterator[None]:
    """As `refuse_more`, for the block that puts the thing there: one such block at a time, so that
    two uploads at once do not both find the last room."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(settings.data_dir / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        lock(descriptor)
        refuse_more(shelf, size, name, settings)
        yield
    finally:
        os.close(descriptor)


def has_share() -> bool:
    """Whether the person who acts has a share, and not all there is."""
    person = person_now()
    return person.name != LOCAL.name or not person.may("manage")


def share_used(owner: str, settings: Settings) -> int:
    """The bytes that a person keeps on all shelves."""
    things = (one for shelf in SHELVES for one in shelf.things(settings))
    return sum(tree_bytes(one) for one in things if owner_of(one) == owner)


def uploads_folder(settings: Settings) -> Path:
    """Where uploads lie until they have been read."""
    return settings.data_dir / UPLOADS


def refuse_waiting_uploads(size: int, settings: Settings) -> None:
    """Raises QuotaExceeded where `size` bytes more would lie there than uploads may take."""
    most = settings.max_waiting_uploads_mb * MEGABYTE
    used = tree_bytes(uploads_folder(settings))
    if used + size > most:
        raise QuotaExceeded(
            tr(
                "The upload has {size}; uploads that lie here unread use {used} of the {most} "
                "allowed.",
                size=megabytes(size),
                used=megabytes(used),
                most=megabytes(most),
            ),
            tr(
                "They are deleted a day after they came. Delete what lies in {folder} of the data "
                "folder, or raise LORA_MAX_WAITING_UPLOADS_MB.",
                folder=uploads_folder(settings).name,
            ),
        )


def tree_bytes(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; links count nothing, nor what is gone."""
    try:
        if path.is_symlink():
            return 0
        if not path.is_dir():
            return path.stat().st_size
        with os.scandir(path) as found:
            return sum(tree_bytes(Path(one.path)) for one in found)
    except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
        return 0


def megabytes(size: float) -> str:
    """1234567 -> '1.2 MB', as the settings count: 1 MB is 10^6 bytes."""
    if 0 < size < 100_000:
        return f"{size:,.0f} B"
    return f"{size / MEGABYTE:,.1f} MB".replace(".0 MB", " MB")
