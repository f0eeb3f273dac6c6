"""Notes and tags of adapters, in `data_dir/adapters.db`. An adapter's own folder stays as it is.

An adapter is known by its folder: relative to the data folder inside it, whole elsewhere. Nothing
is made on the disk before something is written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_engine.annotations import read_note, read_tags, stored_tags
from lora_engine.database import Database
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings

MAX_ANNOTATED = 10_000
REMEDY = translatable(
    "Free space on the disk, or move adapters.db away: it holds notes and tags alone."
)


@dataclass(frozen=True)
class Annotation:
    """What a person wrote about an adapter."""

    note: str = ""
    tags: tuple[str, ...] = ()


def create_notes(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS notes (adapter TEXT PRIMARY KEY, note TEXT NOT NULL, "
        "tags TEXT NOT NULL)"
    )


class NotesAndTags:
    """The notes and tags of one data folder."""

    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir
        self._path = settings.data_dir / "adapters.db"
        self._database: Database | None = None

    def all(self) -> dict[str, Annotation]:
        """Every annotation by its adapter's key."""
        if not self._path.exists():
            return {}
        with self._open().connect() as connection:
            rows = connection.execute("SELECT adapter, note, tags FROM notes").fetchall()
        return {
            row["adapter"]: Annotation(row["note"], stored_tags(row["tags"]) or ()) for row in rows
        }

    def key(self, folder: Path) -> str:
        """What the adapter in a folder is known by."""
        resolved = folder.resolve()
        inside = resolved.is_relative_to(self._data_dir)
        return str(resolved.relative_to(self._data_dir) if inside else resolved)

    def write(self, folder: Path, note: str, tags: Sequence[str]) -> Annotation:
        """Keep a note and tags; both empty keeps nothing. Raises InvalidInput, EngineError."""
        annotation = Annotation(read_note(note), read_tags(tags))
        key = self.key(folder)
        with self._open().transaction() as connection:
            connection.execute("DELETE FROM notes WHERE adapter = ?", (key,))
            if annotation != Annotation():
                count = connection.execute("SELECT COUNT(*) FROM notes").fetchone()[0]
                if count >= MAX_ANNOTATED:
                    raise EngineError(
                        tr(
                            "{count} adapters have notes; at most {max_annotated} can.",
                            count=f"{count:,}",
                            max_annotated=f"{MAX_ANNOTATED:,}",
                        ),
                        tr("Empty the notes of adapters you no longer have."),
                    )
                tags_text = json.dumps(list(annotation.tags))
                row = (key, annotation.note, tags_text)
                connection.execute("INSERT INTO notes VALUES (?, ?, ?)", row)
        return annotation

    def forget(self, folder: Path) -> None:
        """Drop what was written about an adapter that is gone."""
        if self._path.exists():
            with self._open().transaction() as connection:
                connection.execute("DELETE FROM notes WHERE adapter = ?", (self.key(folder),))

    def _open(self) -> Database:
        if self._database is None:
            migrations = (create_notes,)
            self._database = Database(self._path, "notes on adapters", migrations, REMEDY)
        return self._database
