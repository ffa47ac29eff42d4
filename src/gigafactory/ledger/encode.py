"""Frozen dataclasses to the text of JSON, from their type hints alone.

What a field needs is looked up once a class. Spellings: hosts as runs (`ledger.hosts`), a token as
``[generation, attempt]``, an enum as its value, an event or action as an object with its name
under ``type``. JSON has neither inf nor NaN: an infinite figure is the text ``"inf"``, an unknown
one is null.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields
from enum import Enum
from math import inf, isnan
from typing import Any

from gigafactory.control.actions import Action, StartGang, Token
from gigafactory.control.events import Event
from gigafactory.ledger.hosts import runs_text

Text = Callable[[Any], str]
_ENCODERS: dict[type[Any], Text] = {}
_JSON: Text = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode


def text_of(content: Any) -> str:
    """The fields of a dataclass as the members of a JSON object, in their order, no braces."""
    encode = _ENCODERS.get(type(content))
    if encode is None:
        encode = _ENCODERS[type(content)] = _encoder_of(type(content))
    return encode(content)


def tagged_text(content: Event | Action) -> str:
    """An event or an action: ``{"type":"Ticked","at_s":3.0}``."""
    return f'{{"type":"{type(content).__name__}",{text_of(content)}}}'


def _encoder_of(cls: type[Any]) -> Text:
    if cls is StartGang:
        return _started
    return _encoder(cls, [f.name for f in fields(cls)])


def _encoder(cls: type[Any], names: list[str]) -> Text:
    """Encodes these fields of ``cls``.

    Compiled, like the methods of a dataclass, because most of a twin's time would go into a loop
    over the fields of its lines.
    """
    hints = typing.get_type_hints(cls)
    scope = {f"text_{name}": _text(hints[name]) for name in names}
    members = ",".join(
        f'"{name}":{{content.{name}}}'
        if hints[name] is int
        else f'"{name}":{{text_{name}(content.{name})}}'
        for name in names
    )
    encode: Text = eval(f"lambda content: f'{members}'", scope)
    return encode


def _started(start: StartGang) -> str:
    """The first gang names its hosts; every other one its size, and the seats that changed."""
    if start.seated is None:
        return _WHOLE(start)
    return f'{_HEAD(start)},"num_hosts":{len(start.hosts)},{_TAIL(start)}'


def _text(hint: Any) -> Text:
    """How a value of this type is written."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    members = typing.get_args(hint)
    if type(None) in members:
        (some,) = (member for member in members if member is not type(None))
        encode = _finite if some is float else _text(some)
        return lambda value: "null" if value is None else encode(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {member: _JSON(member.value) for member in hint}.__getitem__
    return _JSON


def _float(value: float) -> str:
    if value - value == 0.0:
        return float.__repr__(float(value))
    return "null" if isnan(value) else '"inf"' if value == inf else '"-inf"'


def _finite(value: float) -> str:
    """Where null is a word of the field, an infinite figure is as good as unknown."""
    return float.__repr__(float(value)) if value - value == 0.0 else "null"


def _pairs(pairs: tuple[tuple[int, int], ...]) -> str:
    return f"[{','.join([f'[{a},{b}]' for a, b in pairs])}]"


_PLAIN: dict[Any, Text] = {
    int: int.__repr__,
    float: _float,
    bool: lambda value: "true" if value else "false",
    str: _JSON,
    tuple[int, ...]: lambda hosts: f'"{runs_text(hosts)}"',
    Sequence[int]: lambda hosts: f'"{runs_text(tuple(hosts))}"',
    tuple[tuple[int, ...], ...]: lambda groups: _JSON([runs_text(group) for group in groups]),
    tuple[tuple[int, int], ...]: _pairs,
    Token: lambda token: f"[{token.generation},{token.attempt}]",
    Event: tagged_text,
    Action: tagged_text,
}
_FIELDS = [f.name for f in fields(StartGang)]
_WHOLE = _encoder(StartGang, _FIELDS)
_HEAD = _encoder(StartGang, ["token"])
_TAIL = _encoder(StartGang, [name for name in _FIELDS if name not in ("token", "hosts")])
