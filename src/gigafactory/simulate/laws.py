"""What must never happen, whatever breaks: the laws of the brain, checked while it works.

`Laws` sees every event that reaches the controller, every action it asks for, and the ground truth
that the controller cannot see. It keeps its own small account of what was told, written from the
rules and not from the controller, and notes each breach as a `Violation`. It decides nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig
from gigafactory.control.fence import Admission
from gigafactory.simulate.account import Account, Ring
from gigafactory.units import HOUR_S


class Law(StrEnum):
    """One sentence each; `Violation.words` says who broke it and how."""

    ONE_GENERATION = "a generation starts when the one before it is gone or fenced off"
    TOKENS_RISE = "a new action carries a higher token than all before it, and names it for ever"
    SEATS_ARE_HOSTS = "a gang starts on different hosts of the allocation, none of them lost"
    EVICTION_HAS_A_REASON = "a host is evicted when it is lost, or when somebody said so"
    HEALTHY_JOB_LIVES = "a healthy gang is not stopped because nothing is heard of it"
    NEWEST_GOOD_STEP = "a gang restores the newest checkpoint that is complete, good and there"
    EVICTIONS_BOUNDED = "incidents with evictions an hour stay within the limit"
    RESTARTS_BOUNDED = "unexplained restarts without progress stay within the limit"
    ACTIONS_BOUNDED = "the controller asks for no more than what it hears gives reason for"
    ONE_INCIDENT = "hosts lost together leave together"
    BUCKETS_ADD_UP = "every GPU-second of the allocation is in one bucket, under 1 % in other"
    SAME_AGAIN = "the book fed to a new controller gives the same actions"
    LIVES_ON = "once faults stop it runs again, or ends with a reason, within a computed time"


@dataclass(frozen=True, slots=True)
class Violation:
    """A law was broken."""

    law: StrEnum
    at_s: float
    words: str

    def text(self) -> str:
        """One line for people."""
        return f"{self.at_s:.1f} s: {self.law.name}: {self.law.value}; {self.words}"


class Truth(Protocol):
    """What is, whether or not anybody knows."""

    def is_fit(self, host: int) -> bool:
        """The host could train."""

    def trains(self, generation: int) -> bool:
        """The gang of this generation computes steps at this moment."""


#: After one of these about the gang, or about hosts in it, ending it has a cause.
_BAD_NEWS = (
    ev.HostsDied,
    ev.RankExited,
    ev.GangStopped,
    ev.HangSuspected,
    ev.CorruptionFound,
    ev.CheckpointLost,
    ev.ActionFailed,
    ev.LinksDown,
    ev.ReplicaLost,
    ev.StopRequested,
    ev.HostRepaired,
)
#: Evidence that explains why a gang ended; a start after it is no failed attempt.
_EXPLAINS = (
    ev.HostsDied,
    ev.CorruptionFound,
    ev.CheckpointLost,
    ev.MaintenanceAnnounced,
    ev.LinksDown,
    ev.HostFailing,
    ev.HostSlow,
    ev.HostRepaired,
    ev.StopRequested,
    ev.WitnessSpoke,
    ev.Replayed,
)
#: Requests for time, and what only a person reads.
_QUIET = (act.WakeAt, act.Hold, act.Finish)


class Laws:
    """Observes one campaign; ``broken`` holds what it found, first things first."""

    def __init__(self, config: ControlConfig, *, truth: Truth) -> None:
        self.broken: list[Violation] = []
        self._config = config
        self._truth = truth
        self._now_s = 0.0
        self._clock_s = 0.0
        """What the controller takes for the time: the latest that an event named."""
        self._account = Account()
        self._generation = 0
        self._seated: set[int] = set()
        self._seats: list[int] = []
        self._num_seats = 0
        self._out: set[int] = set()
        """Replicas that the others go on without."""
        self._newest_token: act.Token | None = None
        self._asked: dict[int, act.Action] = {}
        """Every action by its attempt."""
        self._num_stops = 0
        self._is_gone = True
        self._has_cause = False
        self._is_explained = True
        self._num_starts = 0
        self._evidence: dict[int, str] = {}
        self._accused: dict[int, int] = {}
        self._lost: set[int] = set()
        self._leaving: set[int] = set()
        self._announced: set[int] = set()
        self._incidents_s: deque[float] = deque()
        self._incident_until_s = -1.0
        self._replay: tuple[act.ReplaySteps, float] | None = None
        """The replay that is waited for, and until when."""
        self._hour = -1
        self._heard_by_hour: deque[int] = deque([0], maxlen=NEWS_LASTS_H)
        self._num_asked = 0

    def _breach(self, law: Law, words: str) -> None:
        self.broken.append(Violation(law, self._now_s, words))

    # -- what the wire shows -----------------------------------------------------------------

    def heard(self, event: ev.Event, actions: list[act.Action], *, now_s: float) -> None:
        """One turn of the controller."""
        self._now_s = now_s
        self._clock_s = max(self._clock_s, event.at_s)
        self._take_in(event)
        self._mind_replay(actions)
        self._bound_actions(event, actions)
        for action in actions:
            is_again = not self._is_new(action)
            self._check_token(action, event)
            match action:
                case act.StartGang():
                    self._check_start(action)
                case act.JoinReplica() if not is_again:
                    self._check_join(action)
                case act.DropReplicas() if not is_again:
                    self._check_drop(action)
                case act.StopGang():
                    self._check_stop(action)
                case act.EvictHosts():
                    # who is back may ask late for what was due when its predecessor died
                    is_late = is_again or isinstance(event, ev.Reattached)
                    self._check_eviction(action, is_again=is_late)
        if isinstance(event, ev.HostsDied):
            self._check_incident(event, actions)

    def reached(self, action: act.Action, admission: Admission, *, now_s: float) -> None:
        """An action came to its executor; the fence has judged it already."""

    # -- evidence ----------------------------------------------------------------------------

    def _take_in(self, event: ev.Event) -> None:
        generation = getattr(event, "generation", None)
        is_stale = generation is not None and generation != self._generation
        if is_stale and not isinstance(event, (ev.Launched, ev.CorruptionFound)):
            return
        if isinstance(event, ev.Replayed):
            if (replay := self._replay) is None or replay[0].token != event.token:
                return
            self._replay = None
            # a second replay comes after a first that differed: what it says, both say
            event = replace(event, differs=event.differs or replay[0].localise)
        self._account.take_in(event, seated=self._seated)
        if self._account.has_moved:
            self._account.has_moved, self._num_starts = False, 0
        if isinstance(event, _BAD_NEWS) or self._is_bad(event):
            self._has_cause = True
        if isinstance(event, _EXPLAINS):
            self._is_explained = True
        if isinstance(event, ev.GangStopped):
            self._is_gone = True
        if isinstance(event, ev.ResumeRequested):
            self._num_starts = 0
        if isinstance(event, ev.Launched):
            self._generation = max(event.generation, 0)
            self._num_seats = len(event.hosts)
        self._note_hosts(event)

    def _mind_replay(self, actions: list[act.Action]) -> None:
        """Which replay is waited for from now on, and until when."""
        if self._replay is not None and self._clock_s >= self._replay[1]:
            self._replay = None
        for action in actions:
            if isinstance(action, act.ReplaySteps) and self._is_new(action):
                self._replay = (action, self._clock_s + self._config.ladder.join_s)
            elif isinstance(action, act.StartGang) and self._is_new(action):
                self._replay = None

    @staticmethod
    def _is_bad(event: ev.Event) -> bool:
        if isinstance(event, ev.Replayed):
            return event.differs
        return isinstance(event, ev.StepsDone) and not (event.finite and event.replicas_agree)

    def _note_hosts(self, event: ev.Event) -> None:
        match event:
            case ev.HostsDied(hosts=hosts):
                self._lost |= set(hosts)
                self._evidence |= dict.fromkeys(hosts, "said to be lost")
            case ev.WitnessSpoke(host=host, alive=False):
                self._evidence[host] = "a witness says it is dead"
                self._has_cause = self._has_cause or host in self._seated
            case ev.LinksDown(hosts=hosts):
                self._evidence |= dict.fromkeys(hosts, "its links are down")
            case ev.MaintenanceAnnounced(host=host) | ev.HostFailing(host=host):
                self._evidence[host] = "it is to leave"
                self._leaving.add(host)
                if isinstance(event, ev.MaintenanceAnnounced):
                    self._announced.add(host)
            case ev.ReplicaReady(replica=replica):
                self._out.discard(replica)
                self._note_ring()
            case ev.HostSlow(host=host, slowdown=slowdown) if slowdown > 1.0:
                self._evidence[host] = "it is slow"
                self._leaving.add(host)
            case ev.CorruptionFound(host=host):
                self._evidence[host] = "it computes wrong values"
            case ev.Replayed(hosts=hosts):
                self._evidence |= dict.fromkeys(hosts, "a replay named it")
            case ev.HangSuspected(generation=generation):
                self._accuse(generation, _accused_by(event))
            case ev.HostRepaired(host=host):
                self._lost.discard(host)
                if host not in self._announced:
                    # an old word of repair takes back no announcement
                    self._evidence.pop(host, None)
                    self._leaving.discard(host)

    def _accuse(self, generation: int, hosts: set[int]) -> None:
        for host in hosts:
            if self._accused.get(host, generation) != generation:
                self._evidence[host] = "two generations hung at it"
            self._accused[host] = generation

    # -- what is asked for -------------------------------------------------------------------

    def _is_new(self, action: act.Action) -> bool:
        return self._newest_token is None or action.token > self._newest_token

    def _check_token(self, action: act.Action, event: ev.Event) -> None:
        """An eviction is asked for again when it was refused, anything after `Reattached`.

        A token below the newest that nobody saw is of an action over which a controller died
        before it was sent; its successor asks for it, and the number is free for nothing else.
        """
        token, known = action.token, self._asked.get(action.token.attempt)
        is_back = isinstance(event, ev.Reattached)
        if known is not None and not _is_same(action, known):
            self._breach(Law.TOKENS_RISE, f"{token} names {known} and {action}")
        elif not (is_back or self._is_new(action) or _is_refused(known)):
            self._breach(Law.TOKENS_RISE, f"{token} after {self._newest_token}")
        if self._is_new(action):
            self._newest_token = token
        self._asked[token.attempt] = action

    def _check_start(self, action: act.StartGang) -> None:
        if action.token.generation == self._generation:
            return  # asked for again after a crash
        if not self._is_gone and self._num_stops < self._config.max_stops:
            self._breach(
                Law.ONE_GENERATION,
                f"generation {action.token.generation} starts after {self._num_stops} requests "
                f"to stop {self._generation}",
            )
        self._check_seats(action)
        if action.tier is act.Tier.STORE and (fault := self._account.fault_of(action.step)):
            self._breach(Law.NEWEST_GOOD_STEP, fault)
        if action.tier is act.Tier.PEER:
            self._check_copies(action)
        if action.tier is act.Tier.LOCAL and (
            fault := self._account.fault_of_disks(action.step, hosts=action.hosts)
        ):
            self._breach(Law.NEWEST_GOOD_STEP, fault)
        self._count_start()
        self._generation = action.token.generation
        self._seats, self._seated = list(action.hosts), set(action.hosts)
        self._out.clear()
        self._account.start(action.step, generation=action.token.generation)
        self._note_ring()
        self._is_gone, self._num_stops = False, 0
        self._has_cause = self._is_explained = False

    def _check_copies(self, action: act.StartGang) -> None:
        if fault := self._account.fault_of_copy(action.step):
            self._breach(Law.NEWEST_GOOD_STEP, fault)

    def _note_ring(self) -> None:
        prices = self._config.prices
        self._account.ring = Ring.of(
            self._seats, stride=prices.peer_stride, out=self._out,
            replica_hosts=prices.replica_hosts,
        )  # fmt: skip

    def _check_join(self, action: act.JoinReplica) -> None:
        """A replica is filled while the others train."""
        for seat, host in action.seated:
            self._seats[seat] = host
            if host in self._lost:
                self._breach(Law.SEATS_ARE_HOSTS, f"host {host} is known to be lost")
        self._seated = set(self._seats)

    def _check_drop(self, action: act.DropReplicas) -> None:
        is_leaving = not self._leaving.isdisjoint(self._seated)
        if not (self._has_cause or is_leaving):
            words = f"replicas {action.replicas} of generation {self._generation} were training"
            self._breach(Law.HEALTHY_JOB_LIVES, words)
        self._out |= set(action.replicas)
        self._note_ring()

    def _count_start(self) -> None:
        self._num_starts = 0 if self._is_explained else self._num_starts + 1
        if self._num_starts > self._config.max_restarts_without_progress + 1:
            self._breach(Law.RESTARTS_BOUNDED, f"{self._num_starts} in succession")

    def _check_seats(self, action: act.StartGang) -> None:
        if len(set(action.hosts)) < len(action.hosts):
            self._breach(Law.SEATS_ARE_HOSTS, "a host has two seats")
        if lost := self._lost.intersection(action.hosts):
            self._breach(Law.SEATS_ARE_HOSTS, f"host {min(lost)} is known to be lost")

    def _check_stop(self, action: act.StopGang) -> None:
        self._num_stops += 1
        is_leaving = not self._leaving.isdisjoint(self._seated)
        # fewer replicas train than could: the gang is stopped to take the others in
        is_leaving = is_leaving or len(self._seats) < self._num_seats
        if self._has_cause or is_leaving or action.token.generation != self._generation:
            return
        if self._truth.trains(self._generation):
            self._breach(Law.HEALTHY_JOB_LIVES, f"generation {self._generation} was training")

    def _check_eviction(self, action: act.EvictHosts, *, is_again: bool) -> None:
        for host in action.hosts:
            if host not in self._evidence and self._truth.is_fit(host):
                self._breach(Law.EVICTION_HAS_A_REASON, f"host {host} ({action.reason})")
        if not self._seated.isdisjoint(action.hosts):
            self._has_cause = self._is_explained = True
        self._account.lose(set(action.hosts))
        if not is_again and not self._announced.issuperset(action.hosts):
            self._count_incident()
        self._announced.difference_update(action.hosts)
        self._leaving.difference_update(action.hosts)

    def _count_incident(self) -> None:
        incidents_s, now_s = self._incidents_s, self._clock_s
        # it may have begun as much earlier as it may last, with a host that was to leave anyway
        within_s = HOUR_S - self._config.ladder.heartbeat_s
        while incidents_s and incidents_s[0] + within_s <= now_s:
            incidents_s.popleft()
        if now_s > self._incident_until_s:
            incidents_s.append(now_s)
        # whatever follows within a heartbeat belongs to it, as often as that happens
        self._incident_until_s = now_s + self._config.ladder.heartbeat_s
        if len(incidents_s) > self._config.max_evictions_per_h:
            self._breach(Law.EVICTIONS_BOUNDED, f"{len(incidents_s)} within the hour")

    def _check_incident(self, event: ev.HostsDied, actions: list[act.Action]) -> None:
        hosts = set(event.hosts)
        num = sum(isinstance(a, act.EvictHosts) and not hosts.isdisjoint(a.hosts) for a in actions)
        if num > 1:
            self._breach(Law.ONE_INCIDENT, f"{len(hosts)} hosts lost together, {num} evictions")

    def _bound_actions(self, event: ev.Event, actions: list[act.Action]) -> None:
        hour = int(self._now_s // HOUR_S)
        if hour != self._hour:
            self._heard_by_hour.extend([0] * min(hour - self._hour, NEWS_LASTS_H))
            self._hour, self._num_asked = hour, 0
        if not isinstance(event, (ev.Ticked, ev.StepsDone)):
            self._heard_by_hour[-1] += _num_named(event) + 1
        self._num_asked += sum(not isinstance(a, _QUIET) for a in actions)
        limit = MAX_ACTIONS_PER_H + MAX_ACTIONS_PER_EVENT * sum(self._heard_by_hour)
        if self._num_asked > limit:
            self._breach(Law.ACTIONS_BOUNDED, f"{self._num_asked} within the hour, over {limit}")
            self._num_asked = 0


#: What deadlines alone may lead to within an hour, and what one piece of news may.
MAX_ACTIONS_PER_H = 240
MAX_ACTIONS_PER_EVENT = 8
#: A controller that was away acts on the news of before when it is back, on all of it at once.
NEWS_LASTS_H = 24


def _num_named(event: ev.Event) -> int:
    """Hosts that the controller may have to do something about."""
    if isinstance(event, ev.HangSuspected):
        return len(_accused_by(event))
    return len(getattr(event, "hosts", ()))


def _accused_by(event: ev.HangSuspected) -> set[int]:
    """Whom a hang gives reason to ask about.

    Those that are missed; where nobody is, the hosts of the smallest group in which somebody waits.
    """
    waiting = set(event.waiting)
    missed = {host for group in (event.hosts, *event.groups) for host in group} - waiting
    if missed or not event.groups:
        return missed
    least = min(map(len, event.groups))
    return {host for group in event.groups if len(group) == least for host in group}


def _is_refused(known: act.Action | None) -> bool:
    """What is asked for again after a refusal."""
    return isinstance(known, act.EvictHosts)


def _is_same(action: act.Action, known: act.Action) -> bool:
    """The same request; hosts that came back meanwhile are left out of an eviction."""
    if isinstance(action, act.EvictHosts) and isinstance(known, act.EvictHosts):
        is_part = set(action.hosts) <= set(known.hosts)
        return is_part and replace(action, hosts=known.hosts) == known
    return action == known
