"""JSON objects back to frozen dataclasses, strictly; the spellings are those of `ledger.encode`."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from enum import Enum
from typing import Any, TypeVar

from gigafactory.control import actions, events
from gigafactory.control.actions import Action, StartGang, Token
from gigafactory.control.events import Event
from gigafactory.ledger.hosts import runs_tuple, seats_after

T = TypeVar("T")
Convert = Callable[[Any], Any]
_DECODERS: dict[type[Any], tuple[dict[str, Convert], tuple[str, ...]]] = {}
_EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in events.EVENTS}
_ACTIONS: dict[str, type[Action]] = {cls.__name__: cls for cls in actions.ACTIONS}
_INFINITE = {"inf": math.inf, "-inf": -math.inf}


def from_json(cls: type[T], source: dict[str, Any]) -> T:
    """The dataclass again; ValueError names what is missing, unknown or of the wrong type."""
    if cls not in _DECODERS:
        _DECODERS[cls] = _decoders(cls)
    decoders, required = _DECODERS[cls]
    found = {}
    for name, value in source.items():
        decode = decoders.get(name)
        if decode is None:
            raise ValueError(f"unknown key {name!r}; known are {', '.join(decoders)}")
        try:
            found[name] = decode(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None
    for name in required:
        if name not in found:
            raise ValueError(f"key {name!r} is missing")
    return cls(**found)


def event_from_json(source: Any) -> Event:
    """The event of an object with its name under ``type``; ValueError says what is wrong."""
    cls, content = _named(source, _EVENTS)
    return from_json(cls, content)


def action_from_json(source: Any, *, seats: tuple[int, ...] = ()) -> Action:
    """Like an event. ``seats``: the hosts by seat before it, for a gang that is started again."""
    cls, content = _named(source, _ACTIONS)
    if cls is not StartGang or "hosts" in content:
        return from_json(cls, content)
    num_hosts = content.pop("num_hosts", None)
    if num_hosts is not None and type(num_hosts) is not int:
        raise ValueError(f"num_hosts: {num_hosts!r} is not int")
    start = from_json(StartGang, {"hosts": "", **content})
    if start.seated is None:
        raise ValueError("key 'hosts' is missing: the first gang names all of them")
    return replace(start, hosts=seats_after(seats, start.seated, num_hosts=num_hosts))


def _named(source: Any, known: dict[str, type[T]]) -> tuple[type[T], dict[str, Any]]:
    if not isinstance(source, dict):
        raise ValueError(f"{source!r} is not an object with a type")
    content = dict(source)
    name = content.pop("type", None)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"type {name!r} is not one of {', '.join(known)}")
    return known[name], content


def _decoders(cls: type[Any]) -> tuple[dict[str, Convert], tuple[str, ...]]:
    hints = typing.get_type_hints(cls)
    required = tuple(
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
    )
    return {f.name: _decoder(hints[f.name]) for f in fields(cls)}, required


def _decoder(hint: Any) -> Convert:
    if hint in _PLAIN:
        return _PLAIN[hint]
    members = typing.get_args(hint)
    if type(None) in members:
        (some,) = (member for member in members if member is not type(None))
        decode = _or_null(some) if some in (int, str) else _decoder(some)
        return lambda value: None if value is None else decode(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return _exactly(typing.get_origin(hint) or hint)


def _exactly(kind: type[Any], words: str = "") -> Convert:
    """A value of this very type: True is no whole number."""

    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not {words or kind.__name__}")
        return value

    return decode


def _or_null(kind: type[Any]) -> Convert:
    return _exactly(kind, f"{kind.__name__} or null")


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    if value is None:
        return math.nan
    if isinstance(value, str) and value in _INFINITE:
        return _INFINITE[value]
    raise ValueError(f"{value!r} is not float")


def _pair(pair: Any) -> tuple[int, int]:
    if not isinstance(pair, list) or [type(item) for item in pair] != [int, int]:
        raise ValueError(f"{pair!r} is not a pair of whole numbers")
    return pair[0], pair[1]


def _list_of(decode: Convert) -> Convert:
    def decode_all(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list):
            raise ValueError(f"{values!r} is not a list")
        return tuple(map(decode, values))

    return decode_all


_PLAIN: dict[Any, Convert] = {
    float: _float,
    tuple[int, ...]: runs_tuple,
    Sequence[int]: runs_tuple,
    tuple[tuple[int, ...], ...]: _list_of(runs_tuple),
    tuple[tuple[int, int], ...]: _list_of(_pair),
    Token: lambda pair: Token(*_pair(pair)),
    Event: event_from_json,
    Action: action_from_json,
}
