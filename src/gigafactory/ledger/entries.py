"""The kinds of entry in the book, the same for twin and reality.

One line of a ledger is one JSON object::

    {"at_s": 12.5, "seq": 7, "generation": 1, "kind": "bucket", "bucket": "restore"}

``at_s`` counts from the beginning of the campaign and never decreases, ``seq`` from 0 without a
gap, ``generation`` is the gang's. What else a line carries is the fields of its kind below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gigafactory.control.actions import Action, Tier
from gigafactory.control.events import Event

SCHEMA = "gigafactory-ledger/2"
#: What can be read and folded. Books of the first schema were decided by another brain.
READABLE = ("gigafactory-ledger/1", SCHEMA)


class World(StrEnum):
    """Who wrote the book."""

    TWIN = "twin"
    REAL = "real"


class Bucket(StrEnum):
    """What a GPU-second was spent on; every one is in exactly one bucket."""

    PRODUCTIVE = "productive"
    INIT = "init"
    """The first start of the campaign, until the first step."""
    DATA_WAIT = "data_wait"
    CHECKPOINT = "checkpoint"
    """Training stands still for a checkpoint."""
    DETECT = "detect"
    DECIDE = "decide"
    REPLACE = "replace"
    RENDEZVOUS = "rendezvous"
    RESTORE = "restore"
    REWORK = "rework"
    """Steps that were done and lost; `fold` moves them here at a rollback."""
    DEGRADED = "degraded"
    STRAGGLER = "straggler"
    SDC_REPLAY = "sdc_replay"
    HOLD = "hold"
    PLANNED = "planned"
    """Announced maintenance, the stop a person asked for, and the orderly end of the job."""
    IDLE_SPARE = "idle_spare"
    """The hosts beyond the training allocation: standing by or in repair."""
    OTHER = "other"


#: The gang computes steps; leaving this set unplanned is an interruption.
WORKING = frozenset(
    {Bucket.PRODUCTIVE, Bucket.DATA_WAIT, Bucket.CHECKPOINT, Bucket.DEGRADED, Bucket.STRAGGLER}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The first entry: what the book is about, and what the bill and the replay need."""

    world: World
    study: str
    num_gpus: int
    """The training allocation: all buckets but idle_spare share it out."""
    gpus_per_host: int
    num_spare_gpus: int = 0
    num_steps: int
    tokens_per_step: int
    flops_per_step: float
    """Model FLOPs (recompute excluded) of one step of the whole job."""
    peak_flops_per_s: float
    """Dense peak of one GPU in the precision used."""
    step_s: float
    """Planned time of a step."""
    first_step: int = 0
    """Steps done before this campaign began (a resumed checkpoint)."""
    rent_usd_per_gpu_s: float = 0.0
    electricity_usd_per_j: float = 0.0
    training_w_per_gpu: float = 0.0
    """IT draw of a host, shared out to its GPUs, while the gang computes."""
    idle_w_per_gpu: float = 0.0
    pue: float = 1.0
    carbon_kg_per_j: float = 0.0
    capacity_w: float | None = None
    """The most that the site may draw; None: no limit is known."""
    battery_w: float = 0.0
    battery_j: float = 0.0
    ramp_w_per_s: float | None = None
    """How fast the draw of the site may change; None: as it likes."""
    seed: int | None = None
    controller: dict[str, Any] = field(default_factory=dict)
    """`control.config.config_to_json` of the brain; {} where none decided."""
    schema: str = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A new driver goes on with an existing book; the brain starts afresh with its Launched."""

    torn_bytes: int = 0
    """Length of a half-written last line that was cut off; 0 = the book was whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSeen:
    """An event went into the controller; its state afterwards."""

    event: Event
    state_hash: str
    wake_at_s: float | None = None
    """It asked to be woken then (its WakeAt; it has no line of its own)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTaken:
    """The controller asked for this, in answer to the event before it."""

    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFrom:
    """From ``at_s`` on the whole training allocation is in this bucket."""

    bucket: Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceFrom:
    """From ``at_s`` on, until the next such entry: who computes, and how it is held up.

    It splits what would be ``productive``: of each GPU-second the GPUs beyond ``num_gpus`` spend
    it in ``degraded``, and of the rest a share 1 - 1/``slowdown`` goes to ``straggler`` (slow
    hosts, lost network capacity). Without an entry everything computes at full pace.
    """

    num_gpus: int
    slowdown: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Training reached ``step``; the last ``num_steps`` of them took ``step_s`` each."""

    step: int
    num_steps: int = 1
    step_s: float
    loss: float | None = None
    """Of the last step; None where it is unknown (twin) or not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateAt:
    """Checksum of parameters and moments after ``step``, the same at every replica.

    A real run with replica groups enters it at every step; two runs whose checksums agree hold
    the same weights, bit for bit.
    """

    step: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Training goes on after ``step``; what was done beyond it is lost."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKept:
    """The checkpoint of ``step`` is complete and verified."""

    step: int
    save_s: float = 0.0
    """From the snapshot to the commit."""
    num_bytes: float = 0.0
    tier: Tier = Tier.STORE
    num: int = 1
    """Checkpoints of this tier since the last such entry; ``step`` is of the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStruck:
    """Something broke; in the twin at the true moment, in reality when it was seen."""

    cause: str
    fault: str
    """A `describe.faults.FaultClass` value."""
    hosts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFrom:
    """From ``at_s`` on everything together draws this (IT load, before PUE)."""

    draw_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFrom:
    """From ``at_s`` on the serving pool has lent so many of its hosts to training."""

    num_hosts: int
    """Of the pool, lent or not."""
    num_lent: int
    requests_per_s: float
    """The demand just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The last entry. A book without it was cut off (crash) and ends at its last line."""

    outcome: str
    """A `control.actions.Outcome` value, or ``horizon`` where the twin stopped following."""
    reason: str = ""
    step: int = 0


Content = (
    Opened
    | Resumed
    | EventSeen
    | ActionTaken
    | BucketFrom
    | PaceFrom
    | Steps
    | StateAt
    | Rollback
    | CheckpointKept
    | FaultStruck
    | PowerFrom
    | PoolFrom
    | Closed
)

#: The word that stands for a kind in the file.
KINDS: dict[str, type[Any]] = {
    "opened": Opened,
    "resumed": Resumed,
    "event": EventSeen,
    "action": ActionTaken,
    "bucket": BucketFrom,
    "pace": PaceFrom,
    "steps": Steps,
    "state": StateAt,
    "rollback": Rollback,
    "checkpoint": CheckpointKept,
    "fault": FaultStruck,
    "power": PowerFrom,
    "pool": PoolFrom,
    "closed": Closed,
}
KIND_OF: dict[type[Any], str] = {cls: kind for kind, cls in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: when, which, under which generation, and its content."""

    at_s: float
    seq: int
    generation: int
    content: Content
