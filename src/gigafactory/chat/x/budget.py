"""What a day may cost, written down before it is spent, so that a crash cannot spend it twice.

Prices: X's pay per use, November 2026: a post read 0.005 $, a post 0.015 $, a post with a link
0.20 $.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from gigafactory.chat.truth.database import transaction
from gigafactory.chat.x.rules import has_link


class Cost(StrEnum):
    """What costs."""

    READ = "read"
    POST = "post"
    POST_WITH_LINK = "post with link"

    @property
    def usd(self) -> float:
        """For one."""
        return _USD[self]


_USD = {Cost.READ: 0.005, Cost.POST: 0.015, Cost.POST_WITH_LINK: 0.20}


@dataclass(eq=False)
class Spent(Exception):  # noqa: N818
    """The day's budget does not cover it."""

    cost: Cost

    def __str__(self) -> str:
        return f"the day's budget does not cover a {self.cost} of {self.cost.usd:g} $"


class Budget:
    """The money of one bot."""

    def __init__(self, connection: sqlite3.Connection, *, usd_per_day: float) -> None:
        self._connection = connection
        self._limit = round(usd_per_day * 1e6)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS x_spent (day TEXT NOT NULL, cost TEXT NOT NULL, "
            "count INTEGER NOT NULL, micro_usd INTEGER NOT NULL, PRIMARY KEY (day, cost))"
        )

    def spend(self, cost: Cost, *, at_s: float, count: int = 1) -> None:
        """Write the expense down; Spent, and nothing written, where the day's rest is too small."""
        amount = round(cost.usd * 1e6) * count
        with transaction(self._connection):
            if self._spent(at_s) + amount > self._limit:
                raise Spent(cost)
            self._connection.execute(
                "INSERT INTO x_spent VALUES (?, ?, ?, ?) ON CONFLICT (day, cost) DO UPDATE "
                "SET count = count + excluded.count, micro_usd = micro_usd + excluded.micro_usd",
                (day_of(at_s), str(cost), count, amount),
            )

    def affords(self, cost: Cost, *, at_s: float, count: int = 1) -> bool:
        """Whether the day's rest covers it."""
        return self._spent(at_s) + round(cost.usd * 1e6) * count <= self._limit

    def spent_usd(self, at_s: float) -> float:
        """What the day has cost so far."""
        return self._spent(at_s) / 1e6

    def _spent(self, at_s: float) -> int:
        sql = "SELECT COALESCE(SUM(micro_usd), 0) FROM x_spent WHERE day = ?"
        return int(self._connection.execute(sql, (day_of(at_s),)).fetchone()[0])


def cost_of(text: str) -> Cost:
    """What posting ``text`` costs."""
    return Cost.POST_WITH_LINK if has_link(text) else Cost.POST


def day_of(at_s: float) -> str:
    """The day in UTC."""
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()
