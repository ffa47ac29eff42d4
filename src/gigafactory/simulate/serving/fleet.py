"""The whole fleet on virtual time: the real controller, every replica's phase, starts and failures.

Replicas are counted here and not computed: what their requests meet is the sample's affair
(`simulate.serving.sample`). Failures strike each host of each replica like a Poisson process; a
host that is lost comes back after a repair whose times are lognormal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np

from gigafactory.control.scaling import (
    DrainReplica,
    LoadSeen,
    ReplicaEmpty,
    ReplicaLost,
    ReplicaReady,
    RoomSeen,
    ScalingEvent,
    ServeController,
    ServeOpened,
    StartReplica,
    StopReplica,
)
from gigafactory.cost.reliability import lognormal_shape
from gigafactory.describe.cluster import Cluster
from gigafactory.describe.exposure import interruptions_per_s, losses_per_host_s
from gigafactory.describe.faults import Faults
from gigafactory.describe.serve import Role
from gigafactory.simulate.rng import stream
from gigafactory.simulate.serving.clock import picoseconds, seconds


class Spent(StrEnum):
    """What a GPU-second of the fleet was spent on; every one is in exactly one of these."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    DEAD = "dead"
    """Broken, and nobody knows yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perils:
    """How often a replica dies, and how long a host is away."""

    deaths_per_s: float
    """Of a replica on one host."""
    lost_share: float
    """Of the deaths, those that send the host to repair."""
    repair: tuple[float, float]
    """Of the logarithm: mean and standard deviation."""


def perils_of(faults: Faults, *, cluster: Cluster) -> Perils:
    """Those of one host; the job's own hazard has no counterpart here."""
    stops = float(interruptions_per_s(faults, cluster=cluster, num_hosts=1)) - faults.job_rate_per_s
    lost = losses_per_host_s(faults, cluster=cluster)
    return Perils(
        deaths_per_s=stops,
        lost_share=min(1.0, lost / stops) if stops else 0.0,
        repair=lognormal_shape(faults.repair.median_s, mean_s=faults.repair.mean_s),
    )


@dataclass(slots=True)
class _Member:
    role: Role
    num_gpus: int
    spent: Spent
    since: int


#: Tells the loop to call again at an instant.
Alarm = Callable[[int, Callable[[int], None]], None]


