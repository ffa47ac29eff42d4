"""The record of every answer, hash-chained, and still erasable.

The chain holds no text: each link is the hash of the link before, the time, the kind and the salted
hash of its details. The details (ids retrieved, scores, hashes of prompt and model, the decision,
the
cost) stand apart; an erasure removes them with their salt, and writes a link that names what it
removed. So the chain verifies for ever, and details that are gone without an erasure are a fault.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gigafactory.chat.truth.database import transaction
from gigafactory.chat.truth.ratings import forget_ratings

START = "0" * 64


class Kind(StrEnum):
    """What a record is about."""

    ANSWER = "answer"
    ERASURE = "erasure"
    SWITCH = "switch"
    PROMPTS = "prompts"


@dataclass(frozen=True, slots=True)
class Record:
    """One link; ``details`` None: erased."""

    seq: int
    at_s: float
    kind: Kind
    hash: str
    details: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What verifying found."""

    num_records: int
    num_erased: int
    head: str
    """The hash of the last link: keep it elsewhere, then nobody can cut the chain's end off
    unseen."""
    faults: tuple[str, ...]


class Audit:
    """The chain of one database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def append(
        self, kind: Kind, details: Mapping[str, Any], *, at_s: float, posts: Sequence[str] = ()
    ) -> int:
        """Write a record; its number. ``posts`` are the ids whose erasure takes the details
        along."""
        body = json.dumps(details, sort_keys=True, ensure_ascii=False)
        salt = secrets.token_hex(16)
        digest = _sha(salt, body)
        with transaction(self._connection):
            seq, before = self._head()
            link = _sha(str(seq + 1), repr(at_s), kind, digest, before)
            self._connection.execute(
                "INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)",
                (seq + 1, at_s, str(kind), digest, before, link),
            )
            self._connection.execute("INSERT INTO details VALUES (?, ?, ?)", (seq + 1, salt, body))
            self._connection.executemany(
                "INSERT INTO mentioned VALUES (?, ?)", [(seq + 1, p) for p in dict.fromkeys(posts)]
            )
        return seq + 1

    def _head(self) -> tuple[int, str]:
        sql = "SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1"
        row = self._connection.execute(sql).fetchone()
        return (int(row[0]), str(row[1])) if row else (0, START)

    def erase(self, posts: Sequence[str], *, at_s: float) -> int:
        """Remove the details of all records that mention ``posts``, and say so; how many."""
        seqs = sorted({seq for post in posts for seq in self._mentions(post)})
        if not seqs:
            return 0
        # said first: a crash in between leaves details behind, never a gap without a reason
        self.append(Kind.ERASURE, {"seqs": seqs}, at_s=at_s)
        with transaction(self._connection):
            for seq in seqs:
                self._connection.execute("DELETE FROM details WHERE seq = ?", (seq,))
                self._connection.execute("DELETE FROM mentioned WHERE seq = ?", (seq,))
            forget_ratings(self._connection, seqs)
        return len(seqs)

    def _mentions(self, post: str) -> list[int]:
        sql = "SELECT seq FROM mentioned WHERE post = ?"
        return [row[0] for row in self._connection.execute(sql, (post,)).fetchall()]

    def records(self, *, last: int | None = None, before: int | None = None) -> Iterator[Record]:
        """Oldest first; ``last``: only so many of the newest, of those with numbers under
        ``before``."""
        end = min(before or self._head()[0] + 1, self._head()[0] + 1)
        first = max(0, end - 1 - last) if last is not None else 0
        sql = (
            "SELECT c.seq, c.at_s, c.kind, c.hash, d.body FROM chain c LEFT JOIN details d "
            "ON d.seq = c.seq WHERE c.seq > ? AND c.seq < ? ORDER BY c.seq"
        )
        for seq, at_s, kind, link, body in self._connection.execute(sql, (first, end)):
            details = None if body is None else json.loads(body)
            yield Record(seq, at_s, Kind(kind), link, details)

    def record(self, seq: int) -> Record | None:
        """By number."""
        if not 0 < seq <= self._head()[0]:
            return None
        return next(self.records(last=1, before=seq + 1), None)

    def check(self, *, head: str | None = None) -> Checked:
        """Verify every link and every detail; ``head``: the last link as it was noted elsewhere."""
        faults: list[str] = []
        missing: set[int] = set()
        erased: set[int] = set()
        before, expected, links = START, 1, {START}
        sql = (
            "SELECT c.seq, c.at_s, c.kind, c.digest, c.before, c.hash, d.salt, d.body FROM chain c "
            "LEFT JOIN details d ON d.seq = c.seq ORDER BY c.seq"
        )
        for seq, at_s, kind, digest, previous, link, salt, body in self._connection.execute(sql):
            if seq != expected or previous != before:
                faults.append(f"record {seq}: the one before it is missing or another")
            if link != _sha(str(seq), repr(at_s), kind, digest, previous):
                faults.append(f"record {seq}: it was changed")
            if body is None:
                missing.add(seq)
            elif _sha(salt, body) != digest:
                faults.append(f"record {seq}: its details were changed")
            elif kind == Kind.ERASURE:
                erased.update(json.loads(body)["seqs"])
            before, expected = link, seq + 1
            links.add(link)
        faults += [
            f"record {s}: its details are gone, no erasure says so"
            for s in sorted(missing - erased)
        ]
        if head is not None and head not in links:
            faults.append(f"the record with hash {head} is not in the chain: its end was cut off")
        return Checked(expected - 1, len(missing & erased), before, tuple(faults))


def _sha(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
