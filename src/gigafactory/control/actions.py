"""What the controller can ask for. An action is plain content with a fencing token.

It may be lost, doubled, late, or succeed without an answer; its end comes back as an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Token:
    """Fences an action: whoever executes it refuses tokens older than the newest seen.

    ``attempt`` counts every action of a campaign, so a token names exactly one action.
    """

    generation: int
    attempt: int


class Tier(StrEnum):
    """Where a checkpoint lies, nearest first."""

    PEER = "peer"
    """A copy in another host's memory; lost where a host and the keeper of its copy both go."""
    LOCAL = "local"
    """The host's own disk; lost with a host that is lost."""
    STORE = "store"
    """The object or parallel file store of the cluster."""


class Start(StrEnum):
    """How a generation comes to life."""

    COLD = "cold"
    """Every process anew."""
    WARM = "warm"
    """Processes on hosts that stay are kept; communicators are built anew, spares step in."""


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
    NO_STORAGE = "no_storage"
    """The only checkpoint that may be restored lies in a store that does not answer. Lifted by
    StorageSeen."""


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

    hosts: Sequence[int]
    """By seat: the position is the rank of the host, and a survivor keeps its seat."""
    step: int | None
    seated: tuple[tuple[int, int], ...] | None = None
    """(seat, host) pairs that are new since the previous generation; None: it is the first."""
    how: Start = Start.COLD
    tier: Tier = Tier.STORE
    """Where ``step`` is to be restored from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGang(Action):
    """End every process of the token's generation."""

    how: Start = Start.COLD
    """WARM: abort the communicators, and keep the processes for the next generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropReplicas(Action):
    """Go on without these replicas: the step in flight is discarded, their processes end."""

    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReplica(Action):
    """Start the processes of one replica and take it in, state from a replica that goes on.

    The attempt of the token is the incarnation of these processes. The answer is ReplicaReady,
    or ReplicaLost.
    """

    replica: int
    seated: tuple[tuple[int, int], ...] = ()
    """(seat, host) pairs that are new since the replica's last incarnation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySteps(Action):
    """Compute the step after ``step`` again from the last verified state, and compare.

    ``localise``: in groups that cross each other, so that the host that computes wrong values is
    named (ByteRobust, arXiv:2509.16293, dual-phase replay). The answer is Replayed.
    """

    step: int
    localise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCadence(Action):
    """From now on checkpoint into ``tier`` every ``every_s`` of work; None: not at all."""

    tier: Tier
    every_s: float | None


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
    """Make a checkpoint at the next step boundary (before a drain), and say so.

    In the store: CheckpointCommitted. Copies in memory are made after every step anyway: StepsDone,
    without waiting for the end of a lease.
    """

    tier: Tier = Tier.STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeAt(Action):
    """Send a Ticked at ``at_s``. The newest request replaces those before it."""

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
ACTIONS = (
    StartGang,
    StopGang,
    DropReplicas,
    JoinReplica,
    EvictHosts,
    ProbeHost,
    ReplaySteps,
    SaveNow,
    SetCadence,
    WakeAt,
    Hold,
    Finish,
)
