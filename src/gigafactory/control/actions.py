"""What the controller can ask for. An action is plain content with a fencing token.

It may be lost, doubled, late, or succeed without an answer; its end comes back as an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Token:
    """Fences an action: whoever executes it refuses tokens older than the newest seen.

    ``attempt`` counts every action of a campaign, so a token names exactly one action.
    """

    generation: int
    attempt: int


class HoldReason(StrEnum):
    """Why nothing happens; what lifts it stands behind each."""

    NO_SPARES = "no_spares"
    """Fewer healthy hosts than seats. Lifted by HostRepaired."""
    NO_WITNESS = "no_witness"
    """A host is silent and nobody confirms its death. Lifted by news of that host."""
    NO_PROGRESS = "no_progress"
    """Restarts without a new checkpoint. Lifted by a person (ResumeRequested)."""
    NO_CLEAN_CHECKPOINT = "no_clean_checkpoint"
    """Going on would throw everything away. Lifted by a person, who accepts that."""
    TOO_MANY_EVICTIONS = "too_many_evictions"
    """The hourly limit is used up. Lifted by time."""


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
    """By seat: the position is the rank of the host, and a survivor keeps its seat."""
    step: int | None
    seated: tuple[tuple[int, int], ...] | None = None
    """(seat, host) pairs that are new since the previous generation; None: it is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGang(Action):
    """End every process of the token's generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictHosts(Action):
    """Take the hosts out of the allocation and hand them to repair: one incident, one action."""

    hosts: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHost(Action):
    """Ask a second witness (BMC, scheduler, switch) about the host; WitnessSpoke answers."""

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

    why: HoldReason
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Action):
    """The campaign is over."""

    outcome: Outcome
    reason: str = ""


#: Every kind of action.
ACTIONS = (StartGang, StopGang, EvictHosts, ProbeHost, SaveNow, WakeAt, Hold, Finish)
