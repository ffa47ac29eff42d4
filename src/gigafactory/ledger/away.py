"""How many hosts are away in repair, and whether the spares suffice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gigafactory.control import actions as ac
from gigafactory.control import events as ev
from gigafactory.ledger.entries import ActionTaken, Entry, EventSeen, PoolFrom

Level = tuple[float, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spares:
    """How the pool of spare hosts was used."""

    num_spares: int
    """Hosts beyond the seats at the launch."""
    away_p50: int
    away_p99: int
    """Hosts in repair at once; 1 % of the time there are more."""
    away_most: int
    empty_s: float
    """Time during which the next failure would have found no spare."""
    short_s: float
    """Time during which seats stayed empty."""
    levels: tuple[Level, ...]
    """(since when, hosts in repair)."""


@dataclass(slots=True)
class Away:
    """Takes the entries of a campaign one by one: evictions, and hosts that come back."""

    num_spares: int = 0
    hosts: set[int] = field(default_factory=set)
    levels: list[Level] = field(default_factory=list)
    own: frozenset[int] = frozenset()
    """Hosts of the launch; one that a serving pool lends is repaired by the pool."""
    num_lent: int = 0
    missing: list[Level] = field(default_factory=list)
    """(since when, hosts in repair less those on loan)."""
    now_s: float = 0.0

    def take(self, entry: Entry) -> None:
        """One more entry."""
        self.now_s = entry.at_s
        match entry.content:
            case ActionTaken(action=ac.EvictHosts(hosts=hosts)):
                self._turn(self.hosts.union(self.own.intersection(hosts)))
            case EventSeen(event=ev.HostRepaired(host=host)):
                self._turn(self.hosts.difference((host,)))
            case PoolFrom(num_lent=num_lent):
                self.num_lent = num_lent
                self._turn(self.hosts)
            case EventSeen(event=ev.Launched(hosts=seated, spares=spares)):
                self.num_spares = len(spares)
                self.own = frozenset((*seated, *spares))
                self._turn(set())

    def spares(self) -> Spares | None:
        """None where no brain was launched."""
        if not self.levels:
            return None
        held = _held_s(self.levels, end_s=self.now_s)
        missing = _held_s(self.missing, end_s=self.now_s)
        return Spares(
            num_spares=self.num_spares,
            away_p50=quantile(held, share=0.5),
            away_p99=quantile(held, share=0.99),
            away_most=max(level for _, level in self.levels),
            empty_s=math.fsum(s for level, s in missing.items() if level >= self.num_spares),
            short_s=math.fsum(s for level, s in missing.items() if level > self.num_spares),
            levels=tuple(self.levels),
        )

    def _turn(self, hosts: set[int]) -> None:
        self.hosts = hosts
        for levels, level in (
            (self.levels, len(hosts)),
            (self.missing, len(hosts) - self.num_lent),
        ):
            if levels and levels[-1][0] == self.now_s:
                levels.pop()
            levels.append((self.now_s, level))


def _held_s(levels: Sequence[Level], *, end_s: float) -> dict[int, float]:
    """Level -> seconds at it."""
    ends_s = [at_s for at_s, _ in levels[1:]] + [end_s]
    found: dict[int, float] = {}
    for (at_s, level), until_s in zip(levels, ends_s, strict=True):
        found[level] = found.get(level, 0.0) + max(0.0, until_s - at_s)
    return found


def quantile(held_s: dict[int, float], *, share: float) -> int:
    """The level that is not exceeded during ``share`` of the time."""
    total_s, so_far_s = math.fsum(held_s.values()), 0.0
    for level in sorted(held_s):
        so_far_s += held_s[level]
        if so_far_s >= share * total_s * (1 - 1e-12):
            return level
    return 0
