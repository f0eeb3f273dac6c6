"""The list of runs and their states, in SQLite.

Every change of state is one compare-and-set UPDATE, so several processes (a server, another
server, the command line) may act at once and one of them wins. The store knows nothing of
processes or files; the supervisor brings it the news.

    queued -> running -> finished | failed | cancelled | interrupted     through cancelling
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lora_engine.errors import NotFound
from lora_engine.training.spec import RunSpec

BUSY_TIMEOUT_S = 15.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    state       TEXT NOT NULL,
    spec        TEXT NOT NULL,
    resume      INTEGER NOT NULL DEFAULT 0,
    created_at  REAL NOT NULL,
    started_at  REAL,
    ended_at    REAL,
    device      TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, number);
"""


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE = (RunState.RUNNING, RunState.CANCELLING)
RESUMABLE = (RunState.INTERRUPTED, RunState.FAILED, RunState.CANCELLED)


@dataclass(frozen=True)
class RunRecord:
    """A row of the list; times are seconds since the epoch."""

    number: int
    id: str
    name: str
    state: RunState
    spec: RunSpec
    resume: bool
    created_at: float
    started_at: float | None
    ended_at: float | None
    device: str | None


class RunStore:
    """The runs of one data directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)

    def add(self, run_id: str, spec: RunSpec) -> RunRecord:
        """A new run, queued."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO runs (id, name, state, spec, created_at) VALUES (?, ?, ?, ?, ?)",
                (run_id, spec.name, RunState.QUEUED, spec.model_dump_json(), time.time()),
            )
        return self.get(run_id)

    def get(self, run_id: str) -> RunRecord:
        """Raises NotFound."""
        with self._connect() as connection:
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotFound(f"There is no run {run_id!r}.", "`runs` lists the runs there are.")
        return _record(row)

    def list(self, states: Sequence[RunState] = tuple(RunState)) -> list[RunRecord]:
        """Runs in any of `states`, newest first."""
        marks = ",".join("?" * len(states))
        query = f"SELECT * FROM runs WHERE state IN ({marks}) ORDER BY number DESC"
        with self._connect() as connection:
            return [_record(row) for row in connection.execute(query, tuple(states))]

    def move(
        self, run_id: str, before: Sequence[RunState], after: RunState, resume: bool = False
    ) -> bool:
        """Set the state to `after` if it is one of `before`. False where somebody was faster."""
        ended = None if after in (RunState.QUEUED, *ACTIVE) else time.time()
        marks = ",".join("?" * len(before))
        with self._transaction() as connection:
            changed = connection.execute(
                f"UPDATE runs SET state = ?, ended_at = ?, resume = max(resume, ?) "
                f"WHERE id = ? AND state IN ({marks})",
                (after, ended, int(resume), run_id, *before),
            )
            return changed.rowcount == 1

    def next_queued(self) -> RunRecord | None:
        """The run that has waited longest."""
        waiting = self.list([RunState.QUEUED])
        return waiting[-1] if waiting else None

    def claim(self, run_id: str, device: str) -> bool:
        """Move a queued run to running on a device that no active run holds.

        False where the device is taken or somebody was faster. The caller holds the run's lock.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE runs SET state = ?, started_at = ?, ended_at = NULL, device = ? "
                "WHERE id = ? AND state = ? "
                "AND NOT EXISTS (SELECT 1 FROM runs WHERE state IN (?, ?) AND device = ?)",
                (RunState.RUNNING, time.time(), device, run_id, RunState.QUEUED, *ACTIVE, device),
            )
            return changed.rowcount == 1

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        # Autocommit mode: transactions are begun and ended in `_transaction`, nowhere else.
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _record(row: sqlite3.Row) -> RunRecord:
    return RunRecord(
        number=row["number"],
        id=row["id"],
        name=row["name"],
        state=RunState(row["state"]),
        spec=RunSpec.model_validate_json(row["spec"]),
        resume=bool(row["resume"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        device=row["device"],
    )
