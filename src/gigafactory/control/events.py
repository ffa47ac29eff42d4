"""What the controller can be told. Observations only: no event is an order to recover.

Time enters the controller nowhere else than in ``at_s`` (seconds since the campaign began).
An event about the gang carries the generation it was observed in; stale ones are ignored
and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gigafactory.control.actions import Token


class Exit(StrEnum):
    """How a rank's process ended."""

    KILLED = "killed"
    """By a signal: the host may be well."""
    ERROR = "error"
    """An exception of its own; ``signature`` says which."""
    CLEAN = "clean"
    """Status 0 before the job was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something was observed at ``at_s``."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched(Event):
    """The allocation exists: hosts to train on, spares that stand by, where to begin."""

    hosts: tuple[int, ...]
    spares: tuple[int, ...] = ()
    committed_step: int | None = None
    num_steps: int
    generation: int = 0
    """The newest generation an earlier driver of this campaign used; fencing goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked(Event):
    """Time passed; answers a WakeAt, and harmless when it comes unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsDied(Event):
    """Explicit evidence (Xid, power off, kernel, scheduler) that these hosts are lost."""

    hosts: tuple[int, ...]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUnreachable(Event):
    """Heartbeats stopped; nothing is known about the host itself."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReachable(Event):
    """Heartbeats are back."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSpoke(Event):
    """A second witness (BMC, scheduler, switch) answered a Probe."""

    host: int
    alive: bool
    token: Token | None = None
    """Of the ProbeHost it answers, where that is known; an outdated answer is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSlow(Event):
    """The host's steps take ``slowdown`` times its peers'; 1.0 takes the remark back."""

    host: int
    slowdown: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRepaired(Event):
    """A host passed acceptance and stands by as a spare."""

    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceAnnounced(Event):
    """The host will be taken at ``by_s``."""

    host: int
    by_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RankExited(Event):
    """A process of the gang ended by itself."""

    generation: int
    host: int
    exit: Exit
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GangReady(Event):
    """Every rank joined, the checkpoint is restored, training goes on after ``step``."""

    generation: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GangStopped(Event):
    """No process of this generation is left."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsDone(Event):
    """Training reached ``step`` (cumulative); values finite, replicas in agreement.

    A checkpoint counts only when its step was reported here as good: report steps first.
    """

    generation: int
    step: int
    finite: bool = True
    replicas_agree: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointCommitted(Event):
    """The checkpoint of ``step`` is complete and verified."""

    generation: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLost(Event):
    """The checkpoint of ``step`` is gone or fails its verification: never restore it."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HangSuspected(Event):
    """A collective timed out; ``hosts`` are the smallest parallel group that fell silent."""

    generation: int
    hosts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionFound(Event):
    """A replay localised silent corruption to ``host``; states after ``clean_step`` are bad."""

    generation: int
    host: int
    clean_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFailed(Event):
    """An action ended without effect."""

    token: Token
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """A person wants the job to stop (Ctrl-C, cancel); said twice: without a last checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequested(Event):
    """A person removed the cause of a HOLD (or accepts its price) and says go on."""


#: Every kind of event.
EVENTS = (
    Launched,
    Ticked,
    HostsDied,
    HostUnreachable,
    HostReachable,
    WitnessSpoke,
    HostSlow,
    HostRepaired,
    MaintenanceAnnounced,
    RankExited,
    GangReady,
    GangStopped,
    StepsDone,
    CheckpointCommitted,
    CheckpointLost,
    HangSuspected,
    CorruptionFound,
    ActionFailed,
    StopRequested,
    ResumeRequested,
)
