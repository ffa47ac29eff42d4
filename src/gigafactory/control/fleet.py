"""Who holds which seat, who stands by, who is away, and what is known about each host.

Only hosts about which something is known besides their health cost anything: a fleet of 12,500
healthy hosts is a list of seats and empty tables.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum

from gigafactory.control.actions import Token


class Condition(IntEnum):
    """What is known about a host, from bad to worse; no entry: healthy."""

    SUSPECT = 1
    """One of its processes died, or it was accused and a witness vouches for it."""
    SLOW = 2
    """It works, and its peers wait for it."""
    HUNG = 3
    """A collective timed out in its group: a suspected victim, not the culprit."""
    UNREACHABLE = 4
    """No heartbeat. The host, the way to it, or the listener: nobody knows."""
    CORRUPT = 5
    """A replay showed that it computes wrong values."""
    DEAD = 6
    """Explicit evidence, or its lease ran out and a second witness agrees."""


@dataclass(slots=True)
class Enquiry:
    """The open question whether a silent host lives."""

    lease_until_s: float
    ask_again_s: float
    alive: bool | None = None
    """What the witness said last."""
    num_probes: int = 0
    token: Token | None = None
    """Of the last probe."""


@dataclass(slots=True)
class Fleet:
    """The hosts of the allocation. Every change goes through a method of this class."""

    seats: list[int] = field(default_factory=list)
    """Host by seat; the seat of a lost host keeps its number until it is filled."""
    seat_of: dict[int, int] = field(default_factory=dict)
    vacant: list[int] = field(default_factory=list)
    spares: dict[int, None] = field(default_factory=dict)
    """In the order in which they stood by."""
    away: set[int] = field(default_factory=set)
    conditions: dict[int, Condition] = field(default_factory=dict)
    casualties: dict[int, str] = field(default_factory=dict)
    """Hosts that must leave at once, and why."""
    enquiries: dict[int, Enquiry] = field(default_factory=dict)
    departing: dict[int, float] = field(default_factory=dict)
    """Hosts announced to be taken, and when."""
    accused: dict[int, tuple[int, float]] = field(default_factory=dict)
    """(generation, time) of the last hang that named the host."""
    _seats_sum: int = 0
    _print: bytes | None = None

    def allocate(self, hosts: tuple[int, ...], spares: tuple[int, ...]) -> None:
        """Seat ``hosts`` in their order; a host named twice counts once."""
        self.seats = list(dict.fromkeys(hosts))
        self.seat_of = {host: seat for seat, host in enumerate(self.seats)}
        self.spares = dict.fromkeys(host for host in spares if host not in self.seat_of)
        self._seats_sum = sum(_weight(seat, host) for host, seat in self.seat_of.items())
        self._print = None

    def knows(self, host: int) -> bool:
        """Whether the host is in the allocation (seated or standing by)."""
        return host in self.seat_of or host in self.spares

    def worsen(self, host: int, condition: Condition) -> None:
        """Note ``condition`` unless something worse is known."""
        if self.conditions.get(host, 0) < condition:
            self.conditions[host] = condition
            self._print = None

    def ease(self, host: int, condition: Condition | None = None) -> None:
        """Replace what is known by something milder; None: healthy."""
        self.conditions.pop(host, None)
        if condition is not None:
            self.conditions[host] = condition
        self._print = None

    def announce(self, host: int, *, by_s: float) -> None:
        """The host will be taken at ``by_s``."""
        self.departing[host] = by_s
        self._print = None

    def condemn(self, host: int, reason: str, condition: Condition | None = None) -> None:
        """The host must leave the allocation."""
        if condition is not None:
            self.worsen(host, condition)
        self.enquiries.pop(host, None)
        self.casualties.setdefault(host, reason)
        self._print = None

    def acquit(self, host: int) -> None:
        """Forget everything held against the host (but not an announced maintenance)."""
        self.conditions.pop(host, None)
        self.casualties.pop(host, None)
        self.enquiries.pop(host, None)
        self._print = None

    def remove(self, host: int) -> None:
        """Out of the allocation, into repair; its seat is vacant."""
        self.acquit(host)
        self.departing.pop(host, None)
        self.accused.pop(host, None)
        self.spares.pop(host, None)
        seat = self.seat_of.pop(host, None)
        if seat is not None:
            self.vacant.append(seat)
            self.vacant.sort()
        self.away.add(host)

    def stand_by(self, host: int) -> None:
        """A repaired (or new) host becomes the last of the spares."""
        self.away.discard(host)
        self.spares[host] = None
        self._print = None

    def usable_spares(self) -> list[int]:
        """Spares about which nothing bad is known, longest waiting first."""
        return [
            host
            for host in self.spares
            if host not in self.conditions and host not in self.departing
        ]

    def fill(self) -> tuple[tuple[int, int], ...]:
        """Seat spares on every vacant seat; (seat, host) pairs. There must be enough."""
        pairs = tuple(zip(self.vacant, self.usable_spares(), strict=False))
        for seat, host in pairs:
            self._seats_sum += _weight(seat, host) - _weight(seat, self.seats[seat])
            self.seats[seat] = host
            self.seat_of[host] = seat
            del self.spares[host]
        self.vacant = self.vacant[len(pairs) :]
        self._print = None
        return pairs

    def fingerprint(self) -> bytes:
        """A digest of all of it, cheap while nothing changes."""
        if self._print is None or self.enquiries:
            known = (
                self._seats_sum % _MODULUS,
                self.vacant,
                list(self.spares),
                sorted(self.away),
                sorted(self.conditions.items()),
                sorted(self.casualties.items()),
                [(host, self.enquiries[host]) for host in sorted(self.enquiries)],
                sorted(self.departing.items()),
                sorted(self.accused.items()),
            )
            self._print = hashlib.sha256(repr(known).encode()).digest()
        return self._print


_MODULUS = 1 << 128


def _weight(seat: int, host: int) -> int:
    """A number for one occupied seat; their sum stands for all seats and is kept up in O(1)."""
    return int.from_bytes(hashlib.sha256(b"%d:%d" % (seat, host)).digest()[:16])
