"""What people make of answers: one view a person and answer, kept beside the records.

The same answer to the same question is one note, however often it was given, else no note would
ever gather the ratings that bridging asks for. Reasons are picked from a list: free text would be
one more place to erase from.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gigafactory.chat.truth.bridging import Rating
from gigafactory.chat.truth.database import transaction

VALUES = (0.0, 0.5, 1.0)
"""Not helpful, somewhat, helpful."""


class Reason(StrEnum):
    """Why somebody finds an answer helpful or not."""

    CLEAR = "clear"
    GOOD_SOURCES = "good sources"
    WRONG = "wrong"
    UNSUPPORTED = "not what the source says"
    OUTDATED = "out of date"
    BESIDE_THE_POINT = "beside the point"
    ONE_SIDED = "one-sided"


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's view of the answer in one record."""

    user: str
    record: int
    value: float
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """All views of one note."""

    num_ratings: int
    mean: float
    reasons: Mapping[str, int]


class Ratings:
    """All ratings of one database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, vote: Vote, *, details: Mapping[str, Any], at_s: float) -> str:
        """Keep a view, in place of the person's earlier one; the note it is about."""
        note = note_of(details)
        row = (vote.user, note, vote.record, vote.value, vote.reason, at_s)
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO ratings VALUES (?, ?, ?, ?, ?, ?)", row
            )
        return note

    def all(self) -> list[Rating]:
        """What bridging reads."""
        sql = "SELECT user, note, value FROM ratings ORDER BY user, note"
        return [Rating(user, note, value) for user, note, value in self._connection.execute(sql)]

    def tally(self, note: str) -> Tally:
        """Numbers about one note."""
        sql = "SELECT value, reason FROM ratings WHERE note = ?"
        rows = self._connection.execute(sql, (note,)).fetchall()
        mean = sum(value for value, _ in rows) / len(rows) if rows else 0.0
        reasons = Counter(reason for _, reason in rows if reason)
        return Tally(len(rows), mean, dict(sorted(reasons.items())))

    def state(self) -> tuple[int, float]:
        """Changes whenever a rating does; cheap to ask."""
        sql = "SELECT COUNT(*), COALESCE(MAX(at_s), 0) FROM ratings"
        num_ratings, last_s = self._connection.execute(sql).fetchone()
        return int(num_ratings), float(last_s)


def forget_ratings(connection: sqlite3.Connection, records: Sequence[int]) -> None:
    """Remove the ratings of these records; within the transaction of whoever erases them."""
    connection.executemany("DELETE FROM ratings WHERE record = ?", [(r,) for r in records])


def note_of(details: Mapping[str, Any]) -> str:
    """The name under which one answer to one question is rated."""
    both = f"{details['question_sha256']}:{details['answer_sha256']}"
    return hashlib.sha256(both.encode()).hexdigest()[:20]
