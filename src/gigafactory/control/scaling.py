"""The brain of a fleet that serves: how many replicas there should be, and what to do about it.

Sans-IO like the controller of a campaign: events in, actions out, the same for the same events,
and no sequence of events raises. Its goal is a number of replicas a role; whatever happens (a
replica dies, comes late, is no longer needed), the same few lines compare what is with what should
be:

- what is needed is the demand expected when a replica ordered now would answer, by level and trend
  (Holt 1957), with headroom, over what one replica can bear;
- where too many requests come late all the same, replicas are believed to bear less, until they
  are on time again;
- nothing is given up that was needed within the cooldown, so that flapping is bounded;
- a replica that drains is called back before a new one is ordered; what has not yet started is
  given up first, then the youngest.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum

from gigafactory.control.batching import ServingEvent
from gigafactory.describe.serve import Role

#: Weight of the newest look in level and trend.
_LEVEL, _TREND = 0.3, 0.1
#: Weight of the newest look in the share of late requests.
_SEEN = 0.1
#: Belief in a replica's capacity: how fast it falls while requests are late, and comes back.
_LATE, _ON_TIME, _MOST_DOUBT = 1.01, 0.995, 2.0


class Phase(StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    """Takes nothing new, ends what it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """The replicas of one role."""

    role: Role
    num_gpus: int
    requests_per_s: float
    """What one of them bears within the limits."""
    min_replicas: int = 1
    fixed_replicas: int | None = None
    """So many, whatever the demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """What the brain goes by."""

    roles: tuple[RoleRule, ...]
    headroom: float = 0.0
    lead_s: float = 0.0
    """From an order until it helps."""
    cooldown_s: float = 0.0
    late_share: float = 1.0
    """So many may be late."""

    def __post_init__(self) -> None:
        wrong = [rule.role.value for rule in self.roles if not rule.requests_per_s > 0]
        if wrong or not self.roles:
            raise ValueError(f"a replica must bear requests: {', '.join(wrong) or 'no role'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOpened(ServingEvent):
    """The fleet opens with ``requests_per_s`` and may have so many GPUs."""

    requests_per_s: float
    num_gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSeen(ServingEvent):
    """What came since the last look, and which share of what each role did broke its limit."""

    requests_per_s: float
    late_shares: tuple[tuple[Role, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReady(ServingEvent):
    """Its weights are loaded."""

    replica: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLost(ServingEvent):
    """It died, in whatever phase."""

    replica: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaEmpty(ServingEvent):
    """It drained, and the last of its answers ended."""

    replica: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSeen(ServingEvent):
    """So many GPUs are there for the fleet, used or not (hosts broke or came back)."""

    num_gpus: int


ScalingEvent = ServeOpened | LoadSeen | ReplicaReady | ReplicaLost | ReplicaEmpty | RoomSeen


@dataclass(frozen=True, slots=True)
class StartReplica:
    """Order a host and load the weights."""

    replica: int
    role: Role


@dataclass(frozen=True, slots=True)
class TakeRequests:
    """``replica`` takes requests, for the first time or again."""

    replica: int


@dataclass(frozen=True, slots=True)
class DrainReplica:
    """``replica`` takes nothing new; say when it is empty."""

    replica: int


@dataclass(frozen=True, slots=True)
class StopReplica:
    """Give the host back."""

    replica: int


ScalingAction = StartReplica | TakeRequests | DrainReplica | StopReplica


@dataclass(slots=True)
class _Replica:
    role: Role
    num_gpus: int
    phase: Phase = Phase.STARTING


@dataclass(slots=True)
class _Forecast:
    """Level and trend of the demand, as Holt smooths them."""

    level: float = 0.0
    trend_per_s: float = 0.0
    at_s: float | None = None

    def see(self, rate: float, *, at_s: float) -> None:
        passed_s = at_s - self.at_s if self.at_s is not None else 0.0
        if self.at_s is None:
            self.level = rate
        elif passed_s > 0:
            expected = self.level + self.trend_per_s * passed_s
            level = expected + _LEVEL * (rate - expected)
            self.trend_per_s += _TREND * ((level - self.level) / passed_s - self.trend_per_s)
            self.level = level
        self.at_s = at_s

    def after(self, wait_s: float) -> float:
        return max(0.0, self.level + max(0.0, self.trend_per_s) * wait_s)


@dataclass(slots=True)
class ServeController:
    """How many replicas there should be; ``handle`` is the only door in."""

    rules: ScalingRules
    num_gpus: int = 0
    """There are for the fleet."""
    _replicas: dict[int, _Replica] = field(default_factory=dict)
    _forecast: _Forecast = field(default_factory=_Forecast)
    _needed: dict[Role, deque[tuple[float, int]]] = field(default_factory=dict)
    """When so many were needed, within the cooldown."""
    _late: dict[Role, float] = field(default_factory=dict)
    _doubt: dict[Role, float] = field(default_factory=dict)
    _count: Counter[tuple[Role, Phase]] = field(default_factory=Counter)
    _num_gpus_used: int = 0
    _num_ordered: int = 0

    def phase(self, replica: int) -> Phase | None:
        """Where ``replica`` is in its life; None: it is over, or never was."""
        known = self._replicas.get(replica)
        return known.phase if known else None

    def num_replicas(self, role: Role, *phases: Phase) -> int:
        """Of ``role``, in one of ``phases``."""
        return sum(self._count[role, phase] for phase in phases)

    @property
    def state_hash(self) -> str:
        """Of all that decides what comes next."""
        needed = sorted((role.value, *map(tuple, seen)) for role, seen in self._needed.items())
        forecast = (self._forecast.level, self._forecast.trend_per_s, self._forecast.at_s)
        beliefs = (self._late, self._doubt)
        doubts = [sorted((role.value, x) for role, x in each.items()) for each in beliefs]
        replicas = [(n, r.role.value, r.phase.value) for n, r in self._replicas.items()]
        state = (self.num_gpus, replicas, needed, forecast, doubts, self._num_ordered)
        return hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()

    def handle(self, event: ScalingEvent) -> tuple[ScalingAction, ...]:
        """Take note of ``event``; what is to be done about it, in order."""
        actions: list[ScalingAction] = []
        if isinstance(event, ServeOpened):
            self.num_gpus = event.num_gpus
            self._forecast.see(event.requests_per_s, at_s=event.at_s)
        elif isinstance(event, LoadSeen):
            self._look(event)
        elif isinstance(event, RoomSeen):
            self.num_gpus = event.num_gpus
        elif isinstance(event, ReplicaLost):
            self._forget(event.replica)
        elif isinstance(event, ReplicaReady):
            actions += self._ready(event.replica)
        elif isinstance(event, ReplicaEmpty):
            actions += self._empty(event.replica)
        for rule in self.rules.roles:
            actions += self._reconcile(rule, at_s=event.at_s)
        return tuple(actions)

    def _look(self, event: LoadSeen) -> None:
        self._forecast.see(event.requests_per_s, at_s=event.at_s)
        for role, share in event.late_shares:
            seen = self._late.get(role, 0.0)
            self._late[role] = seen + _SEEN * (share - seen)
            is_late = self._late[role] > self.rules.late_share
            doubt = self._doubt.get(role, 1.0) * (_LATE if is_late else _ON_TIME)
            self._doubt[role] = min(max(doubt, 1.0), _MOST_DOUBT)

    def _turn(self, replica: _Replica, phase: Phase) -> None:
        self._count[replica.role, replica.phase] -= 1
        replica.phase = phase
        self._count[replica.role, phase] += 1

    def _forget(self, number: int) -> None:
        replica = self._replicas.pop(number, None)
        if replica is not None:
            self._count[replica.role, replica.phase] -= 1
            self._num_gpus_used -= replica.num_gpus

    def _ready(self, replica: int) -> list[ScalingAction]:
        known = self._replicas.get(replica)
        if known is None or known.phase is not Phase.STARTING:
            return []
        self._turn(known, Phase.SERVING)
        return [TakeRequests(replica)]

    def _empty(self, replica: int) -> list[ScalingAction]:
        known = self._replicas.get(replica)
        if known is None or known.phase is not Phase.DRAINING:
            return []
        self._forget(replica)
        return [StopReplica(replica)]

    def _reconcile(self, rule: RoleRule, *, at_s: float) -> list[ScalingAction]:
        wanted = self._wanted(rule, at_s=at_s)
        have = self.num_replicas(rule.role, Phase.STARTING, Phase.SERVING)
        if have < wanted:
            return self._more(rule, wanted - have)
        return self._fewer(rule, have - wanted)

    def _wanted(self, rule: RoleRule, *, at_s: float) -> int:
        if rule.fixed_replicas is not None:
            return rule.fixed_replicas
        rules = self.rules
        expected = self._forecast.after(rules.lead_s) * (1 + rules.headroom)
        expected *= self._doubt.get(rule.role, 1.0)
        now = max(rule.min_replicas, math.ceil(expected / rule.requests_per_s))
        seen = self._needed.setdefault(rule.role, deque())
        while seen and (seen[0][0] < at_s - rules.cooldown_s):
            seen.popleft()
        while seen and seen[-1][1] <= now:
            seen.pop()
        seen.append((at_s, now))
        return seen[0][1]

    def _more(self, rule: RoleRule, count: int) -> list[ScalingAction]:
        actions: list[ScalingAction] = []
        for number in self._in(rule.role, Phase.DRAINING)[:count]:
            self._turn(self._replicas[number], Phase.SERVING)
            actions.append(TakeRequests(number))
        room = max(0, self.num_gpus - self._num_gpus_used) // rule.num_gpus
        for _ in range(min(count - len(actions), room)):
            number, self._num_ordered = self._num_ordered, self._num_ordered + 1
            self._replicas[number] = _Replica(rule.role, rule.num_gpus)
            self._count[rule.role, Phase.STARTING] += 1
            self._num_gpus_used += rule.num_gpus
            actions.append(StartReplica(number, rule.role))
        return actions

    def _fewer(self, rule: RoleRule, count: int) -> list[ScalingAction]:
        if not count:
            return []
        starting = self._in(rule.role, Phase.STARTING)[::-1][:count]
        serving = self._in(rule.role, Phase.SERVING)[::-1][: count - len(starting)]
        for number in starting:
            self._forget(number)
        for number in serving:
            self._turn(self._replicas[number], Phase.DRAINING)
        return [*map(StopReplica, starting), *map(DrainReplica, serving)]

    def _in(self, role: Role, phase: Phase) -> list[int]:
        """Those of ``role`` in ``phase``, the eldest first."""
        if not self._count[role, phase]:
            return []
        return [n for n, r in self._replicas.items() if r.role is role and r.phase is phase]
