"""A folder that somebody else made, looked over before any file in it is opened.

A model's and an adapter's files are regular files of the folder itself. A link that leads out of it
would show another file of this machine as part of the model, and opening a pipe or a device waits
without end. Reads names and kinds, no content.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr

MAX_ENTRIES = 10_000
INNER_FOLDERS = ("additional_chat_templates",)  # what transformers reads below a model's folder


def refuse_foreign_files(folder: Path) -> None:
    """Raises EngineError where something in the folder leads out of it or is no plain file.

    Links into the folder itself are let be, and those of the hub's cache, which keeps
    `models--x/snapshots/REVISION/file` as a link into `models--x/blobs`. So is the folder's own
    name, which may be a link, and so are folders in it that no reader of models enters.
    """
    home = Path(os.path.realpath(folder))
    allowed = {home}
    for one in (home, *home.parents):
        if one.parent.name == "snapshots":
            allowed.add(one.parent.parent / "blobs")
    try:
        for place in (home, *(home / name for name in INNER_FOLDERS)):
            if place is home or place.is_dir():
                _refuse_foreign_entries(folder, place, allowed | {place})
    except OSError as error:
        raise EngineError(
            tr("{folder} cannot be read: {reason}.", folder=folder, reason=error.strerror),
            tr("Check the folder and who may read it."),
        ) from error


def _refuse_foreign_entries(folder: Path, place: Path, allowed: set[Path]) -> None:
    with os.scandir(place) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_ENTRIES:
                raise _refused(
                    tr(
                        "{folder} holds more than {most} files, which no model's folder does.",
                        folder=folder,
                        most=f"{MAX_ENTRIES:,}",
                    )
                )
            if entry.is_dir(follow_symlinks=False):
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                _refuse_foreign_link(folder, path, allowed)
            elif not entry.is_file(follow_symlinks=False):
                raise _refused(
                    tr(
                        "{name} in {folder} is no plain file but {kind}.",
                        name=entry.name[:100],
                        folder=folder,
                        kind=_kind(entry.stat(follow_symlinks=False).st_mode),
                    )
                )


def _refuse_foreign_link(folder: Path, link: Path, allowed: set[Path]) -> None:
    target = Path(os.path.realpath(link))
    if target.parent not in allowed:
        raise _refused(
            tr(
                "{name} in {folder} is a link that leads out of the folder.",
                name=link.name[:100],
                folder=folder,
            )
        )
    if not target.is_file():
        raise _refused(
            tr(
                "{name} in {folder} is a link to what is no file.",
                name=link.name[:100],
                folder=folder,
            )
        )


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return tr("a pipe")
    if stat.S_ISSOCK(mode):
        return tr("a socket")
    return tr("a device")


def _refused(problem: str) -> EngineError:
    return EngineError(problem, tr("Put the files themselves into the folder, and nothing else."))
