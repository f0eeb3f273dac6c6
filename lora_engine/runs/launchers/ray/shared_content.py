"""Content of a storage that runs of several dashboards may refer to, and its end when none does.

content/<hash>            a piece of a base, a set or a checkpoint, sent once
lists/<run>-<token>.json  what a job takes, written before its pieces are sent; it lies there until
                          the run is deleted, so that a base is not sent again
sweeps/<any>              somebody removes content at this moment

A list is written, and then it is asked whether somebody sweeps. Whoever sweeps says so first and
reads the lists then: one of the two sees the other, and waits. Pieces younger than a day are spared
in any case. Knows nothing of what a list says but its hashes.
"""

from __future__ import annotations

import re
import time
import uuid
from datetime import datetime, timedelta

from lora_engine.runs.launchers.ray.storage import Between, Storage

CONTENT, LISTS, SWEEPS = "content", "lists", "sweeps"
SPARED = timedelta(days=1)
SWEEPS_FOR_S = 20.0  # one that takes longer leaves the rest for the next
WAITS_FOR_S = 2 * SWEEPS_FOR_S
LOOK_S = 0.5
HASH = re.compile(rb"\b[0-9a-f]{64}\b")
PIECE = re.compile(r"[0-9a-f]{64}")


def list_name(run: str, token: int) -> str:
    return f"{LISTS}/{run}-{token}.json"


def lists_of(storage: Storage, run: str) -> list[str]:
    """The lists of a run's jobs. Raises StorageTrouble."""
    own = re.compile(rf"{re.escape(run)}-\d+\.json")
    return [f"{LISTS}/{name}" for name in storage.names(LISTS) if own.fullmatch(name)]


def forget_run(storage: Storage, run: str) -> None:
    """Remove all that is the run's alone; a job of it that still lives ends.

    Raises StorageTrouble."""
    storage.remove(f"runs/{run}")
    for name in lists_of(storage, run):
        storage.remove(name)


def wait_for_sweeps(storage: Storage, between: Between) -> None:
    """Until nobody removes content who may not have read the newest list. Raises StorageTrouble."""
    deadline = time.monotonic() + WAITS_FOR_S
    going_on = set(storage.names(SWEEPS))
    while going_on and time.monotonic() < deadline:
        between()
        time.sleep(LOOK_S)
        going_on &= set(storage.names(SWEEPS))
    for name in going_on:  # its program was killed
        storage.remove(f"{SWEEPS}/{name}")


def sweep(storage: Storage) -> int:
    """Remove the pieces that no list names and that are older than a day; how many.

    Raises StorageTrouble."""
    pieces = {name for name in storage.names(CONTENT) if PIECE.fullmatch(name)}
    read: set[str] = set()
    doomed = pieces - _named(storage, read)
    if not doomed:
        return 0
    mark, until = f"{SWEEPS}/{uuid.uuid4().hex}", time.monotonic() + SWEEPS_FOR_S
    storage.write(mark, b"sweeping")
    try:
        now, removed = storage.modified(mark), 0
        for piece in sorted(doomed - _named(storage, read)):
            if time.monotonic() > until:
                break
            name = f"{CONTENT}/{piece}"
            if _is_old(storage.modified(name), now):
                storage.remove(name)
                removed += 1
        return removed
    finally:
        storage.remove(mark)


def _named(storage: Storage, read: set[str]) -> set[str]:
    """The hashes in every list that was not read before."""
    new = set(storage.names(LISTS)) - read
    read |= new
    contents = (storage.read(f"{LISTS}/{name}") or b"" for name in new)
    return {found.decode() for content in contents for found in HASH.findall(content)}


def _is_old(modified: datetime | None, now: datetime | None) -> bool:
    """By the storage's own clock; nothing is old where it tells no time."""
    return modified is not None and now is not None and now - modified > SPARED
