"""Who holds which seat, who stands by, who is away, and what is known about each host.

Only hosts about which something is known besides their health cost anything: a fleet of 12,500
healthy hosts is a list of seats and empty tables.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from gigafactory.control.actions import Token
from gigafactory.control.digest import MODULUS, Summed, weight
from gigafactory.control.seating import Seating


class Condition(IntEnum):
    """What is known about a host, from bad to worse; no entry: healthy."""

    SUSPECT = 1
    """One of its processes died, or it was accused and a witness vouches for it."""
    SLOW = 2
    """It works, and its peers wait for it."""
    HUNG = 3
    """A collective timed out in its group: a suspected victim, not the culprit."""
    CUT = 4
    """A link of it is down, as both ends say; links come back."""
    UNREACHABLE = 5
    """No heartbeat. The host, the way to it, or the listener: nobody knows."""
    CORRUPT = 6
    """A replay showed that it computes wrong values."""
    DEAD = 7
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
    num_seats: int = 0
    """At the launch; ``seats`` is shorter while the gang trains with fewer replicas."""
    seat_of: dict[int, int] = field(default_factory=dict)
    vacant: list[int] = field(default_factory=list)
    spares: dict[int, None] = field(default_factory=dict)
    """In the order in which they stood by."""
    away: Summed = field(default_factory=Summed)
    """Hosts that left; only who they are means something."""
    conditions: dict[int, Condition] = field(default_factory=dict)
    casualties: dict[int, str] = field(default_factory=dict)
    """Hosts that must leave at once, and why."""
    revocable: Summed = field(default_factory=Summed)
    """Casualties, and hosts away, that would not leave if this `Condition` were over."""
    excused: set[int] = field(default_factory=set)
    """Hosts whose eviction was asked for, and against which nothing speaks any more."""
    enquiries: dict[int, Enquiry] = field(default_factory=dict)
    due_s: float = math.inf
    """No enquiry needs attention before this."""
    departing: dict[int, float] = field(default_factory=dict)
    """Hosts announced to be taken, and when."""
    failing: dict[int, str] = field(default_factory=dict)
    """Hosts that go on and are to be exchanged at an occasion, and why."""
    slow: dict[int, float] = field(default_factory=dict)
    """How many times its peers' the steps of a slow host take."""
    cuts: dict[int, float] = field(default_factory=dict)
    """Since when a link of the host is down."""
    accused: dict[int, tuple[int, float]] = field(default_factory=dict)
    """(generation, time) of the last hang that named the host."""
    lost_seats: set[int] = field(default_factory=set)
    """Seats whose host, with all that lay in its memory, left since the last full peer copy."""
    num_copied: int = 0
    """Seats when the last full peer copy was made; they tell who keeps whose."""
    uncopied: frozenset[int] = frozenset()
    """Those of them that took no part: of replicas that did not train."""
    moved: dict[int, int] = field(default_factory=dict)
    """Seats that hosts gave up since then, with the copies still in their memory."""
    _hosts: Seating | None = None
    _reseated: list[tuple[int, int]] = field(default_factory=list)
    """(seat, host) pairs since the last seating was handed out."""
    _seats_sum: int | None = None
    _spares_print: bytes | None = None
    _print: bytes | None = None

    def allocate(self, hosts: tuple[int, ...], spares: tuple[int, ...]) -> None:
        """Seat ``hosts`` in their order; a host named twice counts once."""
        self.seats = list(dict.fromkeys(hosts))
        self.num_seats = len(self.seats)
        self.seat_of = {host: seat for seat, host in enumerate(self.seats)}
        self.spares = dict.fromkeys(host for host in spares if host not in self.seat_of)
        self._hosts = self._seats_sum = self._spares_print = None
        self._touch()

    def knows(self, host: int) -> bool:
        """Whether the host is in the allocation (seated or standing by)."""
        return host in self.seat_of or host in self.spares

    def hosts(self) -> Seating:
        """The host of every seat."""
        if self._hosts is None:
            self._hosts = Seating(self.seats)
        elif self._reseated:
            self._hosts = self._hosts.reseated(self._reseated)
        self._reseated.clear()
        return self._hosts

    # -- what is known about a host

    def worsen(self, host: int, condition: Condition) -> None:
        """Note ``condition`` unless something worse is known."""
        if self.conditions.get(host, 0) < condition:
            self.conditions[host] = condition
            self._touch()

    def ease(self, host: int, condition: Condition | None = None) -> None:
        """Replace what is known by something milder; None: healthy."""
        self.conditions.pop(host, None)
        if condition is not None:
            self.conditions[host] = condition
        self._touch()

    def let_off(self, host: int) -> None:
        """Accused, and a witness vouches for it: in the gang it is watched a little longer."""
        self.ease(host, Condition.SUSPECT if host in self.seat_of else None)

    def announce(self, host: int, *, by_s: float) -> None:
        """The host will be taken at ``by_s``."""
        self.departing[host] = by_s
        self._touch()

    def fails_soon(self, host: int, cause: str) -> None:
        """The host goes on, and is to be exchanged at an occasion."""
        self.failing.setdefault(host, cause)
        self._touch()

    def slows(self, host: int, slowdown: float) -> None:
        """The steps of the host take ``slowdown`` times its peers'; 1: no longer."""
        if slowdown > 1.0:
            self.slow[host] = slowdown
            self.worsen(host, Condition.SLOW)
        elif self.slow.pop(host, None) and self.conditions.get(host) is Condition.SLOW:
            self.ease(host)

    def cut(self, host: int, *, since_s: float) -> None:
        """A link of the host is down."""
        self.cuts.setdefault(host, since_s)
        self.worsen(host, Condition.CUT)
        self._touch()

    def mend(self, host: int) -> bool:
        """Its links are up again; False: they were not known to be down."""
        if self.cuts.pop(host, None) is None:
            return False
        if self.conditions.get(host) is Condition.CUT:
            self.ease(host)
        self._touch()
        return True

    def accuse(self, host: int, *, generation: int, at_s: float) -> None:
        """Remember that a hang named the host."""
        self.accused[host] = (generation, at_s)
        self._touch()

    def forget_accusations(self, *, before_s: float) -> None:
        """Accusations of long ago are no evidence any more."""
        kept = {host: said for host, said in self.accused.items() if said[1] >= before_s}
        if len(kept) < len(self.accused):
            self.accused = kept
            self._touch()

    def condemn(
        self,
        host: int,
        reason: str,
        condition: Condition | None = None,
        *,
        until: Condition | None = None,
    ) -> None:
        """The host must leave the allocation; ``until``: unless this ends before it left."""
        if until is None:
            self.revocable.drop(host)
        elif host not in self.casualties:
            self.revocable[host] = until
        if condition is not None:
            self.worsen(host, condition)
        self.enquiries.pop(host, None)
        self.cuts.pop(host, None)
        self.casualties.setdefault(host, reason)
        self._touch()

    def revoke(self, host: int, ended: Condition) -> bool:
        """What condemned the host is over; False: something else did, or nothing."""
        if self.revocable.get(host) != ended:
            return False
        if host in self.casualties:
            self.acquit(host)
        else:
            del self.revocable[host]
            self.excused.add(host)
            self._touch()
        return True

    def is_surely_lost(self, host: int) -> None:
        """Explicit evidence against a host that left already: nothing excuses it."""
        self.excused.discard(host)
        self.revocable.drop(host)
        self._touch()

    def acquit(self, host: int) -> None:
        """Forget everything held against the host (but not an announced maintenance)."""
        for table in (
            self.conditions, self.casualties, self.enquiries, self.failing, self.slow, self.cuts,
        ):  # fmt: skip
            table.pop(host, None)
        self.revocable.drop(host)
        self._touch()

    def copied(self, *, without: frozenset[int] = frozenset()) -> None:
        """The state of every host that trains lies in a peer's memory; ``without``: other seats."""
        if (
            self.lost_seats
            or self.moved
            or self.num_copied != len(self.seats)
            or self.uncopied != without
        ):
            self.num_copied, self.uncopied = len(self.seats), without
            self.lost_seats.clear()
            self.moved.clear()
            self._touch()

    # -- open questions

    def ask_about(self, host: int, enquiry: Enquiry) -> None:
        """Open, or change, the question whether the host lives."""
        self.enquiries[host] = enquiry
        self.due_s = min(self.due_s, enquiry.ask_again_s, enquiry.lease_until_s)
        self._touch()

    def renew(self, host: int, *, until_s: float) -> None:
        """Its lease runs until then."""
        self.enquiries[host].lease_until_s = until_s
        self._touch()

    def renew_cuts(self, *, now_s: float) -> None:
        """Nobody looked until now: links that are down count as down since now."""
        if self.cuts:
            self.cuts = dict.fromkeys(self.cuts, now_s)
            self._touch()

    def settle(self, host: int) -> None:
        """The question is answered."""
        if self.enquiries.pop(host, None) is not None:
            self._touch()

    def hear(self, host: int, *, alive: bool | None, now_s: float) -> None:
        """A witness spoke, or steps speak for the host (None: no longer dead)."""
        enquiry = self.enquiries[host]
        enquiry.alive = alive
        self.due_s = min(self.due_s, now_s if alive else max(now_s, enquiry.lease_until_s))
        self._touch()

    # -- seats

    def remove(self, host: int) -> None:
        """Out of the allocation, into repair; its seat is vacant."""
        until = self.revocable.get(host)
        self.acquit(host)
        if until is not None:
            self.revocable[host] = until
        self.departing.pop(host, None)
        self.accused.pop(host, None)
        if host in self.spares:
            del self.spares[host]
            self._spares_print = None
        seat = self.seat_of.pop(host, None)
        if seat is not None:
            insort(self.vacant, seat)
        copied_at = self.moved.pop(host, seat)
        if copied_at is not None:
            self.lost_seats.add(copied_at)
        self.away[host] = NOBODY

    def stand_by(self, host: int) -> None:
        """A repaired (or new) host becomes the last of the spares."""
        self.away.drop(host)
        self.excused.discard(host)
        self.revocable.drop(host)
        self.spares[host] = None
        self._spares_print = None
        self._touch()

    def is_fit(self, host: int) -> bool:
        """Whether nothing bad is known about the host."""
        return not (
            host in self.conditions
            or host in self.departing
            or host in self.failing
            or host in self.slow
        )

    def would_be_fit(self, host: int) -> bool:
        """Whether it would be a usable spare, were its seat given up."""
        suspect = self.conditions.get(host) is Condition.SUSPECT
        held_against = (self.departing, self.failing, self.slow)
        return self.is_fit(host) or (suspect and not any(host in t for t in held_against))

    def usable_spares(self) -> Iterator[int]:
        """Spares about which nothing bad is known, longest waiting first."""
        return (host for host in self.spares if self.is_fit(host))

    def num_usable(self) -> int:
        """How many those are: counted by looking at the few about which something is known."""
        doubtful = {*self.conditions, *self.departing, *self.failing, *self.slow}
        return len(self.spares) - sum(host in self.spares for host in doubtful)

    def fill(self, seats: list[int] | None = None) -> tuple[tuple[int, int], ...]:
        """Seat spares on every vacant seat, or on those named; (seat, host) pairs."""
        wanted = self.vacant if seats is None else seats
        pairs = tuple(zip(wanted, self.usable_spares(), strict=False))
        for seat, host in pairs:
            self._sit(seat, host)
            self.seat_of[host] = seat
            del self.spares[host]
        self._spares_print = None
        filled = {seat for seat, _ in pairs}
        if filled:
            self.vacant = [seat for seat in self.vacant if seat not in filled]
            self._touch()
        return pairs

    def clear(self, seats: Iterable[int]) -> None:
        """Their hosts stand by; the seats are vacant."""
        for seat in seats:
            host = self.seats[seat]
            if self.seat_of.get(host) == seat:
                del self.seat_of[host]
                self.spares[host] = None
                self.moved.setdefault(host, seat)
                if self.conditions.get(host) is Condition.SUSPECT:
                    # it was its process that ended; no gang will clear the host here
                    del self.conditions[host]
                insort(self.vacant, seat)
        self._spares_print = None
        self._touch()

    def resize(self, num_seats: int) -> bool:
        """So many seats from now on, lowest first; the hosts of the others stand by."""
        have = len(self.seats)
        if num_seats == have:
            return False
        if num_seats < have:
            self.clear(range(num_seats, have))
            self.vacant = [seat for seat in self.vacant if seat < num_seats]
            if self._seats_sum is not None:
                gone = enumerate(self.seats[num_seats:], num_seats)
                self._seats_sum -= sum(weight(seat, host) for seat, host in gone)
            del self.seats[num_seats:]
        else:
            more = range(have, num_seats)
            self.seats += [NOBODY] * len(more)
            self.vacant += more
            if self._seats_sum is not None:
                self._seats_sum += sum(weight(seat, NOBODY) for seat in more)
        self._hosts = None
        self._touch()
        return True

    def _sit(self, seat: int, host: int) -> None:
        if self._seats_sum is not None:
            self._seats_sum += weight(seat, host) - weight(seat, self.seats[seat])
        self.seats[seat] = host
        self._reseated.append((seat, host))

    def _touch(self) -> None:
        self._print = None

    def fingerprint(self) -> bytes:
        """A digest of all of it, cheap while nothing changes."""
        if self._print is None:
            parts = [repr(self._known()).encode(), *self._many()]
            lengths = array("q", map(len, parts)).tobytes()
            self._print = hashlib.sha256(lengths + b"".join(parts)).digest()
        return self._print

    def _known(self) -> tuple[object, ...]:
        """Tables that are empty nearly always; in their order where it decides who goes first."""
        return (
            self.num_seats,
            self.num_copied,
            self.vacant,
            self.lost_seats and sorted(self.lost_seats),
            self.uncopied and sorted(self.uncopied),
            [(host, int(known)) for host, known in sorted(self.conditions.items())],
            self.casualties and list(self.casualties.items()),
            self.enquiries and list(self.enquiries.items()),
            self.departing and list(self.departing.items()),
            self.failing and list(self.failing.items()),
            self.slow and list(self.slow.items()),
            self.cuts and sorted(self.cuts.items()),
            self.accused and sorted(self.accused.items()),
            self.excused and sorted(self.excused),
            self.moved and sorted(self.moved.items()),
        )

    def _many(self) -> tuple[bytes, ...]:
        """Who sits where, who stands by and who is away, from sums and texts that are kept up."""
        if self._seats_sum is None:
            self._seats_sum = sum(weight(seat, host) for seat, host in enumerate(self.seats))
        if self._spares_print is None:
            self._spares_print = array("q", self.spares).tobytes()
        seats = self._seats_sum % MODULUS, len(self.seats)
        sums = repr((*seats, self.away.total(), self.revocable.total()))
        return (sums.encode(), self._spares_print)


#: The host of a seat that was just added.
NOBODY = -1
