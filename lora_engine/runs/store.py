"""The list of runs and their states, in SQLite.

Every change of state is one compare-and-set UPDATE, so several processes (a server, another
server, the command line) may act at once and one of them wins. The store knows nothing of
processes or files; the supervisor tells it what happens to them.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lora_engine.access import may_see, person_now
from lora_engine.database import BUSY_TIMEOUT_S, Database, columns_of
from lora_engine.errors import NotFound
from lora_engine.language import tr, translatable
from lora_engine.names import is_seen_whole
from lora_engine.quotas import QueueQuota
from lora_engine.runs.record import RunRecord, record_of
from lora_engine.runs.states import ACTIVE, OVER, RESUMABLE, RunState
from lora_engine.spec import RunSpec

REMEDY = translatable(
    "Runs that are going go on. Look whether the disk is full or another program holds the file, "
    "then try again."
)


def create_runs(connection: sqlite3.Connection) -> None:
    connection.execute("""
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
        )""")
    connection.execute("CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, number)")


def add_queue_places_and_notes(connection: sqlite3.Connection) -> None:
    """`place` orders the queue, the lowest first. Lists from before versions may have these."""
    columns = {
        "place": "REAL NOT NULL DEFAULT 0",
        "note": "TEXT NOT NULL DEFAULT ''",
        "tags": "TEXT NOT NULL DEFAULT '[]'",
    }
    for name in columns.keys() - columns_of(connection, "runs"):
        connection.execute(f"ALTER TABLE runs ADD COLUMN {name} {columns[name]}")
    connection.execute("UPDATE runs SET place = number WHERE place = 0")


def add_sweeps(connection: sqlite3.Connection) -> None:
    """`sweep` is the id of the sweep that a run belongs to."""
    connection.execute("ALTER TABLE runs ADD COLUMN sweep TEXT")
    connection.execute("CREATE INDEX runs_by_sweep ON runs (sweep, number)")


def add_owner(connection: sqlite3.Connection) -> None:
    """`owner` is the name of the person who submitted a run; older ones are LOCAL's."""
    connection.execute("ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT 'local'")


MIGRATIONS = (create_runs, add_queue_places_and_notes, add_sweeps, add_owner)


