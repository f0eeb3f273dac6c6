"""Saved sessions, each a JSON file named by an id that cannot be guessed.

What a file holds is checked when it is read. Two tabs may go on from the same session: whoever
saves second gets a session of their own. A file that a later program wrote is never replaced.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lora_engine.access import forget_owner, is_mine, keep_owner, need_role, owner_of, person_now
from lora_engine.compare.sessions.session import VERSION, Session
from lora_engine.errors import EngineError, NotFound, Unreadable
from lora_engine.files import write_atomically
from lora_engine.language import tr

MAX_BYTES = 5_000_000
MAX_SESSIONS = 500
SESSION_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True)
class SessionRevision:
    """Which session, as which revision: what a page knows of the one it shows."""

    id: str
    revision: int

    def __str__(self) -> str:
        return f"{self.id}.{self.revision}"

    @classmethod
    def parse(cls, text: str) -> SessionRevision:
        """From what `str` made of one. Raises NotFound for anything else."""
        session_id, _, revision = text.partition(".")
        if not (SESSION_ID.fullmatch(session_id) and revision.isdecimal() and len(revision) < 10):
            raise _unknown(session_id)
        return cls(session_id, int(revision))


class SessionStore:
    """The sessions of one data directory; a person's oldest beyond `MAX_SESSIONS` are dropped.

    One process saves into it. Safe to use from several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()

    def save(self, session: Session, replaces: SessionRevision | None = None) -> SessionRevision:
        """Save a session, under a new id or in place of the revision that it goes on from.

        Where that was replaced meanwhile, or cannot be read, both stay: this one under a new id.
        Raises EngineError for one of more than 5 MB.
        """
        need_role("run")
        with self._guard:
            if replaces is None or not self._may_replace(replaces):
                replaces = SessionRevision(secrets.token_urlsafe(16), 0)
            saved = SessionRevision(replaces.id, replaces.revision + 1)
            self._write(saved.id, session.model_copy(update={"revision": saved.revision}))
        return saved

    def load(self, session_id: str) -> Session:
        """Raises NotFound for an unknown id, Unreadable for a damaged or a later program's file."""
        path = self._path(session_id)
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise _unknown(session_id)
        content = path.read_bytes()
        try:
            return Session.model_validate_json(content)
        except ValidationError as error:
            version = _version_in(content)
            if version > VERSION:
                raise Unreadable(
                    tr(
                        "The comparison {session_id} has version {version}; this Rankscope "
                        "knows versions up to {version_2}.",
                        session_id=session_id,
                        version=version,
                        version_2=VERSION,
                    ),
                    tr(
                        "Open it with the Rankscope that saved it, or a later one. The file "
                        "was left as it is."
                    ),
                ) from None
            raise Unreadable(
                tr(
                    "The comparison {session_id} cannot be read: {error_count} things in its "
                    "file are wrong.",
                    session_id=session_id,
                    error_count=error.error_count(),
                ),
                tr("Begin a new comparison."),
            ) from None

    def _may_replace(self, replaced: SessionRevision) -> bool:
        """Whether that very revision is still there, or was dropped by now."""
        if not self._path(replaced.id).is_file():
            return True
        try:
            return self.load(replaced.id).revision == replaced.revision
        except (NotFound, Unreadable):
            return False

    def _write(self, session_id: str, session: Session) -> None:
        document = session.as_json().encode()
        if len(document) > MAX_BYTES:
            raise EngineError(
                tr(
                    "The comparison has {count} bytes; at most {max_bytes} are kept.",
                    count=f"{len(document):,}",
                    max_bytes=f"{MAX_BYTES:,}",
                ),
                tr("Clear the columns and begin anew."),
            )
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(session_id)
        keep_owner(path)
        write_atomically(path, document)
        self._drop_oldest()

    def _path(self, session_id: str) -> Path:
        path = self._folder / f"{session_id}.json"
        if not SESSION_ID.fullmatch(session_id) or (path.exists() and not is_mine(path)):
            raise _unknown(session_id)
        return path

    def _drop_oldest(self) -> None:
        own = [path for path in self._folder.glob("*.json") if owner_of(path) == person_now().name]
        own.sort(key=lambda path: path.lstat().st_mtime)
        for path in own[:-MAX_SESSIONS]:
            path.unlink(missing_ok=True)
            forget_owner(path)


def _version_in(content: bytes) -> int:
    """The version that a file claims, 1 where it claims none or is no JSON object."""
    try:
        version = json.loads(content)["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return 1
    return version if isinstance(version, int) else 1


def _unknown(session_id: str) -> NotFound:
    return NotFound(
        tr("There is no kept comparison {session_id}.", session_id=f"{session_id[:40]!r}"),
        tr("Check the link; only the newest 500 are kept."),
    )
