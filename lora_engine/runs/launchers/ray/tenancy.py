"""Whose job may write in a run's folder, and whether it still does: a token and a heartbeat.

    ray.json        written here: the newest token, and the job that somebody watches
    heartbeat.json  written there: the job's token, and a number that grows while it lives

A file lock says nothing of a node that is lost or cut off. A job whose token is not the newest
any more ends its worker at once. How old a heartbeat is tells the clock of whoever sees it grow.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from lora_engine.errors import Unreadable
from lora_engine.files import read_bounded, write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory

MAX_BYTES = 10_000
Document = TypeVar("Document", bound=BaseModel)


class Tenancy(BaseModel):
    """The newest token. job: the one that has it, until somebody has seen its end. storage: where
    that job, or the last one, gives what it makes; None where it sees the run's folder."""

    token: int = 0
    job: str | None = None
    storage: str | None = None


class Heartbeat(BaseModel):
    """A sign of life of the job with this token."""

    token: int
    beat: int


def read_tenancy(directory: RunDirectory) -> Tenancy:
    """No job yet where there is no file. Raises Unreadable: a token is never guessed."""
    try:
        found = _read(directory.path / "ray.json", Tenancy)
    except (OSError, ValueError) as error:
        raise Unreadable(
            tr("{path} cannot be read.", path=directory.path / "ray.json"),
            tr("Submit the run again as a new one."),
        ) from error
    return Tenancy() if found is None else found


def write_tenancy(directory: RunDirectory, tenancy: Tenancy) -> None:
    write_atomically(directory.path / "ray.json", tenancy.model_dump_json().encode())


def read_heartbeat(directory: RunDirectory) -> Heartbeat | None:
    try:
        os.listdir(directory.path)  # a shared disk remembers names; this asks it anew
        return _read(directory.path / "heartbeat.json", Heartbeat)
    except (OSError, ValueError):  # no sign of life
        return None


def write_heartbeat(directory: RunDirectory, heartbeat: Heartbeat) -> None:
    write_atomically(directory.path / "heartbeat.json", heartbeat.model_dump_json().encode())


def _read(path: Path, kind: type[Document]) -> Document | None:
    try:
        return kind.model_validate_json(read_bounded(path, MAX_BYTES))
    except FileNotFoundError:
        return None
