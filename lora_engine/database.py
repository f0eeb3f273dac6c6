"""A SQLite file that several processes share: connections, transactions and its migrations.

The file's own `user_version` counts the migrations that were applied to it. A file from before
versions has 0, so the first migrations must find what is already there. Knows nothing of what
the tables mean.
"""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from lora_engine.errors import EngineError, Unreadable
from lora_engine.language import tr

BUSY_TIMEOUT_S = 15.0

Migration = Callable[[sqlite3.Connection], None]
"""One change of the tables, named by its function, run inside a transaction. It executes single
statements: `executescript` would commit the transaction."""


class Database:
    """One SQLite file in WAL mode, brought to the newest version when it is opened.

    title: what the file is called in an error, as in "list of runs". remedy: what a person does
    where SQLite refuses. Every method raises EngineError where the file cannot be read or
    written: locked for longer than `patience_s`, on a full disk, or no database at all.
    """

    def __init__(
        self,
        path: Path,
        title: str,
        migrations: Sequence[Migration],
        remedy: str,
        patience_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._title = title
        self._remedy = remedy
        self._patience_s = patience_s
        path.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_newer(len(migrations))
        self._use_wal()
        for version, migrate in enumerate(migrations, 1):
            self._apply(version, migrate)
        self._keep_open()

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """A connection on which every statement is a transaction of its own; rows have names."""
        with self._errors_explained():
            connection = sqlite3.connect(self._path, timeout=self._patience_s, isolation_level=None)
            with closing(connection):
                connection.row_factory = sqlite3.Row
                connection.text_factory = _text  # one row's bad bytes must not hide the others
                yield connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements all take effect together, or none where one raises."""
        with self.connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk ends the transaction by itself
                    connection.execute("ROLLBACK")
                raise

    def _refuse_newer(self, known: int) -> None:
        """Raise Unreadable for a file of a later program, which stays as it is byte for byte."""
        if not self._path.exists():
            return
        with self._errors_explained():
            # Read-only: the last ordinary connection to close writes the -wal file into this one.
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            reader = sqlite3.connect(address, timeout=self._patience_s, uri=True)
            with closing(reader):
                version = _version(reader)
        if version > known:
            raise Unreadable(
                tr(
                    "The {title}, {path}, has version {version}; this Rankscope knows "
                    "versions up to {known}.",
                    title=self._title,
                    path=self._path,
                    version=version,
                    known=known,
                ),
                tr("Use the Rankscope that wrote it, or a later one. The file was left as it is."),
            )

    def _use_wal(self) -> None:
        with self.connect() as connection:
            deadline = time.monotonic() + self._patience_s
            while True:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError:
                    # SQLite does not wait here by itself while another process does the same.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def _apply(self, version: int, migrate: Migration) -> None:
        with self.connect() as connection:
            if _version(connection) >= version:
                return
        with self.transaction() as connection:
            if _version(connection) < version:  # no other process did it meanwhile
                migrate(connection)
                connection.execute(f"PRAGMA user_version = {version:d}")

    def _keep_open(self) -> None:
        """Hold one idle connection for life: the last connection to close removes SQLite's -wal and
        -shm files, and on a disk that has filled since then a new one could not even read."""
        with self._errors_explained():
            idle = sqlite3.connect(self._path, timeout=self._patience_s, check_same_thread=False)
            weakref.finalize(self, idle.close)
            _version(idle)

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EngineError(
                tr(
                    "The {title}, {path}, cannot be used: {error}.",
                    title=self._title,
                    path=self._path,
                    error=error,
                ),
                self._remedy,
            ) from error


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns, empty where there is no such table."""
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]
