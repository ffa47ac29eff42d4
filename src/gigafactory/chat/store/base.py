"""What both stores do, in the SQL that both understand.

Law: the usage ledger only grows. Triggers refuse to change or delete a line of it, and a line that
is written twice (a journal folded again after a crash) counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gigafactory.chat.keys import Allowance, Key, Period, Scope
from gigafactory.chat.usage import Entry, Outcome

TABLES = (
    """CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL, requests_per_min BIGINT, tokens_per_min BIGINT,
        budget_tokens BIGINT, budget_period TEXT NOT NULL,
        created_s DOUBLE PRECISION NOT NULL, revoked_s DOUBLE PRECISION)""",
    """CREATE TABLE IF NOT EXISTS usage (
        id TEXT PRIMARY KEY, key_id TEXT NOT NULL, model TEXT NOT NULL, route TEXT NOT NULL,
        at_s DOUBLE PRECISION NOT NULL, prompt_tokens BIGINT NOT NULL,
        completion_tokens BIGINT NOT NULL, outcome TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS usage_by_key ON usage (key_id, at_s)",
)
_KEY_COLUMNS = (
    "id, name, digest, scopes, requests_per_min, tokens_per_min, budget_tokens, budget_period, "
    "created_s, revoked_s"
)
_USAGE_COLUMNS = "id, key_id, model, route, at_s, prompt_tokens, completion_tokens, outcome"


class Store:
    """One connection, used by one thread at a time. Subclasses bring the dialect."""

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def _write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """All rows in one transaction; how many rows of the table it touched."""
        raise NotImplementedError

    def close(self) -> None:
        """End the connection."""
        raise NotImplementedError

    def add_key(self, key: Key) -> None:
        """Keep a new key."""
        allowance = key.allowance
        row = (
            key.id, key.name, key.digest, " ".join(sorted(key.scopes)),
            allowance.requests_per_min, allowance.tokens_per_min, allowance.budget_tokens,
            str(allowance.budget_period), key.created_s, key.revoked_s,
        )  # fmt: skip
        self._write(f"INSERT INTO keys ({_KEY_COLUMNS}) VALUES ({_marks(10)})", [row])

    def all_keys(self) -> list[Key]:
        """All keys, the revoked ones too, oldest first."""
        rows = self._rows(f"SELECT {_KEY_COLUMNS} FROM keys ORDER BY created_s, id")
        return [_key(row) for row in rows]

    def good_keys(self) -> list[Key]:
        """Those that are not revoked, oldest first."""
        where = "WHERE revoked_s IS NULL ORDER BY created_s, id"
        return [_key(row) for row in self._rows(f"SELECT {_KEY_COLUMNS} FROM keys {where}")]

    def revoke_key(self, ident: str, *, at_s: float) -> bool:
        """The key is good no longer; False where there is no such good key."""
        sql = "UPDATE keys SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL"
        return self._write(sql, [(at_s, ident)]) > 0

    def revision(self) -> tuple[int, float]:
        """Changes whenever the keys do; cheap to ask."""
        sql = "SELECT COUNT(*), COALESCE(SUM(revoked_s), 0) FROM keys"
        [(num_keys, revoked)] = self._rows(sql)
        return int(num_keys), float(revoked)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add to the ledger; those that stand there already are passed over."""
        rows = [
            (e.id, e.key_id, e.model, e.route, e.at_s, e.prompt_tokens, e.completion_tokens,
             str(e.outcome))
            for e in entries
        ]  # fmt: skip
        sql = (
            f"INSERT INTO usage ({_USAGE_COLUMNS}) VALUES ({_marks(8)}) ON CONFLICT (id) DO NOTHING"
        )
        self._write(sql, rows)

    def entries(self, *, key_id: str | None = None) -> Iterator[Entry]:
        """The ledger, oldest first."""
        where, values = ("", ()) if key_id is None else (" WHERE key_id = ?", (key_id,))
        sql = f"SELECT {_USAGE_COLUMNS} FROM usage{where} ORDER BY at_s, id"
        for row in self._rows(sql, values):
            yield Entry(
                id=row[0], key_id=row[1], model=row[2], route=row[3], at_s=float(row[4]),
                prompt_tokens=row[5], completion_tokens=row[6], outcome=Outcome(row[7]),
            )  # fmt: skip

    def spent_tokens(self, key_id: str, *, since_s: float) -> int:
        """What a key has used since then."""
        sql = (
            "SELECT COALESCE(SUM(prompt_tokens + completion_tokens), 0) FROM usage "
            "WHERE key_id = ? AND at_s >= ?"
        )
        return int(self._rows(sql, (key_id, since_s))[0][0])

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _key(row: Sequence[Any]) -> Key:
    return Key(
        id=row[0],
        name=row[1],
        digest=row[2],
        scopes=frozenset(Scope(scope) for scope in row[3].split()),
        allowance=Allowance(
            requests_per_min=row[4],
            tokens_per_min=row[5],
            budget_tokens=row[6],
            budget_period=Period(row[7]),
        ),
        created_s=float(row[8]),
        revoked_s=None if row[9] is None else float(row[9]),
    )
