"""Events and actions of the brain as JSON objects with their name under ``type``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from gigafactory.control import actions, events
from gigafactory.control.actions import Action, StartGang
from gigafactory.control.events import Event
from gigafactory.ledger.codec import from_json, runs_text, to_json

T = TypeVar("T")

EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in events.EVENTS}
ACTIONS: dict[str, type[Action]] = {cls.__name__: cls for cls in actions.ACTIONS}


def event_to_json(event: Event) -> dict[str, Any]:
    """``{"type": "Ticked", "at_s": 3.0}``."""
    return {"type": type(event).__name__, **to_json(event)}


def event_from_json(source: dict[str, Any]) -> Event:
    """The event again; ValueError says what is wrong."""
    return from_json(_named(source, EVENTS), _without_type(source))


def action_to_json(action: Action) -> dict[str, Any]:
    """Like an event. A restarted gang names the seats that changed, not all its hosts again."""
    if isinstance(action, StartGang) and action.seated is not None:
        found = to_json(replace(action, hosts=()))
        del found["hosts"]
    else:
        found = to_json(action)
    return {"type": type(action).__name__, **found}


def action_from_json(source: dict[str, Any], *, seats: tuple[int, ...] = ()) -> Action:
    """The action again; ``seats`` are the hosts of the gang before, for a restart."""
    cls = _named(source, ACTIONS)
    content = _without_type(source)
    if cls is StartGang and "hosts" not in content:
        taken = dict(enumerate(seats)) | dict(content.get("seated") or ())
        content["hosts"] = runs_text(tuple(taken[seat] for seat in sorted(taken)))
    return from_json(cls, content)


def _named(source: dict[str, Any], known: dict[str, type[T]]) -> type[T]:
    name = source.get("type")
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"type {name!r} is not one of {', '.join(known)}")
    return known[name]


def _without_type(source: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in source.items() if key != "type"}
