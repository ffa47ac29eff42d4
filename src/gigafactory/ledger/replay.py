"""Feed the recorded events of a campaign to a fresh controller and compare what it does.

The same code decided when the ledger was written; so every action and every state hash must come
out again, whether the events were invented by the twin or observed in production.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from gigafactory.control.actions import Action
from gigafactory.control.config import ControlConfig, config_from_json
from gigafactory.control.controller import Controller
from gigafactory.control.events import Reattached
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
from gigafactory.ledger.exchange import action_to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where the replay departs from the record."""

    seq: int
    """Of the entry in the ledger."""
    what: str
    """``action``, ``number of actions`` or ``state hash``."""
    recorded: Any
    replayed: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """Whether the controller acts as it did."""

    num_events: int
    num_actions: int
    difference: Difference | None = None

    @property
    def same(self) -> bool:
        """No difference was found."""
        return self.difference is None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; ``difference`` is null where everything agrees."""
        return {"same": self.same, **asdict(self)}

    def text(self) -> str:
        """The result in words."""
        counted = f"{self.num_events} events, {self.num_actions} actions"
        if self.difference is None:
            return f"{counted}: every action and every state hash as recorded"
        first = self.difference
        return (
            f"{counted}, then at entry {first.seq} ({first.what}):\n"
            f"  recorded: {first.recorded}\n  replayed: {first.replayed}"
        )


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
    rest = iter(entries)
    config = _config(next(rest, None))
    controller = Controller(config)
    num_events = num_actions = 0
    for turn in _turns(rest):
        if turn.is_first:
            controller = Controller(config)
        num_events += 1
        num_actions += len(turn.actions)
        if difference := _compare(controller, turn):
            return ReplayResult(
                num_events=num_events, num_actions=num_actions, difference=difference
            )
    return ReplayResult(num_events=num_events, num_actions=num_actions)


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
    replayed = controller.handle(turn.seen.event)
    for (seq, was), now in zip(turn.actions, replayed, strict=False):
        if was != now and tagged_text(was) != tagged_text(now):
            return Difference(
                seq=seq, what="action", recorded=action_to_json(was), replayed=action_to_json(now)
            )
    num_recorded = len(turn.actions)
    if num_recorded > len(replayed) or (num_recorded < len(replayed) and not turn.is_cut):
        return Difference(
            seq=turn.entry.seq,
            what="number of actions",
            recorded=[action_to_json(action) for _, action in turn.actions],
            replayed=[action_to_json(action) for action in replayed],
        )
    if (state_hash := controller.state_hash()) != turn.seen.state_hash:
        return Difference(
            seq=turn.entry.seq,
            what="state hash",
            recorded=turn.seen.state_hash,
            replayed=state_hash,
        )
    return None
