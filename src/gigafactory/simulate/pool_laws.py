"""What must never happen to a serving pool that lends hosts, whatever breaks.

`PoolLaws` sees every event that reaches the pool's brain, every action it asks for, and who
computes. It keeps its own account of the loans, written from the rules and not from the brain.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Set
from enum import StrEnum

from gigafactory.control.actions import Action, Token
from gigafactory.control.events import Event
from gigafactory.control.lending import (
    DemandSeen,
    HostBack,
    HostLost,
    Lend,
    LendingConfig,
    LendingController,
    PoolOpened,
    Post,
    Recall,
    TrainingReleased,
)
from gigafactory.simulate.laws import Violation


class PoolLaw(StrEnum):
    """One sentence each; `Violation.words` says who broke it and how."""

    ONE_PLACE = "every host of the pool is in exactly one place"
    NOT_TWICE = "no host serves or loads while it computes for training"
    SERVICE_FIRST = "a loan leaves the minimum, and what the demand of the moment needs"
    LOANS_ARE_WHOLE = "whole replicas that serve are lent, and nothing that is lent already"
    RECALLS_ARE_OF_LOANS = "only what is lent is recalled, with the notice that was promised"
    POOL_TOKENS_RISE = "a new action of the pool carries a higher token than all before it"
    FLAPPING_BOUNDED = "loans keep a cool-down from each other and from the last recall"
    SHORTAGE_RECALLS = "while too few serve, everything lent that would help is on recall"
    BACK_IN_TIME = "no host computes for training after the time it was recalled for"
    RECALLS_END = "once faults stop, every recalled host comes back within a computed time"
    POOL_SAME_AGAIN = "the events fed to a new brain of the pool give the same actions"


_GONE = (Post.LENT, Post.RECALLED)


def hosts_of(event: Event) -> tuple[int, ...]:
    """Hosts that an event of the pool is about."""
    match event:
        case HostLost(host=host) | HostBack(host=host):
            return (host,)
        case PoolOpened(hosts=hosts) | TrainingReleased(hosts=hosts):
            return hosts
    return ()


class PoolLaws:
    """Observes one pool; ``broken`` holds what it found, first things first."""

    def __init__(
        self,
        brain: LendingController,
        *,
        hosts: frozenset[int],
        computing: Callable[[], Set[int]],
        now_s: Callable[[], float],
    ) -> None:
        """``computing``: the hosts whose processes take part in a step at this moment."""
        self.broken: list[Violation] = []
        self.turns: list[tuple[Event, list[Action]]] = []
        self.num_loans = self.num_recalls = 0
        self._brain = brain
        self._config: LendingConfig = brain.config
        self._hosts = hosts
        self._computing = computing
        self._now_s = now_s
        self._clock_s = 0.0
        """What the brain takes for the time."""
        self._lent: dict[int, float] = {}
        """Host -> when it was recalled for; inf: it is not."""
        self._due_s: dict[int, float] = {}
        """Host -> when it was first to be back from this loan."""
        self._lent_s: dict[int, float] = {}
        """When a host was lent last."""
        self._twice_s: dict[int, float] = {}
        """Since when hosts serve or load that compute."""
        self._rate_per_s = 0.0
        self._token: Token | None = None
        self._quiet_from_s = 0.0
        """No loan before."""

    def heard(self, event: Event, actions: list[Action]) -> None:
        """One turn of the brain."""
        self.turns.append((event, actions))
        self._clock_s = max(self._clock_s, event.at_s)
        self._take_in(event)
        for action in actions:
            if self._token is not None and action.token <= self._token:
                self._breach(PoolLaw.POOL_TOKENS_RISE, f"{action.token} after {self._token}")
            self._token = action.token
            if isinstance(action, Lend):
                self._check_loan(action)
            elif isinstance(action, Recall):
                self._check_recall(action)
        if isinstance(event, DemandSeen):
            # whole sweeps only now and then: a great recall brings hosts back one by one
            self._check_places()
            computing = self._computing() & self._hosts
            self._twice_s = {h: s for h, s in self._twice_s.items() if h in computing}
            self._check_training(computing)
            self._check_shortage()
        else:
            self._check_named(hosts_of(event))

    def end(self, *, quiet_s: float) -> None:
        """Nothing broke since ``quiet_s``, and training had time to let go."""
        late = [host for host, by_s in self._due_s.items() if by_s < quiet_s]
        if late:
            self._breach(PoolLaw.RECALLS_END, f"host {late[0]} ({len(late)} in all) is still away")
        again = LendingController(self._config)
        if any(again.handle(event) != actions for event, actions in self.turns):
            self._breach(PoolLaw.POOL_SAME_AGAIN, "other actions")
        elif again.state_hash() != self._brain.state_hash():
            self._breach(PoolLaw.POOL_SAME_AGAIN, "the states differ at the end")

    def _breach(self, law: PoolLaw, words: str) -> None:
        self.broken.append(Violation(law, self._now_s(), words))

    def _take_in(self, event: Event) -> None:
        match event:
            case DemandSeen(requests_per_s=rate):
                self._rate_per_s = rate
            case HostLost(host=host) | HostBack(host=host):
                self._end_loan(host, event)
            case TrainingReleased(hosts=hosts):
                for host in hosts:
                    self._end_loan(host, event)

    def _end_loan(self, host: int, event: Event) -> None:
        """An old word, told again, is not about the loan of today."""
        if event.at_s >= self._lent_s.get(host, -math.inf):
            self._lent.pop(host, None)
            self._due_s.pop(host, None)

    def _num_needed(self) -> int:
        """Hosts for the demand that was seen last, headroom included."""
        asked = self._rate_per_s * (1.0 + self._config.headroom)
        rates, size = self._config.rates_per_s, self._config.replica_hosts
        num = bisect_left(rates, asked)
        return max(self._config.min_hosts, num * size)

    def _check_loan(self, action: Lend) -> None:
        self.num_loans += 1
        num_serving = self._brain.num_in(Post.SERVING)
        if num_serving < self._num_needed():
            words = f"{num_serving} serve on, {self._num_needed()} are needed"
            self._breach(PoolLaw.SERVICE_FIRST, words)
        wrong = self._lent.keys() & action.hosts or set(action.hosts) - self._hosts
        if wrong or len(action.hosts) % self._config.replica_hosts or not action.hosts:
            self._breach(PoolLaw.LOANS_ARE_WHOLE, f"hosts {action.hosts}")
        if self._clock_s < self._quiet_from_s:
            words = f"{self._quiet_from_s - self._clock_s:.0f} s too early"
            self._breach(PoolLaw.FLAPPING_BOUNDED, words)
        self._quiet_from_s = self._clock_s + self._config.cooldown_s
        self._lent |= dict.fromkeys(action.hosts, math.inf)
        self._lent_s |= dict.fromkeys(action.hosts, self._clock_s)

    def _check_recall(self, action: Recall) -> None:
        self.num_recalls += 1
        is_short = action.by_s < self._clock_s + self._config.notice_s - 1e-6
        if is_short or not self._lent.keys() >= set(action.hosts) or not action.hosts:
            self._breach(PoolLaw.RECALLS_ARE_OF_LOANS, f"hosts {action.hosts} by {action.by_s:.0f}")
        self._quiet_from_s = self._clock_s + self._config.cooldown_s
        self._lent |= dict.fromkeys(action.hosts, action.by_s)
        for host in action.hosts:
            # what is asked for again was due before
            self._due_s.setdefault(host, max(action.by_s, self._now_s()))

    def _check_places(self) -> None:
        brain = self._brain
        if sum(brain.num_in(post) for post in Post) != len(self._hosts):
            self._breach(PoolLaw.ONE_PLACE, f"{[(p.value, brain.num_in(p)) for p in Post]}")
        num_gone = sum(brain.num_in(post) for post in _GONE)
        wrong = [host for host in self._lent if brain.post(host) not in _GONE]
        if wrong or num_gone != len(self._lent):
            words = f"{num_gone} are gone and {len(self._lent)} lent, not so: {wrong}"
            self._breach(PoolLaw.ONE_PLACE, words)

    def _check_named(self, hosts: Iterable[int]) -> None:
        """Those that an event is about."""
        computing = self._computing()
        for host in self._hosts.intersection(hosts):
            is_gone = self._brain.post(host) in _GONE
            if is_gone != (host in self._lent):
                self._breach(PoolLaw.ONE_PLACE, f"host {host} is lent or not")
            if host in computing:
                self._check_training((host,))
            else:
                self._twice_s.pop(host, None)

    def _check_training(self, computing: Iterable[int]) -> None:
        """Whoever is taken out of a gang at this very moment is still in it."""
        brain, now_s = self._brain, self._now_s()
        for host in computing:
            if (post := brain.post(host)) in (Post.SERVING, Post.LOADING):
                if self._twice_s.setdefault(host, now_s) < now_s:
                    self._breach(PoolLaw.NOT_TWICE, f"host {host} is {post.value} and computes")
            else:
                self._twice_s.pop(host, None)
                if self._due_s.get(host, math.inf) < now_s - 1e-6:
                    self._breach(PoolLaw.BACK_IN_TIME, f"host {host} computes")

    def _check_shortage(self) -> None:
        brain = self._brain
        coming = brain.num_in(Post.SERVING) + brain.num_in(Post.LOADING)
        on_recall = [host for host, by_s in self._lent.items() if self._clock_s < by_s < math.inf]
        missing = self._num_needed() - coming - len(on_recall)
        if missing > 0 and len(on_recall) < len(self._lent):
            words = f"{missing} hosts too few, {len(self._lent) - len(on_recall)} not recalled"
            self._breach(PoolLaw.SHORTAGE_RECALLS, words)
