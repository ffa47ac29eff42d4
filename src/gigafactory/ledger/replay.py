"""Feed the recorded events of a campaign to a fresh controller and compare what it does.

The same code decided when the ledger was written; so every action and every state hash must come
out again, whether the events were invented by the twin or observed in production.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from gigafactory.control.actions import Action, HoldReason, WakeAt
from gigafactory.control.config import ControlConfig, config_from_json
from gigafactory.control.controller import Controller
from gigafactory.control.events import Reattached
from gigafactory.control.states import Phase
from gigafactory.describe.errors import InputError
from gigafactory.ledger.encode import tagged_text
from gigafactory.ledger.entries import (
    SCHEMA,
    ActionTaken,
    Closed,
    Entry,
    EventSeen,
    Opened,
    Resumed,
)
from gigafactory.ledger.exchange import action_to_json, event_to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where the replay departs from the record."""

    seq: int
    """Of the entry in the ledger."""
    at_s: float
    what: str
    """``action``, ``number of actions``, ``wake-up`` or ``state hash``."""
    event: dict[str, Any]
    """What the controller was told."""
    before: dict[str, Any]
    """Where it stood until then, in the replay; up to there nothing differs."""
    recorded: Any
    replayed: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """Whether the controller acts as it did."""

    num_events: int
    num_actions: int
    events: dict[str, int] = field(default_factory=dict)
    """By type, up to the difference."""
    actions: dict[str, int] = field(default_factory=dict)
    difference: Difference | None = None
    is_cut: bool = False
    """The book has no `Closed` entry: the run went on, or its driver died."""

    @property
    def same(self) -> bool:
        """No difference was found."""
        return self.difference is None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; ``difference`` is null where everything agrees."""
        return {"same": self.same, **asdict(self)}

    def text(self) -> str:
        """The result in words."""
        lines = [_counted("events", self.events), _counted("actions", self.actions)]
        if self.difference is None:
            lines.append("every action and every state hash as recorded")
            if self.is_cut:
                lines.append(
                    "up to the end of the book, which no 'closed' entry ends: it was cut off"
                )
            return "\n".join(lines)
        first = self.difference
        before = ", ".join(f"{name} {value}" for name, value in first.before.items())
        return "\n".join(
            [
                *lines,
                f"then at entry {first.seq}, {first.at_s:,.1f} s ({first.what}):",
                f"  before:   {before}",
                f"  told:     {first.event}",
                f"  recorded: {first.recorded}",
                f"  replayed: {first.replayed}",
            ]
        )


def _counted(what: str, of_type: dict[str, int]) -> str:
    """``12 events: StepsDone 8, Ticked 4``."""
    ranked = sorted(of_type.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{name} {num:,}" for name, num in ranked)
    return f"{sum(of_type.values()):,} {what}" + (f": {told}" if told else "")


@dataclass(slots=True)
class _Turn:
    """One recorded event and what the controller asked for in answer."""

    entry: Entry
    seen: EventSeen
    is_first: bool
    """The controller is new: another driver took over, and began with its Launched."""
    actions: list[tuple[int, Action]]
    is_cut: bool = False
    """The driver may have died before it wrote every action down."""


def replay(entries: Iterable[Entry]) -> ReplayResult:
    """Replay a ledger; InputError where it holds no controller configuration."""
    closed: list[bool] = []
    rest = _noting_the_end(iter(entries), closed)
    config = _config(next(rest, None))
    controller = Controller(config)
    events: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    difference = None
    for turn in _turns(rest):
        if turn.is_first:
            controller = Controller(config)
        events[type(turn.seen.event).__name__] += 1
        actions.update(type(action).__name__ for _, action in turn.actions)
        if difference := _compare(controller, turn):
            break
    return ReplayResult(
        num_events=events.total(),
        num_actions=actions.total(),
        events=dict(events),
        actions=dict(actions),
        difference=difference,
        is_cut=difference is None and not closed,
    )


def rebuild(entries: Iterable[Entry]) -> Controller:
    """The brain as it stood at the end of the book, to go on with (then tell it `Reattached`).

    InputError where the book holds no controller configuration.
    """
    rest = iter(entries)
    config = _config(next(rest, None))
    controller = Controller(config)
    for turn in _turns(rest):
        if turn.is_first:
            controller = Controller(config)
        controller.handle(turn.seen.event)
    return controller


def _noting_the_end(entries: Iterator[Entry], closed: list[bool]) -> Iterator[Entry]:
    """The same entries; ``closed`` is no longer empty once the book was closed for good."""
    for entry in entries:
        if isinstance(entry.content, Closed):
            closed.append(True)
        elif isinstance(entry.content, Resumed):
            closed.clear()
        yield entry


def _config(first: Entry | None) -> ControlConfig:
    if first is None or not isinstance(first.content, Opened):
        raise InputError("the first entry of a ledger must be 'opened'")
    if first.content.schema != SCHEMA:
        raise InputError(
            f"the ledger is of schema {first.content.schema!r}: a controller with other rules "
            f"wrote it, so it can be read and reported, but only {SCHEMA!r} can be replayed"
        )
    if not first.content.controller:
        raise InputError("the ledger names no controller configuration: no brain wrote it")
    return config_from_json(first.content.controller)


def _turns(entries: Iterable[Entry]) -> Iterator[_Turn]:
    """Group actions behind their event; other kinds of entry may lie between them."""
    turn: _Turn | None = None
    is_first = is_closed = False
    for entry in entries:
        match entry.content:
            case EventSeen() as seen:
                if turn:
                    yield turn
                is_new = is_first and not isinstance(seen.event, Reattached)
                turn, is_first = _Turn(entry, seen, is_new, []), False
            case ActionTaken(action=action):
                if turn is None:
                    raise InputError(f"entry {entry.seq}: an action without an event before it")
                turn.actions.append((entry.seq, action))
            case Resumed():
                is_first = True
                if turn:
                    turn.is_cut = True
            case Closed():
                is_closed = True
    if turn:
        turn.is_cut = turn.is_cut or not is_closed
        yield turn


def _compare(controller: Controller, turn: _Turn) -> Difference | None:
    """Let the controller decide again; the first thing that is not as recorded."""
    before = _Standing(
        controller.phase, controller.generation, controller.committed_step, controller.held
    )
    replayed = controller.handle(turn.seen.event)
    found = _departure(turn, replayed, controller)
    if found is None:
        return None
    return Difference(
        seq=found.seq,
        at_s=turn.entry.at_s,
        what=found.what,
        event=event_to_json(turn.seen.event),
        before=before.to_json(),
        recorded=found.recorded,
        replayed=found.replayed,
    )


def _departure(turn: _Turn, replayed: list[Action], controller: Controller) -> _Departure | None:
    asked = [action for action in replayed if not isinstance(action, WakeAt)]
    for (seq, was), now in zip(turn.actions, asked, strict=False):
        if was != now and tagged_text(was) != tagged_text(now):
            return _Departure(seq, "action", action_to_json(was), action_to_json(now))
    seq, recorded = turn.entry.seq, [action for _, action in turn.actions]
    num_missing = len(asked) - len(recorded)
    if num_missing < 0 or (num_missing > 0 and not turn.is_cut):
        said = [[action_to_json(action) for action in some] for some in (recorded, asked)]
        return _Departure(seq, "number of actions", *said)
    wake_at_s = next((a.at_s for a in replayed if isinstance(a, WakeAt)), None)
    if wake_at_s != turn.seen.wake_at_s:
        return _Departure(seq, "wake-up", turn.seen.wake_at_s, wake_at_s)
    if (state_hash := controller.state_hash()) != turn.seen.state_hash:
        return _Departure(seq, "state hash", turn.seen.state_hash, state_hash)
    return None


class _Departure(NamedTuple):
    seq: int
    what: str
    recorded: Any
    replayed: Any


class _Standing(NamedTuple):
    """What a person wants to know of the controller."""

    phase: Phase
    generation: int
    committed_step: int | None
    held: HoldReason | None

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is None is left out."""
        found = self._asdict() | {
            "phase": self.phase.value,
            "held": self.held.value if self.held else None,
        }
        return {name: value for name, value in found.items() if value is not None}
