"""What replica groups and the driver say to each other while a real run goes on.

A group's processes outlive the driver: they call it at the address in ``control.json`` of the run
directory, and call again where the line breaks. Orders come down the line, reports go up it, one
JSON object a line. Both ends read this file, so neither can misunderstand the other.

An *epoch* is a set of groups that compute together. Whoever is told of a new one drops the links
of the old; so a step is either done by all members of one epoch or by none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter

from gigafactory.describe.rank import (
    CheckpointBegun,
    CheckpointCommitted,
    CheckpointFailed,
    Failed,
    Finished,
    Task,
    Told,
)
from gigafactory.describe.spec import Spec
from gigafactory.units import Seconds

CONTROL_FILE = "control.json"
#: Steps after which the members of a run know which gradients are usual.
STEPS_UNTIL_USUAL = 16
#: Environment variables that say which process of which group this is.
REPLICA_VARIABLE, INCARNATION_VARIABLE = "GIGA_REPLICA", "GIGA_INCARNATION"
#: Set where whoever started the job wants to know where weights and gradients lie in memory; each
#: process then says so in the file that `memory_name` names.
SHOW_MEMORY_VARIABLE = "GIGA_SHOW_MEMORY"


class GroupTask(Spec):
    """What every process of a run with replica groups must know; the same in all its lives."""

    task: Task
    """Of one group on its own: its layout is that of one replica."""
    num_replicas: PositiveInt
    """Groups at the launch; they fix how a batch is cut, whoever computes the pieces."""
    orphan_s: Seconds = Field(default=60.0, gt=0)
    """Without a driver for so long, a process ends itself."""


class Memory(Spec):
    """Where a process keeps what it computes with: address and bytes by name."""

    pid: int
    regions: dict[str, tuple[int, int]]


def defect_name(pid: int) -> str:
    """File in the run directory whose presence makes that process compute wrongly, where
    `SHOW_MEMORY_VARIABLE` is set: a defective processor, for those who shoot at runs."""
    return f"defect-{pid}"


def memory_name(replica: int) -> str:
    """File of a `Memory`, in the run directory."""
    return f"memory-{replica}.json"


class Control(Spec):
    """Where the driver listens, as it writes it into ``CONTROL_FILE``."""

    address: str
    """host:port."""
    secret: str
    """Whoever does not say it is not listened to."""


# -- reports


class Doing(StrEnum):
    """What the main thread of a process is at."""

    PREPARING = "preparing"
    """Imports, model, rendezvous of its own group."""
    IDLE = "idle"
    """It waits for an order."""
    COMPUTING = "computing"
    WAITING = "waiting"
    """It waits for peers."""
    AMONG = "among"
    """It waits for the others of its own group."""
    SAVING = "saving"
    ENDING = "ending"
    """Evaluates and exports."""


class Here(Told):
    """First word on a new line."""

    kind: Literal["here"] = "here"
    secret: str
    replica: NonNegativeInt
    rank: NonNegativeInt
    """Within its group."""
    incarnation: NonNegativeInt
    pid: int
    epoch: NonNegativeInt = 0
    """The newest one it was told of."""
    members: tuple[int, ...] = ()
    """Of the epoch that it is in; (): of none."""
    step: int = -1
    """Whose state it holds; -1: none."""
    address: str = ""
    """Where peers reach it; empty while it prepares."""


class Alive(Told):
    """The process runs, whatever its main thread does."""

    kind: Literal["alive"] = "alive"
    doing: Doing
    beats: NonNegativeInt
    """Grows with every piece of work of the main thread."""
    epoch: NonNegativeInt = 0
    waits_for: tuple[int, ...] = ()
    """Replicas."""
    starved_s: NonNegativeFloat = 0.0
    """So long the main thread has been ready to run since it began, and got no processor; 0 where
    the system does not tell."""


class Regrouped(Told):
    """The members of ``epoch`` met, and all hold the state of ``step``."""

    kind: Literal["regrouped"] = "regrouped"
    epoch: NonNegativeInt
    step: NonNegativeInt


class Stepped(Told):
    """An optimizer step was committed here: finite, and with the state all members had before."""

    kind: Literal["stepped"] = "stepped"
    epoch: NonNegativeInt
    step: PositiveInt
    loss: float
    """Of the global batch."""
    grad_norm: float
    learning_rate: float
    step_s: float
    tokens: PositiveInt
    """Of the global batch."""
    checksum: str
    """Of parameters and moments after it."""


class Why(StrEnum):
    """Why a step in flight was discarded."""

    PEER_LOST = "a peer is gone"
    CORRUPT = "a state or sum is wrong"
    DISAGREE = "states differ and nobody can tell whose is wrong"
    SUMS_DIFFER = "sums differ and nobody can tell whose is wrong"
    NOT_FINITE = "not finite, whoever computes it"


class Discarded(Told):
    """The step after ``step`` was not committed by this member."""

    kind: Literal["discarded"] = "discarded"
    epoch: NonNegativeInt
    step: int
    """The last committed one."""
    why: Why
    replicas: tuple[int, ...] = ()
    """To blame, or lost."""
    detail: str = ""


class Halted(Told):
    """In answer to `Halt`."""

    kind: Literal["halted"] = "halted"
    token: NonNegativeInt
    step: int


class Held(Told):
    """The step after ``step`` is good but for its gradient, which is far larger than usual: it
    waits for `Compare` or `Proceed`. Said again while nobody answers."""

    kind: Literal["held"] = "held"
    epoch: NonNegativeInt
    step: NonNegativeInt
    """The last committed one."""
    norm: NonNegativeFloat
    """Of the gradient, before it is clipped; of what lies on this rank."""


class Compared(Told):
    """In answer to `Compare`: checksums by shard."""

    kind: Literal["compared"] = "compared"
    token: NonNegativeInt
    step: NonNegativeInt
    own: dict[int, str]
    """As they were first computed."""
    others: dict[int, str]
    """Another member's, as they come out here."""


