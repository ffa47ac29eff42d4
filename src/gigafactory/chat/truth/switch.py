"""The kill switch: one row in the database, seen by every process that answers, on its next
answer."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from gigafactory.chat.truth.audit import Audit, Kind
from gigafactory.chat.truth.database import transaction


@dataclass(frozen=True, slots=True)
class Stopped(Exception):  # noqa: N818
    """Nothing is answered; ``reason`` is for the people who run the service."""

    reason: str

    def __str__(self) -> str:
        return f"answers are switched off: {self.reason}"


class Switch:
    """On or off, with a reason, recorded in the audit chain."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def reason(self) -> str | None:
        """Why answers are off; None: they are on."""
        row = self._connection.execute(
            "SELECT value FROM settings WHERE name = 'stopped'"
        ).fetchone()
        return str(row[0]) if row else None

    def check(self) -> None:
        """Raise Stopped while answers are off."""
        reason = self.reason
        if reason is not None:
            raise Stopped(reason)

    def stop(self, reason: str, *, at_s: float) -> None:
        """Switch answers off."""
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO settings VALUES ('stopped', ?)", (reason,)
            )
        Audit(self._connection).append(Kind.SWITCH, {"on": False, "reason": reason}, at_s=at_s)

    def start(self, *, at_s: float) -> None:
        """Switch answers on again."""
        with transaction(self._connection):
            self._connection.execute("DELETE FROM settings WHERE name = 'stopped'")
        Audit(self._connection).append(Kind.SWITCH, {"on": True}, at_s=at_s)
