"""The replicas of one role that are followed request by request.

They are the ones that have taken requests for longest. When one of them leaves, the next comes in
with an empty cache. Requests are routed among them by the real router, and computed by the real
scheduler.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gigafactory.control.batching import ServingLimits
from gigafactory.control.blocks import Key
from gigafactory.control.routing import Router
from gigafactory.describe.serve import Role
from gigafactory.simulate.serving.engine import Engine, Groups, Heard
from gigafactory.simulate.serving.step_times import StepTimes

#: (instant, order, whose, number of the schedule); a schedule that was replaced is passed over.
Due = tuple[int, int, "Follower", int]


@dataclass(slots=True)
class Follower:
    """One replica that is followed."""

    replica: int
    role: Role
    engine: Engine
    schedule: int = 0
    sends_until: int = 0
    """Its NICs move the caches of its prompts, one after the other."""


@dataclass(slots=True)
class Agenda:
    """When which engine's steps end, in one order."""

    heap: list[Due] = field(default_factory=list)
    _num: int = 0

    def put(self, who: Follower) -> None:
        """``who`` ends steps at its engine's ``end``, and not when it was to before."""
        who.schedule = schedule = who.schedule + 1
        end = who.engine.end
        if end is not None:
            self._num = num = self._num + 1
            heapq.heappush(self.heap, (end, num, who, schedule))


@dataclass(slots=True)
class Sample:
    """The followed replicas of a role."""

    role: Role
    num_replicas: int
    limits: ServingLimits
    times: StepTimes
    agenda: Agenda
    groups: Groups | None = None
    """Of a replica's ranks; None: all compute the same requests."""
    router: Router = field(default_factory=Router)
    followed: dict[int, Follower] = field(default_factory=dict)
    busy: int = 0
    """Picoseconds of computing of those that are no longer followed."""
    cached_tokens: int = 0
    """Found in their caches, likewise."""

    def match(self, serving: Iterable[int]) -> list[int]:
        """Follow the first of ``serving``; requests of those that left, in the order they came."""
        wanted: list[int] = []
        for number in serving:
            wanted.append(number)
            if len(wanted) == self.num_replicas:
                break
        left: list[int] = []
        for number in [n for n in self.followed if n not in wanted]:
            left += self.leave(number)
        for number in wanted:
            if number not in self.followed:
                engine = Engine(self.limits, times=self.times, groups=self.groups)
                self.followed[number] = Follower(number, self.role, engine)
                self.router.add(number)
        return sorted(left)

    def leave(self, number: int) -> list[int]:
        """Follow ``number`` no more; the requests that it had."""
        follower = self.followed.pop(number, None)
        if follower is None:
            return []
        self.router.remove(number)
        follower.schedule += 1
        self.busy += follower.engine.busy
        self.cached_tokens += follower.engine.num_cached_tokens
        return follower.engine.inside

    def ask(
        self,
        ident: int,
        *,
        conversation: int,
        at: int,
        prompt_tokens: int,
        answer_tokens: int,
        keys: Sequence[Key] = (),
        ready_tokens: int = 0,
    ) -> Follower | None:
        """Route a request, to whom; None where nobody takes requests."""
        number = self.router.route(conversation)
        if number is None:
            return None
        follower = self.followed[number]
        engine = follower.engine
        before = engine.end
        engine.arrive(
            ident,
            at=at,
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            keys=keys,
            ready_tokens=ready_tokens,
        )
        if engine.end != before:
            self.agenda.put(follower)
        return follower

    def finish(self, follower: Follower, at: int) -> Heard:
        """The steps of one of them end."""
        heard = follower.engine.finish(at)
        self.agenda.put(follower)
        for _ in heard.ended:
            self.router.ended(follower.replica)
        return heard

    def refused(self, follower: Follower) -> list[int]:
        """Whom its scheduler turned away when they came."""
        told, follower.engine.heard.refused = follower.engine.heard.refused, []
        for _ in told:
            self.router.ended(follower.replica)
        return told

    @property
    def computing(self) -> int:
        """Picoseconds of computing so far, steps under way left out."""
        return self.busy + sum(f.engine.busy for f in self.followed.values())

    @property
    def num_inside(self) -> int:
        """Requests that they have."""
        return sum(f.engine.num_inside for f in self.followed.values())
