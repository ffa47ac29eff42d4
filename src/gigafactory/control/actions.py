"""What the controller can ask for. An action is plain content with a fencing token.

It may be lost, doubled, late, or succeed without an answer; its end comes back as an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Token:
    """Fences an action: whoever executes it refuses tokens older than the newest seen."""

    generation: int
    attempt: int


class Outcome(StrEnum):
    """How a campaign ends."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A request, fenced."""

    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGang(Action):
    """Start one generation of ranks on ``hosts``, restoring ``step`` (None: from nothing)."""

    hosts: tuple[int, ...]
    step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGang(Action):
    """End every process of the token's generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictHost(Action):
    """Take the host out of the allocation and hand it to repair."""

    host: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHost(Action):
    """Ask a second witness about the host."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveNow(Action):
    """Commit a checkpoint at the next step boundary (before a drain)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeAt(Action):
    """Send a Ticked no later than ``at_s``."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Action):
    """Nothing more happens until something changes; a person is told why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Action):
    """The campaign is over."""

    outcome: Outcome
    reason: str = ""
