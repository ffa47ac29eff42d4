"""Everything the brain knows: plain tables, changed by `observe` and `recovery` alone."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gigafactory.control.actions import Action, EvictHosts, HoldReason, Start, Tier, Token
from gigafactory.control.config import ControlConfig
from gigafactory.control.digest import bytes_of
from gigafactory.control.fleet import Fleet
from gigafactory.control.progress import Progress
from gigafactory.control.states import MEMBERSHIPS, TRANSITIONS, Membership, Move, Phase, Turn


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
    REPLICA_STUCK = "a replica does not join"
    NOT_LOCALISED = "values differ when computed again, and no host is found"
    DRAINED = "hosts are exchanged"
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


class Slot(StrEnum):
    """Kinds of actions of which only the newest matters."""

    GANG = "gang"
    SAVE = "save"
    CADENCE = "cadence"
    REPLAY = "replay"
    DROP = "drop"
    HOLD = "hold"


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
    TOO_MANY = "too_many"


@dataclass(slots=True)
class Replica:
    """One replica that does not train, or did not since the gang began."""

    membership: Membership = Membership.TRAINING
    incarnation: int = 0
    """Attempt of the JoinReplica whose processes are meant; 0: they came with the gang."""
    since_s: float = 0.0
    num_failures: int = 0
    """Joins that failed, one after another."""
    seated: tuple[tuple[int, int], ...] = ()
    """Seats that were filled since its last incarnation."""

    def move(self, move: Move) -> bool:
        """Change as the table says; False where it names no such change."""
        target = MEMBERSHIPS.get((self.membership, move))
        if target is not None:
            self.membership = target
        return target is not None


@dataclass(frozen=True, slots=True)
class Replay:
    """A step that is being computed again, to learn whether it was right."""

    token: Token
    step: int
    localise: bool
    until_s: float


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
    drain_tier: Tier = Tier.STORE
    """Where the checkpoint is to lie at which it stops."""
    start_token: Token | None = None
    how: Start = Start.COLD
    tier: Tier = Tier.STORE
    stop_how: Start = Start.COLD
    """What the last StopGang left of its processes."""
    is_gone: bool = False
    """Its end was reported, not merely presumed."""
    lease_until_s: float = 0.0
    """The sensor speaks again by then."""
    replicas: dict[int, Replica] = field(default_factory=dict)
    """Those that are not as they were at the start of the gang."""
    away: dict[int, Replica] = field(default_factory=dict)
    """Those of them that do not train."""
    hurt: dict[int, tuple[Break, str]] = field(default_factory=dict)
    """Replicas that cannot go on, and why; to be dropped."""
    drop_token: Token | None = None
    last_exit: tuple[str, int] | None = None
    """(signature, step) of the last exception of one replica."""


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
    asked_s: dict[Token, float] = field(default_factory=dict)
    """When each of them was asked for last."""
    refused: dict[Token, float] = field(default_factory=dict)
    """Evictions that failed, and when to ask for them again; inf: that was done, no answer yet."""
    num_stop_requests: int = 0
    is_failed: str = ""
    """Why the campaign cannot go on, once that is certain."""
    held: HoldReason | None = None
    held_since_s: float = 0.0
    wait_until_s: float | None = None
    """Until then hosts that may return are awaited, before the gang starts with fewer."""
    has_started: bool = False
    wake_at_s: float | None = None
    """When the Ticked that was asked for last is due."""
    wake_phase: Phase = Phase.IDLE
    """In which phase it was asked for."""
    num_failed_starts: int = 0
    """Starts in a row that nothing explains, and that never took a step."""
    storage: float = 1.0
    """How many times its usual time the store takes; inf: it does not answer."""
    told_storage: float = 1.0
    """The store's state for which the cadence was set last."""
    suspicion: tuple[int, bool] | None = None
    """(step, localise) of a replay that is called for."""
    replay: Replay | None = None
    replays_s: deque[float] = field(default_factory=deque)
    """When replays were asked for, within the last hour."""
    clean_step: int | None = None
    """The newest step whose state a replay confirmed."""
    open: dict[Slot, Action] = field(default_factory=dict)
    """What was asked for last of each kind, and may not have taken effect yet."""
    ignored: Counter[Ignored] = field(default_factory=Counter)
    out: list[Action] = field(default_factory=list)
    """Actions in answer to the current event."""
    _evictions_print: bytes | None = None
    _ignored_print: bytes | None = None

    def turn(self, turn: Turn) -> None:
        """Change the phase as the table says."""
        self.phase = TRANSITIONS[self.phase, turn]

    def token(self) -> Token:
        """Fence the next action."""
        self.attempt += 1
        return Token(self.gang.generation, self.attempt)

    def close_all(self) -> None:
        """The gang is gone, and what was asked of it with it; the rhythm of checkpoints stays."""
        self.open = {slot: a for slot, a in self.open.items() if slot is Slot.CADENCE}

    def ask(self, action: Action, slot: Slot) -> None:
        """Ask for ``action``, and remember it until its end is known."""
        self.open[slot] = action
        self.out.append(action)

    def forget_eviction(self, host: int) -> None:
        """The host came back: whatever was asked about it is done, and never asked for again."""
        for token, asked in list(self.evictions.items()):
            if host in asked.hosts:
                left = tuple(other for other in asked.hosts if other != host)
                self._evictions_print = None
                self.evictions[token] = replace(asked, hosts=left)
                if not left:
                    self._drop_eviction(token)

    def take_back(self, token: Token) -> None:
        """An eviction had no effect: hosts against which nothing speaks any more stand by."""
        for host in self.evictions[token].hosts:
            if host in self.fleet.excused:
                self.forget_eviction(host)
                self.fleet.stand_by(host)

    def ignore(self, why: Ignored) -> None:
        """Count an event, or a part of one, that changes nothing."""
        self.ignored[why] += 1
        self._ignored_print = None

    # -- replicas

    def replica_of(self, seat: int) -> int:
        """The replica that ``seat`` belongs to."""
        return seat // (self.config.prices.replica_hosts or max(len(self.fleet.seats), 1))

    def seats_of(self, replica: int) -> range:
        """Its seats."""
        size = self.config.prices.replica_hosts or len(self.fleet.seats)
        return range(replica * size, min((replica + 1) * size, len(self.fleet.seats)))

    def seats_out(self) -> frozenset[int]:
        """Seats of replicas that do not train now."""
        return frozenset(seat for number in self.gang.away for seat in self.seats_of(number))

    def num_replicas(self) -> int:
        """Replicas that the gang has seats for."""
        size = self.config.prices.replica_hosts
        return max(1, len(self.fleet.seats) // size) if size else 1

    def num_training(self) -> int:
        """Replicas that train."""
        return self.num_replicas() - len(self.gang.away)

    def break_gang(self, why: Break, signature: str = "") -> None:
        """The gang must end. The first reason stays, unless evidence explains it."""
        gang = self.gang
        if gang.broken is None or (why in EXPLAINED and gang.broken not in EXPLAINED):
            gang.broken, gang.signature = why, signature

    def remember(self, action: EvictHosts, *, at_least: int) -> None:
        """Keep ``action``, so that it can be asked for again.

        Of those before it the latest ``at_least`` stay, and all that may still be refused.
        """
        self.evictions[action.token] = action
        self.asked_s[action.token] = self.now_s
        while len(self.evictions) > at_least and self._is_over(next(iter(self.evictions))):
            self._drop_eviction(next(iter(self.evictions)))
        self._evictions_print = None

    def evict_again(self, token: Token) -> None:
        """Ask for a refused eviction once more."""
        self.refused[token] = math.inf
        self.asked_s[token] = self.now_s
        self._evictions_print = None
        self.out.append(self.evictions[token])

    def _is_over(self, token: Token) -> bool:
        """No answer comes any more, and it waits for no other try."""
        waits = self.refused.get(token, math.inf) < math.inf
        return not waits and self.now_s > self.asked_s[token] + self.config.ladder.join_s

    def _drop_eviction(self, token: Token) -> None:
        del self.evictions[token], self.asked_s[token]
        self.refused.pop(token, None)

    def _print_evictions(self) -> bytes:
        """Of the remembered evictions: one number each, and one for each host in them."""
        if self._evictions_print is None:
            found = array("q", (token.attempt for token in self.evictions))
            for asked in self.evictions.values():
                found.append(-len(asked.hosts))
                found.extend(asked.hosts)
            reasons = repr([asked.reason for asked in self.evictions.values()])
            asked_s = array("d", self.asked_s.values())
            self._evictions_print = found.tobytes() + asked_s.tobytes() + reasons.encode()
        return self._evictions_print

    def _print_ignored(self) -> bytes:
        if self._ignored_print is None:
            known = sorted((why.value, num) for why, num in self.ignored.items())
            self._ignored_print = repr(known).encode()
        return self._ignored_print

    def fingerprint(self) -> str:
        """sha256 over all of it, in hexadecimal."""
        committed = self.progress.committed
        parts = (
            self._words().encode(),
            _GANG(self.gang),
            _PROGRESS(self.progress),
            _STATE(self),
            array("q", committed).tobytes(),
            array("d", self.incidents_s).tobytes(),
            array("d", self.replays_s).tobytes() if self.replays_s else b"",
            self._print_evictions(),
            self._print_ignored(),
            self.fleet.fingerprint(),
        )
        lengths = ",".join([str(len(part)) for part in parts])
        return hashlib.sha256(lengths.encode() + b";" + b"".join(parts)).hexdigest()

    def _words(self) -> str:
        """All that is no number, or seldom there."""
        gang = self.gang
        found = (
            f"{self.phase},{self.wake_phase},{self.held},{gang.broken},{gang.how},{gang.stop_how},"
            f"{gang.tier},{gang.drain_tier},{_attempt(gang.start_token)},"
            f"{_attempt(gang.drop_token)},"
            + ",".join([f"{slot}{action.token.attempt}" for slot, action in self.open.items()])
        )
        if gang.replicas or gang.hurt or self.refused or self.replay:
            refused = [(token.attempt, at_s) for token, at_s in self.refused.items()]
            found += f";{sorted(gang.replicas.items())}{list(gang.hurt.items())}"
            found += f"{refused}{self.replay}"
        return found


def _attempt(token: Token | None) -> int:
    return token.attempt if token else 0


_GANG = bytes_of(
    Gang,
    without=(
        "broken",
        "start_token",
        "drop_token",
        "replicas",
        "away",
        "hurt",
        "how",
        "stop_how",
        "tier",
        "drain_tier",
    ),
)
_PROGRESS = bytes_of(Progress, without=("committed",))
_STATE = bytes_of(
    State,
    without=(
        "config",
        "phase",
        "wake_phase",
        "gang",
        "fleet",
        "progress",
        "incidents_s",
        "evictions",
        "asked_s",
        "refused",
        "open",
        "replay",
        "replays_s",
        "held",
        "ignored",
        "out",
        "_evictions_print",
        "_ignored_print",
    ),
)
