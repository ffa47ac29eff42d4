"""What a campaign came to: the figures that `ledger.fold` makes of a book."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

ETTR_CONVENTION = (
    "kept productive time over wall-clock time less announced maintenance; waiting for hosts "
    "counts as lost, failures may strike during recovery"
)
#: (since when, how much), as a staircase; times in s since the campaign began.
Stairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The course of a campaign as staircases: each level holds until the next pair."""

    power_w: Stairs
    """Everything together, IT load before PUE."""
    working_gpus: Stairs
    """GPUs that compute steps."""
    hosts_away: Stairs
    """Evicted and not yet repaired."""
    hosts_standing_by: Stairs
    """Neither in the gang nor away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a campaign came to; `fold` says how each figure is defined."""

    world: str
    study: str
    seed: int | None
    wall_s: float
    days: float
    num_gpus: int
    """The training allocation."""
    allocation_gpu_s: float
    """GPU-seconds of everything, spares and lent hosts included; the buckets sum to it."""
    buckets_gpu_s: dict[str, float]
    goodput: float
    ettr: float
    ettr_convention: str = ETTR_CONVENTION
    num_interruptions: int
    num_degraded_spells: int = 0
    """Times that computing went on with fewer GPUs than the allocation has."""
    mtbf_s: float | None
    mttr_s: float | None
    mfu: float | None
    num_steps: int
    """Kept steps."""
    num_lost_steps: int
    last_step: int
    last_checkpoint_step: int | None
    """The newest in the store."""
    tokens: float
    energy_j: float
    """At the meter: IT load times PUE."""
    electricity_usd: float
    cost_usd: float
    """Rent of the whole allocation over the wall time; it includes electricity."""
    num_faults: int
    num_starts: int
    num_evicted_hosts: int
    """To repair; hosts that went back to a serving pool do not count."""
    num_checkpoints: int
    """In the store."""
    checkpoints_by_tier: dict[str, int] = field(default_factory=dict)
    outcome: str | None
    """None: the book was never closed (a crash)."""
    reason: str
    losses: tuple[tuple[int, float], ...] = ()
    """(step, loss) of the kept steps; after a rollback the last write wins."""
    step_times: tuple[tuple[int, float], ...] = ()
    """(step, step_s) of the kept steps, one pair an entry."""
    series: Series | None = None
    """Where it was asked for."""

    def to_json(self, *, series: bool = False) -> dict[str, Any]:
        """A JSON object whose keys end in their unit; ``series`` adds what has a course."""
        found = asdict(self)
        if not series:
            del found["losses"], found["step_times"], found["series"]
        return found
