"""Blind votes on pairs of answers, kept in SQLite.

A ballot records which column stood on which side. It is written before the person votes, and only
its id leaves this process until then. A vote is one compare-and-set update, so a second click or
a second tab changes nothing. The store knows nothing of models or of counting.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lora_engine.access import need_role, person_now
from lora_engine.database import Database
from lora_engine.errors import Conflict, NotFound
from lora_engine.language import tr, translatable

REMEDY = translatable(
    "Look whether the disk is full or another program holds the file, then try again. Answers and "
    "runs go on without it."
)


def create_ballots(connection: sqlite3.Connection) -> None:
    connection.execute("""
        CREATE TABLE IF NOT EXISTS ballots (
            id           TEXT PRIMARY KEY,
            base         TEXT NOT NULL,
            prompt_set   TEXT NOT NULL,
            prompt       TEXT NOT NULL,
            left_id      TEXT NOT NULL,
            left_name    TEXT NOT NULL,
            left_answer  TEXT NOT NULL,
            right_id     TEXT NOT NULL,
            right_name   TEXT NOT NULL,
            right_answer TEXT NOT NULL,
            choice       TEXT,
            created_at   REAL NOT NULL,
            voted_at     REAL
        )""")
    connection.execute("CREATE INDEX IF NOT EXISTS ballots_by_base ON ballots (base, prompt_set)")


def add_owner(connection: sqlite3.Connection) -> None:
    """`owner` is the name of the person who was asked; older ballots are LOCAL's."""
    connection.execute("ALTER TABLE ballots ADD COLUMN owner TEXT NOT NULL DEFAULT 'local'")


MIGRATIONS = (create_ballots, add_owner)


class Choice(StrEnum):
    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both bad"


@dataclass(frozen=True)
class Contestant:
    """One column. id: `base`, or the start of the hash over the adapter's two files."""

    id: str
    name: str


@dataclass(frozen=True)
class Side:
    """What stands on one side of a ballot."""

    contestant: Contestant
    answer: str


@dataclass(frozen=True)
class Ballot:
    """Two answers to one prompt. base: the base's fingerprint. choice: None before the vote."""

    id: str
    base: str
    prompt_set: str
    prompt: str
    left: Side
    right: Side
    choice: Choice | None


class VoteStore:
    """The votes of one data directory. Every method raises EngineError where they cannot be read or
    written."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, "list of votes", MIGRATIONS, REMEDY)

    def add(self, base: str, prompt_set: str, prompt: str, left: Side, right: Side) -> str:
        """Keep a ballot without a vote. Returns its id, which nobody can guess."""
        ballot_id = secrets.token_urlsafe(16)
        columns = {
            "id": ballot_id,
            "base": base,
            "prompt_set": prompt_set,
            "prompt": prompt,
            "left_id": left.contestant.id,
            "left_name": left.contestant.name,
            "left_answer": left.answer,
            "right_id": right.contestant.id,
            "right_name": right.contestant.name,
            "right_answer": right.answer,
            "created_at": time.time(),
            "owner": person_now().name,
        }
        names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        with self._database.connect() as connection:
            connection.execute(f"INSERT INTO ballots ({names}) VALUES ({marks})", columns)
        return ballot_id

    def vote(self, ballot_id: str, choice: Choice) -> Ballot:
        """Record the choice and return the ballot with its names.

        Raises NotFound for an unknown ballot and Conflict for one already voted.
        """
        need_role("run")
        with self._database.connect() as connection:
            changed = connection.execute(
                "UPDATE ballots SET choice = ?, voted_at = ? "
                "WHERE id = ? AND choice IS NULL AND owner = ?",
                (choice, time.time(), ballot_id, person_now().name),
            )
            row = connection.execute("SELECT * FROM ballots WHERE id = ?", (ballot_id,)).fetchone()
        if row is None or row["owner"] != person_now().name:
            raise NotFound(tr("There is no such ballot."), tr("Ask for two answers first."))
        if changed.rowcount == 0:
            raise Conflict(
                tr("This pair was voted on already."), tr("Ask for the next two answers.")
            )
        return _ballot(row)

    def voted(self, base: str, prompt_set: str | None = None) -> list[Ballot]:
        """Every ballot of the person's, or of all for who manages, with a choice for a base's
        fingerprint, oldest first.

        A choice that only a later program knows is not counted.
        """
        marks = ",".join("?" * len(Choice))
        query = f"SELECT * FROM ballots WHERE choice IN ({marks}) AND base = ?"
        values = [*Choice, base]
        if not person_now().may("manage"):
            query, values = f"{query} AND owner = ?", [*values, person_now().name]
        if prompt_set is not None:
            query, values = f"{query} AND prompt_set = ?", [*values, prompt_set]
        with self._database.connect() as connection:
            return [_ballot(row) for row in connection.execute(f"{query} ORDER BY rowid", values)]


def _ballot(row: sqlite3.Row) -> Ballot:
    return Ballot(
        id=row["id"],
        base=row["base"],
        prompt_set=row["prompt_set"],
        prompt=row["prompt"],
        left=Side(Contestant(row["left_id"], row["left_name"]), row["left_answer"]),
        right=Side(Contestant(row["right_id"], row["right_name"]), row["right_answer"]),
        choice=None if row["choice"] is None else Choice(row["choice"]),
    )
