"""Whose a file or a folder of the data directory is: a small record beside it, `.NAME.owner`.

What has no record is LOCAL's, as everything is that was made without a login. The record stands
beside the thing and not in it, so that the thing stays what it would be without an owner. Knows
nothing of what the things are.
"""

from __future__ import annotations

from pathlib import Path

from lora_engine.access.person import LOCAL, person_now
from lora_engine.files import read_bounded, write_atomically

MAX_NAME_BYTES = 1_000


def keep_owner(path: Path) -> None:
    """Say that what is, or is about to be, at `path` belongs to the person who acts."""
    name = person_now().name
    if name == LOCAL.name:
        forget_owner(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(_record(path), name.encode())


def forget_owner(path: Path) -> None:
    """Remove the record of something that is gone."""
    _record(path).unlink(missing_ok=True)


def owner_of(path: Path) -> str:
    """Who owns the very thing at `path`."""
    return _recorded(path) or LOCAL.name


def is_mine(path: Path) -> bool:
    """Whether the person who acts may see the very thing at `path`: their own, or they manage."""
    return person_now().may("manage") or may_see(owner_of(path))


def may_see(owner: str) -> bool:
    """Whether the person who acts may see what belongs to `owner`."""
    person = person_now()
    # A person of a proxy may be called as LOCAL is, and is somebody else.
    return person.may("manage") or person.name == owner != LOCAL.name


def owner_above(path: Path) -> str | None:
    """The owner of the thing that `path` is or lies in; None where nothing on the way has one."""
    named = (_recorded(one) for one in (path, *path.parents) if one.name)
    return next((owner for owner in named if owner), None)


def _recorded(path: Path) -> str | None:
    """The name in the record. A record that cannot be read stays somebody's: an OSError passes."""
    try:
        return read_bounded(_record(path), MAX_NAME_BYTES).decode("utf-8", "replace") or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _record(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.owner")
