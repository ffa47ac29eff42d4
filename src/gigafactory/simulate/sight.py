"""What is seen of a hang: never who hung, but who waits, and in which collectives.

A rank that stops is waited for in every parallel group of its own, and those who wait there are
waited for in theirs; so in the end nearly everybody waits. What comes out first, and is told, are
the groups of the culprit itself, nearest first: the ranks beside it on its host, its replica, and
its peers in the other replicas. Who of them waits is a matter of what the sensor can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gigafactory.describe.layout import Layout
from gigafactory.simulate.gang import Gang


class Sight(StrEnum):
    """How much a sensor tells apart."""

    SILENT = "silent"
    """The host fell silent: its own heartbeat hangs with it."""
    MISSED = "missed"
    """Every rank records what it waits for; the culprit's host is the one without a record."""
    CHAIN = "chain"
    """Other ranks of the culprit's host wait for it in a group of that host alone (TP)."""
    BLIND = "blind"
    """All hosts of its groups wait, the culprit's too, and none of these groups is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """What the sensor tells, as `control.events.HangSuspected` has it."""

    hosts: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    waiting: tuple[int, ...] = ()


def sight_of(layout: Layout | None) -> Sight:
    """Groups of one host are there where tensor parallelism is; else a record is missed."""
    return Sight.CHAIN if layout is not None and layout.tp > 1 else Sight.MISSED


def seen_of(gang: Gang, host: int, *, sight: Sight) -> Hang:
    """The hang of a member ``host`` as it is told. Replicas that are out wait for nobody."""
    if sight is Sight.SILENT:
        return Hang(hosts=(host,))
    groups: list[tuple[int, ...]] = [(host,)] if sight is Sight.CHAIN else []
    groups += [group for group in _groups(gang, host) if len(group) > 1 or not groups]
    known = dict.fromkeys(member for group in groups for member in group)
    if sight is Sight.MISSED:
        del known[host]
    return Hang(groups=tuple(groups), waiting=tuple(known))


def _groups(gang: Gang, host: int) -> tuple[tuple[int, ...], ...]:
    """(hosts of its replica, those on the same seat of every replica)."""
    seat, size = gang.seats.index(host), gang.replica_hosts or len(gang.seats)
    peers = (gang.seats[other] for other in range(seat % size, len(gang.seats), size))
    replica = (gang.seats[other] for other in gang.seats_of(seat // size))
    return tuple(replica), tuple(peer for peer in peers if peer in gang.members)
