"""The life of a campaign as a table: phases, the turns between them, and a drawing of both.

The table is the law: `State.turn` looks every change of phase up here, and the diagram of the
manual is rendered from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class Phase(StrEnum):
    """What is; the goal is RUNNING on as many healthy hosts as there are seats."""

    IDLE = "idle"
    """No allocation yet."""
    DECIDING = "deciding"
    """No gang; the next one waits for evidence about a host, or is about to start."""
    STARTING = "starting"
    """A generation was asked for; its ranks join and restore."""
    RUNNING = "running"
    DRAINING = "draining"
    """Running, and a checkpoint was asked for, at which the gang stops."""
    STOPPING = "stopping"
    """The end of every process of the generation was asked for."""
    HOLDING = "holding"
    """No gang, and a reason why none is started."""
    FINISHED = "finished"


#: Processes of the current generation may exist.
LIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.DRAINING, Phase.STOPPING})
#: Nobody asked this gang to stop yet.
GOING = LIVE - {Phase.STOPPING}


class Turn(StrEnum):
    """Why the phase changes."""

    LAUNCH = "the allocation exists"
    START = "seats filled, checkpoint chosen: StartGang"
    READY = "every rank joined"
    DRAIN = "maintenance, stop or last step: SaveNow"
    CALM = "the reason to drain is gone"
    STOP = "a reason to end the gang: StopGang"
    GONE = "no process is left"
    BLOCK = "no spare, witness, progress, clean checkpoint or store, or too many evictions: Hold"
    LIFT = "the reason to hold is gone"
    FINISH = "done, stopped or failed: Finish"


TRANSITIONS: dict[tuple[Phase, Turn], Phase] = {
    (Phase.IDLE, Turn.LAUNCH): Phase.DECIDING,
    (Phase.DECIDING, Turn.START): Phase.STARTING,
    (Phase.DECIDING, Turn.BLOCK): Phase.HOLDING,
    (Phase.HOLDING, Turn.LIFT): Phase.DECIDING,
    (Phase.STARTING, Turn.READY): Phase.RUNNING,
    (Phase.RUNNING, Turn.DRAIN): Phase.DRAINING,
    (Phase.DRAINING, Turn.CALM): Phase.RUNNING,
    (Phase.STARTING, Turn.STOP): Phase.STOPPING,
    (Phase.RUNNING, Turn.STOP): Phase.STOPPING,
    (Phase.DRAINING, Turn.STOP): Phase.STOPPING,
    (Phase.STOPPING, Turn.GONE): Phase.DECIDING,
    (Phase.STARTING, Turn.GONE): Phase.DECIDING,
    (Phase.RUNNING, Turn.GONE): Phase.DECIDING,
    (Phase.DRAINING, Turn.GONE): Phase.DECIDING,
    (Phase.IDLE, Turn.FINISH): Phase.FINISHED,
    (Phase.DECIDING, Turn.FINISH): Phase.FINISHED,
    (Phase.HOLDING, Turn.FINISH): Phase.FINISHED,
}


class Membership(StrEnum):
    """What is true of one replica of a running gang."""

    TRAINING = "training"
    OUT = "out"
    """The others go on without it; its seats are filled, or wait for hosts."""
    JOINING = "joining"
    """Its processes start and take the state over from a replica that goes on."""


class Move(StrEnum):
    """Why a replica's membership changes."""

    DROP = "a reason to end it alone: DropReplicas"
    JOIN = "every seat filled: JoinReplica"
    READY = "it computes with the others"
    FAIL = "the start failed, or took too long: DropReplicas"


MEMBERSHIPS: dict[tuple[Membership, Move], Membership] = {
    (Membership.TRAINING, Move.DROP): Membership.OUT,
    (Membership.JOINING, Move.DROP): Membership.OUT,
    (Membership.OUT, Move.JOIN): Membership.JOINING,
    (Membership.JOINING, Move.READY): Membership.TRAINING,
    (Membership.JOINING, Move.FAIL): Membership.OUT,
}


def mermaid() -> str:
    """The life of a campaign as a Mermaid state diagram."""
    return _diagram(TRANSITIONS, begin=Phase.IDLE, end=Phase.FINISHED)


def replica_mermaid() -> str:
    """The life of one replica as a Mermaid state diagram; it ends with its gang."""
    return _diagram(MEMBERSHIPS, begin=Membership.TRAINING, end=None)


S = TypeVar("S", bound=StrEnum)
T = TypeVar("T", bound=StrEnum)


def _diagram(table: Mapping[tuple[S, T], S], *, begin: StrEnum, end: StrEnum | None) -> str:
    arrows = [
        f"    {source.value} --> {target.value}: {turn.value}"
        for (source, turn), target in table.items()
    ]
    last = [f"    {end.value} --> [*]"] if end else []
    lines = ["stateDiagram-v2", f"    [*] --> {begin.value}", *arrows, *last]
    return "\n".join(lines) + "\n"
