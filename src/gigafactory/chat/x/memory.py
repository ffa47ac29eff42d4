"""What the bot has seen and said: ids only, no text, so that nothing of X is kept that is deleted
there."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from gigafactory.chat.truth.database import transaction


class State(StrEnum):
    """How far a mention has come."""

    POSTING = "posting"
    """Written before the reply is sent: after a crash it is not known whether it stands there."""
    REPLIED = "replied"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Done:
    """One mention's record."""

    mention: str
    state: State
    reply: str | None
    cites: tuple[str, ...]
    why: str | None


class Memory:
    """The records of one bot, in the database of posts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS x_done (mention TEXT PRIMARY KEY, state TEXT NOT NULL, "
            "reply TEXT, cites TEXT NOT NULL, why TEXT)"
        )

    def get(self, mention: str) -> Done | None:
        """What was done about it."""
        sql = "SELECT mention, state, reply, cites, why FROM x_done WHERE mention = ?"
        row = self._connection.execute(sql, (mention,)).fetchone()
        return _done(row) if row else None

    def put(
        self,
        mention: str,
        state: State,
        *,
        reply: str | None = None,
        cites: tuple[str, ...] = (),
        why: str | None = None,
    ) -> None:
        """Write it down."""
        row = (mention, str(state), reply, " ".join(cites), why)
        with transaction(self._connection):
            self._connection.execute("INSERT OR REPLACE INTO x_done VALUES (?, ?, ?, ?, ?)", row)

    def replied(self, *, last: int) -> list[Done]:
        """The newest replies that stand."""
        sql = (
            "SELECT mention, state, reply, cites, why FROM x_done WHERE state = ? "
            "ORDER BY rowid DESC LIMIT ?"
        )
        return [_done(row) for row in self._connection.execute(sql, (str(State.REPLIED), last))]

    @property
    def newest(self) -> str | None:
        """The newest mention that was dealt with; ids are numbers that grow."""
        sql = "SELECT value FROM settings WHERE name = 'x_newest'"
        row = self._connection.execute(sql).fetchone()
        return str(row[0]) if row else None

    def saw(self, ident: str) -> None:
        """Everything up to ``ident`` is dealt with."""
        if self.newest is None or int(ident) > int(self.newest):
            with transaction(self._connection):
                sql = "INSERT OR REPLACE INTO settings VALUES ('x_newest', ?)"
                self._connection.execute(sql, (ident,))


def _done(row: tuple[str, str, str | None, str, str | None]) -> Done:
    mention, state, reply, cites, why = row
    return Done(mention, State(state), reply, tuple(cites.split()), why)