AnyGroupTold = Annotated[
    Here | Alive | Regrouped | Stepped | Discarded | Halted | Held | Compared | CheckpointBegun
    | CheckpointCommitted | CheckpointFailed | Failed | Finished,
    Field(discriminator="kind"),
]  # fmt: skip
_TOLD: TypeAdapter[AnyGroupTold] = TypeAdapter(AnyGroupTold)


def read_group_told(line: str | bytes) -> AnyGroupTold:
    """One line of a process's reports; pydantic's ValidationError where it is not one."""
    return _TOLD.validate_json(line)


# -- orders


class Order(Spec):
    """One order."""


class Regroup(Order):
    """From now on these groups compute together."""

    kind: Literal["regroup"] = "regroup"
    epoch: PositiveInt
    addresses: dict[int, tuple[str, ...]]
    """By replica, one a rank of it."""
    at_once: bool
    """Discard the step in flight; else change over after a step, when all members know."""
    restore_step: NonNegativeInt | None = None
    """First go back to this checkpoint of the store."""


class Save(Order):
    """Make a checkpoint at the next step boundary."""

    kind: Literal["save"] = "save"


class Halt(Order):
    """Discard the step in flight, part from the others and wait."""

    kind: Literal["halt"] = "halt"
    token: NonNegativeInt


class Compare(Order):
    """Compute the shards of another member of the step that is held."""

    kind: Literal["compare"] = "compare"
    token: NonNegativeInt
    step: NonNegativeInt
    """The last committed one."""
    shift: PositiveInt
    """Whose: the member's so many places before, in the order of replicas."""


class Proceed(Order):
    """Commit the step that is held."""

    kind: Literal["proceed"] = "proceed"
    step: NonNegativeInt
    """The last committed one."""


class Leave(Order):
    """End the process; nothing more is wanted of it."""

    kind: Literal["leave"] = "leave"


AnyOrder = Annotated[Regroup | Save | Halt | Compare | Proceed | Leave, Field(discriminator="kind")]
_ORDER: TypeAdapter[AnyOrder] = TypeAdapter(AnyOrder)


def read_order(line: str | bytes) -> AnyOrder:
    """One line of orders; pydantic's ValidationError where it is not one."""
    return _ORDER.validate_json(line)
