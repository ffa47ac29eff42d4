"""What the controller can be told. Observations only: no event is an order to recover.

Time enters the controller nowhere else than in ``at_s`` (seconds since the campaign began).
An event about the gang carries the generation it was observed in; stale ones are ignored
and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gigafactory.control.actions import Tier, Token


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
class HostFailing(Event):
    """The host goes on and must soon be exchanged: a contained memory error, a disk, a fan."""

    host: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinksDown(Event):
    """Both ends say so: a link of each of these hosts is down (one cable, or a leaf with many)."""

    hosts: tuple[int, ...]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinksUp(Event):
    """The links of these hosts carry traffic again."""

    hosts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSeen(Event):
    """The checkpoint store takes ``slowdown`` times its usual time; inf: it does not answer."""

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
    incarnation: int = 0
    """Attempt of the JoinReplica that started the process; 0: it came with the gang."""


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
    peer_step: int | None = None
    """The newest good step of which every host's copy lies in a peer's memory."""
    local_step: int | None = None
    """The same for local disks."""
    lease_s: float = 0.0
    """The sensor watches the gang itself, and promises to speak again within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointCommitted(Event):
    """The checkpoint of ``step`` is complete and verified, in the store."""

    generation: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLost(Event):
    """The checkpoint of ``step`` is gone or fails its verification: never restore it."""

    step: int
    tier: Tier = Tier.STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class HangSuspected(Event):
    """A collective timed out. Whoever waited in it is a victim; the culprit is looked for.

    ``hosts``: those that fell silent, where a sensor can tell. ``groups`` and ``waiting``: the
    parallel groups in which somebody waits, and the hosts whose ranks do.
    """

    generation: int
    hosts: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    waiting: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReady(Event):
    """A replica that was started again computes with the others."""

    generation: int
    replica: int
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLost(Event):
    """The start of a replica ended without success."""

    generation: int
    replica: int
    incarnation: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalySeen(Event):
    """Loss or gradient norm left their band at ``step``: corruption, or merely odd text."""

    generation: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed(Event):
    """A replay ended: whether its values differ from the recorded ones, and on which hosts."""

    token: Token
    differs: bool
    hosts: tuple[int, ...] = ()
    clean_step: int | None = None
    """The newest step whose state a replay confirmed."""
    is_contained: bool = False
    """Nothing of the step in question was committed anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionFound(Event):
    """A replay localised silent corruption to ``host``; states after ``clean_step`` are bad."""

    generation: int
    host: int
    clean_step: int
    is_contained: bool = False
    """A gate found it before a step was committed: no other host holds anything of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFailed(Event):
    """An action ended without effect."""

    token: Token
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reattached(Event):
    """A controller that crashed is back, its state rebuilt from the book.

    Nobody knows which of the last actions took effect; they are asked for again under their
    tokens, which their executors know.
    """


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
    HostFailing,
    LinksDown,
    LinksUp,
    StorageSeen,
    HostRepaired,
    MaintenanceAnnounced,
    RankExited,
    GangReady,
    GangStopped,
    StepsDone,
    CheckpointCommitted,
    CheckpointLost,
    HangSuspected,
    ReplicaReady,
    ReplicaLost,
    AnomalySeen,
    Replayed,
    CorruptionFound,
    ActionFailed,
    Reattached,
    StopRequested,
    ResumeRequested,
)
