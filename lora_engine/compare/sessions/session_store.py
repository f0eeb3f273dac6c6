"""Comparisons that are kept: who was asked how, and what each column said, as JSON files.

A session is reopened by its id, which cannot be guessed. What a file holds is checked when it is
read. Two tabs may go on from the same session: whoever saves second gets one of their own. A key
for another server is no part of a session.
"""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lora_engine.compare.generate.adapter_settings import MAX_LAYER, MAX_STRENGTH, AdapterSettings
from lora_engine.compare.generate.remote_server import MAX_MODEL, MAX_URL
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import write_atomically

MAX_BYTES = 5_000_000
MAX_KEPT = 500
MAX_COLUMNS = 5
MAX_REVISION = 1_000_000_000
Layer = Annotated[int, Field(ge=0, le=MAX_LAYER)]
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionTurn(_Part):
    """failed: the content says why there is no answer, behind what came of it."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=1_000_000)
    failed: bool = False


class SessionColumn(_Part):
    """name: the base, an adapter's run or folder, or the other server. title: as it was shown.

    strength and layers_off: how the adapter was used for the newest answer. template_mismatch:
    what was wrong with its chat template on this base, as a sentence without its subject.
    """

    name: str = Field(max_length=1000)
    title: str = Field(max_length=1000)
    strength: float = Field(1.0, ge=0.0, le=MAX_STRENGTH)
    layers_off: tuple[Layer, ...] = Field((), max_length=MAX_LAYER + 1)
    template_mismatch: str = Field("", max_length=1000)
    turns: tuple[SessionTurn, ...] = Field(max_length=2000)

    @property
    def use(self) -> AdapterSettings:
        return AdapterSettings(self.strength, frozenset(self.layers_off))


class SessionServer(_Part):
    """The other server of a session, without its key."""

    url: str = Field(max_length=MAX_URL)
    model: str = Field(max_length=MAX_MODEL)


class Session(_Part):
    """One comparison whole. memory: whose answers every column goes on from.

    revision: how often it had been saved, this time included.
    """

    base: str = Field(max_length=1000)
    base_fingerprint: str = Field(max_length=100)
    system: str = Field("", max_length=400_000)
    memory: Literal["own", "base", "adapter"] = "own"
    sampling: Sampling = Sampling()
    columns: tuple[SessionColumn, ...] = Field(min_length=1, max_length=MAX_COLUMNS)
    server: SessionServer | None = None
    revision: int = Field(0, ge=0, le=MAX_REVISION)

    def as_json(self) -> str:
        return self.model_dump_json(indent=1)

    def as_markdown(self) -> str:
        """A document to read: every question with each column's answer beneath it, quoted."""
        sampling = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in self.sampling)
        parts = [
            "# Comparison",
            f"Base {_inline(self.base)} ({self.base_fingerprint}); {sampling}.",
        ]
        parts += [
            f"**Warning:** {_inline(one.title)} {_inline(one.template_mismatch)}"
            for one in self.columns
            if one.template_mismatch
        ]
        if self.system.strip():
            parts += ["System prompt:", _quoted(self.system)]
        for place, turn in enumerate(self.columns[0].turns):
            if turn.role == "user":
                parts += ["## Question", _quoted(turn.content)]
                parts += [part for column in self.columns for part in _answer(column, place + 1)]
        return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Kept:
    """Where a session is kept, and as which revision: what a page knows of its own."""

    id: str
    revision: int

    def __str__(self) -> str:
        return f"{self.id}.{self.revision}"


def kept_at(text: str) -> Kept:
    """What a page sent back. Raises NotFound for anything else."""
    session_id, _, revision = text.partition(".")
    if not (_ID.fullmatch(session_id) and revision.isdecimal() and len(revision) < 10):
        raise _unknown(session_id)
    return Kept(session_id, int(revision))


class SessionStore:
    """The sessions of one data directory, a file each; the oldest beyond 500 are dropped.

    One process saves into it. Safe to use from several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()

    def save(self, session: Session, at: Kept | None = None) -> Kept:
        """Keep a session, under a new id or in place of the revision `at` that it goes on from.

        Where that has been replaced since, both are kept: this one under a new id.
        Raises EngineError for one of more than 5 MB.
        """
        with self._guard:
            if at is None or self._revision(at.id) not in (None, at.revision):
                at = Kept(secrets.token_urlsafe(16), 0)
            kept = Kept(at.id, at.revision + 1)
            self._write(kept.id, session.model_copy(update={"revision": kept.revision}))
        return kept

    def _revision(self, session_id: str) -> int | None:
        """None where the session is dropped by now."""
        return self.load(session_id).revision if self._path(session_id).is_file() else None

    def _write(self, session_id: str, session: Session) -> None:
        path = self._path(session_id)
        document = session.as_json().encode()
        if len(document) > MAX_BYTES:
            raise EngineError(
                f"The comparison has {len(document):,} bytes; at most {MAX_BYTES:,} are kept.",
                "Clear the columns and begin anew.",
            )
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, document)
        self._drop_oldest()

    def load(self, session_id: str) -> Session:
        """Raises NotFound for an unknown id and EngineError for a file that is no session."""
        path = self._path(session_id)
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise _unknown(session_id)
        try:
            return Session.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise EngineError(
                f"The comparison {session_id} cannot be read: {error.error_count()} things in "
                "its file are wrong.",
                "Begin a new comparison.",
            ) from None

    def _path(self, session_id: str) -> Path:
        if not _ID.fullmatch(session_id):
            raise _unknown(session_id)
        return self._folder / f"{session_id}.json"

    def _drop_oldest(self) -> None:
        files = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in files[:-MAX_KEPT]:
            path.unlink(missing_ok=True)


def _unknown(session_id: str) -> NotFound:
    return NotFound(
        f"There is no kept comparison {session_id[:40]!r}.",
        "Check the link; only the newest 500 are kept.",
    )


def _answer(column: SessionColumn, place: int) -> list[str]:
    if place >= len(column.turns) or column.turns[place].role != "assistant":
        return []
    heading = column.use.label(_inline(column.title))
    return [f"### {heading}", _quoted(column.turns[place].content)]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _inline(text: str) -> str:
    """Text that stands in a line of Markdown as it is: no mark, no markup, no line break."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&])", r"\\\1", " ".join(text.split()))