@dataclass(slots=True)
class WholeFleet:
    """Every replica there is; the sample is told who takes requests."""

    controller: ServeController
    alarm: Alarm
    perils: Perils
    cold_start: int
    drain: int
    detect: int
    seed: int
    num_gpus: int
    """Of the cluster."""
    gpus: dict[Role, int]
    host_gpus: int
    members: dict[int, _Member] = field(default_factory=dict)
    serving: dict[Role, dict[int, None]] = field(default_factory=dict)
    """Who takes requests, in the order of their numbers' beginning."""
    gpu_ps: dict[tuple[Role, Spent], int] = field(default_factory=dict)
    num_deaths: int = 0
    num_starts: int = 0
    num_gpus_used: int = 0
    most_gpus: int = 0
    on_death: Callable[[int, Role, int], None] | None = None
    """Told (replica, role, instant) before anybody else."""
    _num_away_gpus: int = 0
    _strikes: Iterator[tuple[int, float, float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self.serving = {role: {} for role in self.gpus}
        self._strikes = self._draw()

    def open(self, requests_per_s: float) -> None:
        """All that the opening demand needs is there and warm."""
        self.tell(ServeOpened(at_s=0.0, requests_per_s=requests_per_s, num_gpus=self.num_gpus), 0)
        for number in list(self.members):
            self.tell(ReplicaReady(at_s=0.0, replica=number), 0)
        self._next_strike()

    def look(
        self, at: int, *, requests_per_s: float, late_shares: tuple[tuple[Role, float], ...]
    ) -> None:
        """What came since the last look."""
        event = LoadSeen(at_s=seconds(at), requests_per_s=requests_per_s, late_shares=late_shares)
        self.tell(event, at)

    def tell(self, event: ScalingEvent, at: int) -> None:
        """Hand the controller an event, and do what it asks for."""
        for action in self.controller.handle(event):
            number = action.replica
            if isinstance(action, StartReplica):
                self._start(number, action.role, at)
            elif isinstance(action, DrainReplica):
                self._move(number, Spent.DRAINING, at)
                self.alarm(at + self.drain, partial(self._emptied, number))
            elif isinstance(action, StopReplica):
                self._leave(number, at)
            else:
                self._move(number, Spent.SERVING, at)
        self.most_gpus = max(self.most_gpus, self.num_gpus_used)

    def close(self, at: int) -> None:
        """The window is over; all time is accounted for."""
        for member in self.members.values():
            self._count(member, at)

    def reset(self, at: int) -> None:
        """The warm-up is over; what was counted is forgotten."""
        self.gpu_ps.clear()
        self.num_deaths = self.num_starts = 0
        self.most_gpus = self.num_gpus_used
        for member in self.members.values():
            member.since = at

    # ---- the life of a replica ----

    def _start(self, number: int, role: Role, at: int) -> None:
        self.members[number] = _Member(role, self.gpus[role], Spent.STARTING, at)
        self.num_starts += 1
        self.num_gpus_used += self.gpus[role]
        if at:
            self.alarm(at + self.cold_start, partial(self._started, number))

    def _started(self, number: int, at: int) -> None:
        if self._is(number, Spent.STARTING):
            self.tell(ReplicaReady(at_s=seconds(at), replica=number), at)

    def _emptied(self, number: int, at: int) -> None:
        member = self.members.get(number)
        # one that was called back, and drains again, has an alarm of its own
        if member and member.spent is Spent.DRAINING and at - member.since >= self.drain:
            self.tell(ReplicaEmpty(at_s=seconds(at), replica=number), at)

    def _is(self, number: int, spent: Spent) -> bool:
        return number in self.members and self.members[number].spent is spent

    def _move(self, number: int, spent: Spent, at: int) -> None:
        member = self.members.get(number)
        if member is None or member.spent is Spent.DEAD:
            return
        self._count(member, at)
        member.spent = spent
        if spent is Spent.SERVING:
            self.serving[member.role][number] = None
        else:
            self.serving[member.role].pop(number, None)

    def _leave(self, number: int, at: int) -> None:
        member = self.members.pop(number, None)
        if member is not None:
            self.num_gpus_used -= member.num_gpus
            self._count(member, at)
            self.serving[member.role].pop(number, None)

    def _count(self, member: _Member, at: int) -> None:
        key = (member.role, member.spent)
        spent = (at - member.since) * member.num_gpus
        self.gpu_ps[key] = self.gpu_ps.get(key, 0) + spent
        member.since = at

    # ---- what breaks ----

    def _draw(self) -> Iterator[tuple[int, float, float, float]]:
        """(instant, place, chance, repair) of strikes on as many replicas as there can be."""
        dice = stream("serve.faults", seed=self.seed)
        slots = self.num_gpus // min(gpus // self._hosts(gpus) for gpus in self.gpus.values())
        rate = self.perils.deaths_per_s * slots
        centre, sigma = self.perils.repair
        at_s = 0.0
        while rate > 0:
            at_s += float(dice.exponential(1 / rate))
            place, chance = float(dice.random()) * slots, float(dice.random())
            yield picoseconds(at_s), place, chance, float(np.exp(dice.normal(centre, sigma)))

    def _next_strike(self) -> None:
        strike = next(self._strikes, None)
        if strike is not None:
            self.alarm(strike[0], lambda at: self._strike(at, strike))

    def _strike(self, at: int, strike: tuple[int, float, float, float]) -> None:
        _, place, chance, repair_s = strike
        alive = [
            number
            for number, member in self.members.items()
            if member.spent is not Spent.DEAD
            for _ in range(self._hosts(member.num_gpus))
        ]
        if place < len(alive):
            self._die(
                alive[math.floor(place)], at, repair_s if chance < self.perils.lost_share else None
            )
        self._next_strike()

    def _hosts(self, num_gpus: int) -> int:
        """That a replica stands on; smaller ones have one each."""
        return -(-num_gpus // self.host_gpus)

    def _die(self, number: int, at: int, repair_s: float | None) -> None:
        member = self.members[number]
        self.num_deaths += 1
        if self.on_death:
            self.on_death(number, member.role, at)
        self._move(number, Spent.DEAD, at)
        if repair_s is not None:
            away = member.num_gpus // self._hosts(member.num_gpus)
            self._num_away_gpus += away
            back = at + picoseconds(repair_s)
            self.alarm(back, lambda then: self._repaired(away, then))
        self.alarm(at + self.detect, lambda then: self._missed(number, then))

    def _missed(self, number: int, at: int) -> None:
        self._leave(number, at)
        at_s = seconds(at)
        room = RoomSeen(at_s=at_s, num_gpus=self.num_gpus - self._num_away_gpus)
        self.tell(room, at)
        self.tell(ReplicaLost(at_s=at_s, replica=number), at)

    def _repaired(self, num_gpus: int, at: int) -> None:
        self._num_away_gpus -= num_gpus
        room = RoomSeen(at_s=seconds(at), num_gpus=self.num_gpus - self._num_away_gpus)
        self.tell(room, at)
