"""Everything the brain knows: plain tables, changed by `observe` and `recovery` alone."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any

from gigafactory.control.actions import Action, EvictHosts, HoldReason, Token
from gigafactory.control.config import ControlConfig
from gigafactory.control.fleet import Fleet
from gigafactory.control.progress import Progress
from gigafactory.control.states import TRANSITIONS, Phase, Turn


class Break(StrEnum):
    """Why a gang must end."""

    PROCESS_EXIT = "a process ended"
    HANG = "a collective timed out"
    SILENCE = "no step within the timeout"
    START_TIMEOUT = "the start did not end in time"
    START_FAILED = "the start failed"
    NOT_FINITE = "values are not finite"
    DISAGREEMENT = "replicas disagree"
    VANISHED = "its processes are gone"
    UNSAVED = "the last step was reached and never saved"
    HOST_LOST = "a host is lost"
    CORRUPTION = "silent corruption"
    CHECKPOINT_LOST = "the checkpoint cannot be read"
    DRAINED = "maintenance"
    STOP = "a person said stop"
    DONE = "the last step is safe"


#: Evidence names the cause, and acting on it removes the cause: no failed attempt.
EXPLAINED = frozenset(
    {
        Break.HOST_LOST,
        Break.CORRUPTION,
        Break.CHECKPOINT_LOST,
        Break.DRAINED,
        Break.STOP,
        Break.DONE,
    }
)


class Ignored(StrEnum):
    """Why an event changed nothing; each is counted."""

    STALE = "stale_generation"
    FUTURE = "future_generation"
    STALE_TOKEN = "stale_token"
    UNKNOWN_HOST = "unknown_host"
    UNASKED = "unasked"
    REPEATED = "repeated"
    FINISHED = "finished"
    REFUSED_CHECKPOINT = "refused_checkpoint"


@dataclass(slots=True)
class Gang:
    """The current generation of ranks, or the last one where none is alive."""

    generation: int = 0
    broken: Break | None = None
    """Why it must end; None: it is wanted."""
    signature: str = ""
    """What the first failed process said, or more words on ``broken``."""
    restored_step: int = 0
    step: int = 0
    """Reached, all values good."""
    bad_step: int | None = None
    """Checkpoints from this step on are refused."""
    has_stepped: bool = False
    started_at_s: float = 0.0
    moved_at_s: float = 0.0
    """When it last reported progress."""
    stopped_at_s: float = 0.0
    """When StopGang was last asked for."""
    num_stops: int = 0
    drain_until_s: float = 0.0
    """Set while DRAINING: when waiting for the checkpoint ends."""
    drain_from: tuple[int, int] = (0, 0)
    """(step, number of commits) when SaveNow was asked for."""
    start_token: Token | None = None


@dataclass(slots=True)
class State:
    """The whole brain between two events."""

    config: ControlConfig
    phase: Phase = Phase.IDLE
    now_s: float = 0.0
    attempt: int = 0
    gang: Gang = field(default_factory=Gang)
    fleet: Fleet = field(default_factory=Fleet)
    progress: Progress = field(default_factory=Progress)
    incidents_s: deque[float] = field(default_factory=deque)
    """When hosts were evicted for a fault, within the last hour; one entry an incident."""
    evictions: dict[Token, EvictHosts] = field(default_factory=dict)
    """The latest ones, so that a failed one can be asked for again."""
    num_stop_requests: int = 0
    is_failed: str = ""
    """Why the campaign cannot go on, once that is certain."""
    held: HoldReason | None = None
    held_since_s: float = 0.0
    has_started: bool = False
    wake_at_s: float | None = None
    ignored: Counter[Ignored] = field(default_factory=Counter)
    out: list[Action] = field(default_factory=list)
    """Actions in answer to the current event."""

    def turn(self, turn: Turn) -> None:
        """Change the phase as the table says."""
        self.phase = TRANSITIONS[self.phase, turn]

    def token(self) -> Token:
        """Fence the next action."""
        self.attempt += 1
        return Token(self.gang.generation, self.attempt)

    def ignore(self, why: Ignored) -> None:
        """Count an event, or a part of one, that changes nothing."""
        self.ignored[why] += 1

    def break_gang(self, why: Break, signature: str = "") -> None:
        """The gang must end. The first reason stays, unless evidence explains it."""
        gang = self.gang
        if gang.broken is None or (why in EXPLAINED and gang.broken not in EXPLAINED):
            gang.broken, gang.signature = why, signature

    def fingerprint(self) -> str:
        """sha256 over all of it, in hexadecimal."""
        gang, progress = self.gang, self.progress
        known = (
            self.phase.value,
            _GANG_VALUES(gang),
            gang.broken.value if gang.broken else None,
            gang.start_token and (gang.start_token.generation, gang.start_token.attempt),
            _PROGRESS_VALUES(progress),
            self.fleet.fingerprint(),
            tuple(self.incidents_s),
            [token.attempt for token in self.evictions],
            _STATE_VALUES(self),
            self.held.value if self.held else None,
            sorted((why.value, num) for why, num in self.ignored.items()),
        )
        return hashlib.sha256(repr(known).encode()).hexdigest()


def _plain_values(cls: type[Any], *, without: tuple[str, ...]) -> Callable[[Any], Any]:
    """Reads every field of ``cls`` but the named ones, which need words of their own."""
    return attrgetter(*(f.name for f in fields(cls) if f.name not in without))


_GANG_VALUES = _plain_values(Gang, without=("broken", "start_token"))
_PROGRESS_VALUES = _plain_values(Progress, without=())
_STATE_VALUES = _plain_values(
    State,
    without=(
        "config",
        "phase",
        "gang",
        "fleet",
        "progress",
        "incidents_s",
        "evictions",
        "held",
        "ignored",
        "out",
    ),
)
