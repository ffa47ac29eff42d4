"""The event kernel: a heap with a total order, so that a campaign has exactly one course.

Events come out by (time, priority, order of scheduling). Two events at one instant are ordered
by what they are, never by where they happened to lie in the heap; equal ones are served first
come, first served.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Generic, TypeVar

P = TypeVar("P")
#: What the twin schedules: something that happens when its time comes.
Happening = Callable[[], None]


class Priority(IntEnum):
    """Who goes first at one instant: the world changes, is observed, answers, and time ticks."""

    PHYSICS = 0
    """Ground truth changes: a host dies, a step ends."""
    OBSERVATION = 1
    """A sensor reports."""
    ANSWER = 2
    """An action the controller asked for has ended."""
    TICK = 3
    """A wake-up; by now everything of this instant is known."""
    END = 4
    """The campaign's time is over; what happens at the last instant still counts."""


class Kernel(Generic[P]):
    """A clock and the payloads that wait for it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, int, P]] = []
        self._num_scheduled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, payload: P, *, at_s: float, priority: Priority) -> None:
        """Let ``payload`` come out at ``at_s``; ValueError where that is past or not a time."""
        if not at_s >= self.now_s:
            raise ValueError(f"{payload!r} at {at_s} s lies before now, {self.now_s} s")
        heapq.heappush(self._heap, (at_s, int(priority), self._num_scheduled, payload))
        self._num_scheduled += 1

    def after(self, payload: P, *, wait_s: float, priority: Priority) -> None:
        """Let ``payload`` come out ``wait_s`` from now."""
        self.schedule(payload, at_s=self.now_s + wait_s, priority=priority)

    def next(self) -> P:
        """Move the clock to the earliest payload and hand it out; IndexError when none waits."""
        at_s, _, _, payload = heapq.heappop(self._heap)
        self.now_s = at_s
        return payload
