"""What lies in a run's folder: its files with their sizes, a folder of them as one entry.

Follows no link and opens no file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_ENTRIES = 200
MOST_COUNTED = 2000  # files in one entry that is a folder
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class RunFile:
    """One entry: `name` is relative to the run's folder, and ends with a slash for a folder."""

    name: str
    bytes: int


def run_files(folder: Path) -> list[RunFile]:
    """The entries by name, each checkpoint one of its own; none where there is no folder."""
    found: list[RunFile] = []
    for entry in _entries(folder):
        if entry.name.startswith("."):  # being written, or kept in reserve
            continue
        if entry.name == CHECKPOINTS and entry.is_dir(follow_symlinks=False):
            found += [
                RunFile(f"{CHECKPOINTS}/{step.name}/", _bytes_in(Path(step.path)))
                for step in _entries(Path(entry.path))
            ]
        elif entry.is_dir(follow_symlinks=False):
            found.append(RunFile(f"{entry.name}/", _bytes_in(Path(entry.path))))
        else:
            found.append(RunFile(entry.name, _size(Path(entry.path))))
    return found[:MOST_ENTRIES]


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)[:MOST_ENTRIES]
    except OSError:  # a run that is being deleted
        return []


def _bytes_in(folder: Path) -> int:
    total = counted = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += _size(Path(place) / name)
            counted += 1
            if counted == MOST_COUNTED:
                return total
    return total


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # replaced while it was looked at
        return 0