class RunStore:
    """The runs of one data directory; what reads them finds those that the person who acts may see.

    Who changes a run has read it before. Every method raises EngineError where the list cannot be
    read or written: locked for longer than `patience_s`, on a full disk, or no database at all.
    """

    def __init__(
        self, path: Path, patience_s: float = BUSY_TIMEOUT_S, quota: QueueQuota | None = None
    ) -> None:
        """quota: how many runs may wait; without one any number."""
        self._quota = quota
        self._database = Database(path, "list of runs", MIGRATIONS, REMEDY, patience_s)

    def add(self, run_id: str, spec: RunSpec) -> RunRecord:
        """A new run, queued behind the others."""
        self.add_all({run_id: spec})
        return self.get(run_id)

    def add_all(self, runs: Mapping[str, RunSpec], sweep: str | None = None) -> None:
        """New runs by their ids, queued behind the others in this order; all of them or none.

        Raises QuotaExceeded where they are too many.
        """
        with self._database.transaction() as connection:
            self._refuse_more(connection, {person_now().name: len(runs)})
            for run_id, spec in runs.items():
                connection.execute(
                    "INSERT INTO runs (id, name, state, spec, created_at, sweep, owner, place) "
                    "SELECT ?, ?, ?, ?, ?, ?, ?, coalesce(max(place), 0) + 1 FROM runs",
                    (
                        run_id,
                        spec.name,
                        RunState.QUEUED,
                        spec.model_dump_json(),
                        time.time(),
                        sweep,
                        person_now().name,
                    ),
                )

    def _refuse_more(self, connection: sqlite3.Connection, new: Mapping[str, int]) -> None:
        """Raises QuotaExceeded where so many more runs may not wait, by their owner."""
        if self._quota is not None:
            self._quota.refuse_more(_waiting(connection), new)

    def waiting(self) -> Mapping[str, int]:
        """How many runs wait, by their owner, whosever they are."""
        with self._database.connect() as connection:
            return _waiting(connection)

    def get(self, run_id: str) -> RunRecord:
        """Raises NotFound."""
        if not is_seen_whole(run_id):  # of such texts some cannot even be asked for
            raise no_such_run(run_id)
        with self._database.connect() as connection:
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None or not may_see(row["owner"]):
            raise no_such_run(run_id)
        return record_of(row)

    def queue(self) -> list[RunRecord]:
        """The runs that wait, in the order in which they will start."""
        query = "SELECT * FROM runs WHERE state = ? ORDER BY place, number"
        with self._database.connect() as connection:
            return _seen(connection.execute(query, (RunState.QUEUED,)))

    def next_queued(self) -> RunRecord | None:
        return next(iter(self.queue()), None)

    def move(
        self,
        run_id: str,
        before: Sequence[RunState],
        after: RunState,
        started_at: float | None = None,
    ) -> bool:
        """Set the state to `after` if it is one of `before`. False where another was faster.

        started_at: the start that the caller means; a run that was started again since then stays
        as it is.
        """
        ended = None if after in (RunState.QUEUED, *ACTIVE) else time.time()
        with self._database.transaction() as connection:
            changed = connection.execute(
                f"UPDATE runs SET state = ?, ended_at = ? WHERE id = ? "
                f"AND state IN ({_marks(before)}) AND (? IS NULL OR started_at = ?)",
                (after, ended, run_id, *before, started_at, started_at),
            )
            return changed.rowcount == 1

    def cancel(self, run_id: str) -> None:
        """Cancel a run that waits, and ask one that goes on to stop; others stay as they are."""
        if not self.move(run_id, [RunState.QUEUED], RunState.CANCELLED):
            self.move(run_id, [RunState.RUNNING, RunState.PAUSING], RunState.CANCELLING)

    def pause(self, run_id: str) -> None:
        """Pause a run that waits, and ask one that goes on to save and stop; others stay."""
        if not self.move(run_id, [RunState.QUEUED], RunState.PAUSED):
            self.move(run_id, [RunState.RUNNING], RunState.PAUSING)

    def requeue(
        self, run_ids: Sequence[str], changed: Mapping[str, RunSpec] | None = None
    ) -> tuple[str, ...]:
        """Queue stopped runs behind the others, to resume, at one moment. Returns the resumable
        ones, which it queued. changed: by id, the specs with which they go on, where these are
        others. Raises QuotaExceeded where they are too many."""
        specs = {run_id: spec.model_dump_json() for run_id, spec in (changed or {}).items()}
        with self._database.transaction() as connection:
            stopped = connection.execute(
                f"SELECT owner FROM runs WHERE state IN ({_marks(RESUMABLE)}) "
                f"AND id IN ({_marks(run_ids)})",
                (*RESUMABLE, *run_ids),
            )
            self._refuse_more(connection, Counter(row["owner"] for row in stopped))
            return tuple(
                run_id
                for run_id in run_ids
                if connection.execute(
                    f"UPDATE runs SET state = ?, ended_at = NULL, resume = 1, "
                    f"place = (SELECT max(place) FROM runs) + 1, spec = coalesce(?, spec) "
                    f"WHERE id = ? AND state IN ({_marks(RESUMABLE)})",
                    (RunState.QUEUED, specs.get(run_id), run_id, *RESUMABLE),
                ).rowcount
            )

    def claim(self, run_ids: Sequence[str], device: str) -> tuple[str, ...]:
        """Move queued runs to running on devices that no active run holds. Returns those it moved.

        device: one, or several as CUDA_VISIBLE_DEVICES names them (`0,1`). Runs that no longer wait
        are left out, and all where one of the devices is taken. The caller holds
        the runs' locks, and trains them in one worker.
        """
        with self._database.transaction() as connection:
            held = connection.execute(
                f"SELECT device FROM runs WHERE state IN ({_marks(ACTIVE)}) AND device IS NOT NULL",
                ACTIVE,
            )
            taken = {name for row in held for name in row["device"].split(",")}
            if taken & set(device.split(",")):
                return ()
            started_at = time.time()
            return tuple(
                run_id
                for run_id in run_ids
                if connection.execute(
                    "UPDATE runs SET state = ?, started_at = ?, ended_at = NULL, device = ? "
                    "WHERE id = ? AND state = ?",
                    (RunState.RUNNING, started_at, device, run_id, RunState.QUEUED),
                ).rowcount
            )

    def swap_in_queue(self, run_id: str, other_id: str) -> bool:
        """Let two waiting runs change places. False where one of them no longer waits."""
        with self._database.transaction() as connection:
            places = dict(
                connection.execute(
                    "SELECT id, place FROM runs WHERE state = ? AND id IN (?, ?)",
                    (RunState.QUEUED, run_id, other_id),
                ).fetchall()
            )
            if len(places) < 2:
                return False
            for one, other in ((run_id, other_id), (other_id, run_id)):
                connection.execute("UPDATE runs SET place = ? WHERE id = ?", (places[other], one))
            return True

    def annotate(self, run_id: str, note: str, tags: Sequence[str]) -> None:
        """Set the person's note and tags of a run."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET note = ?, tags = ? WHERE id = ?",
                (note, json.dumps(list(tags)), run_id),
            )

    def remove(self, run_id: str) -> bool:
        """Remove a run that is over from the list. False where it waits or is active."""
        with self._database.transaction() as connection:
            gone = connection.execute(
                f"DELETE FROM runs WHERE id = ? AND state IN ({_marks(OVER)})", (run_id, *OVER)
            )
            return gone.rowcount == 1

    def sweeps(self) -> set[str]:
        """The ids of the sweeps that runs belong to."""
        query = "SELECT DISTINCT sweep, owner FROM runs WHERE sweep IS NOT NULL"
        with self._database.connect() as connection:
            return {row["sweep"] for row in connection.execute(query) if may_see(row["owner"])}

    def of_sweep(self, sweep: str) -> tuple[RunRecord, ...]:
        """The runs of a sweep, in the order of its grid."""
        query = "SELECT * FROM runs WHERE sweep = ? ORDER BY number"
        with self._database.connect() as connection:
            return tuple(_seen(connection.execute(query, (sweep,))))

    def list(self, states: Sequence[RunState] | None = None) -> list[RunRecord]:
        """Runs in any of `states`, else every run there is; newest first."""
        chosen = "" if states is None else f"WHERE state IN ({_marks(states)})"
        query = f"SELECT * FROM runs {chosen} ORDER BY number DESC"
        with self._database.connect() as connection:
            return _seen(connection.execute(query, tuple(states or ())))


def no_such_run(run_id: str) -> NotFound:
    """What is said of a run that is not there, or is somebody else's."""
    return NotFound(
        tr("There is no run {run_id}.", run_id=f"{run_id!r}"),
        tr("`runs` lists the runs there are."),
    )


def _waiting(connection: sqlite3.Connection) -> dict[str, int]:
    query = "SELECT owner, count(*) AS number FROM runs WHERE state = ? GROUP BY owner"
    return {row["owner"]: row["number"] for row in connection.execute(query, (RunState.QUEUED,))}


def _seen(rows: Iterable[sqlite3.Row]) -> list[RunRecord]:
    """Those that the person who acts may see."""
    return [record_of(row) for row in rows if may_see(row["owner"])]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
