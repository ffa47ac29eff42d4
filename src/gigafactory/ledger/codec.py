"""Frozen dataclasses to JSON objects and back, from their type hints alone.

Tuples of hosts are written as runs, in their order (``"0-41,12500,43-12499"``): a gang of 12,500
hosts stays a line that a person can read. Everything else is plain JSON.
"""

from __future__ import annotations

import math
import types
import typing
from array import array
from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from gigafactory.control.actions import Token

T = TypeVar("T")
Convert = Callable[[Any], Any]
#: Looked up from the type hints once a class.
_ENCODERS: dict[type[Any], tuple[tuple[str, Convert | None], ...]] = {}
_DECODERS: dict[type[Any], tuple[dict[str, Convert], tuple[str, ...]]] = {}
_PAIRS = tuple[tuple[int, int], ...] | None


def to_json(content: Any) -> dict[str, Any]:
    """The fields of a dataclass as a JSON object, in their order."""
    cls = type(content)
    if cls not in _ENCODERS:
        _ENCODERS[cls] = _encoders(cls)
    return {
        name: getattr(content, name) if encode is None else encode(getattr(content, name))
        for name, encode in _ENCODERS[cls]
    }


def from_json(cls: type[T], source: dict[str, Any]) -> T:
    """The dataclass again; ValueError names what is missing, unknown or of the wrong type."""
    if cls not in _DECODERS:
        _DECODERS[cls] = _decoders(cls)
    decoders, required = _DECODERS[cls]
    if unknown := source.keys() - decoders.keys():
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}; known are {', '.join(decoders)}")
    if missing := [name for name in required if name not in source]:
        raise ValueError(f"key {missing[0]!r} is missing")
    found = {}
    for name, value in source.items():
        try:
            found[name] = decoders[name](value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None
    return cls(**found)


def runs_text(hosts: tuple[int, ...]) -> str:
    """``(0, 1, 2, 9)`` -> ``"0-2,9"``; order is kept, only rising neighbours join."""
    if not hosts:
        return ""
    column = np.frombuffer(array("q", hosts), dtype=np.int64)
    ends = np.append(np.flatnonzero(np.diff(column) != 1), len(hosts) - 1)
    starts = np.append(0, ends[:-1] + 1)
    pairs = zip(column[starts].tolist(), column[ends].tolist(), strict=True)
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)


def runs_tuple(text: Any) -> tuple[int, ...]:
    """The inverse of `runs_text`; ValueError on anything else."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a list of hosts like '0-41,57'")
    hosts: list[int] = []
    for run in text.split(",") if text else ():
        first, dash, last = run.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{run!r} is not a host or a run of hosts like '0-41'")
        hosts.extend(range(int(first), int(last or first) + 1))
    return tuple(hosts)


def _encoders(cls: type[Any]) -> tuple[tuple[str, Convert | None], ...]:
    hints = typing.get_type_hints(cls)
    return tuple((f.name, _encoder(hints[f.name])) for f in fields(cls))


def _encoder(hint: Any) -> Convert | None:
    """None where the value is JSON already."""
    if hint == tuple[int, ...]:
        return runs_text
    if hint is Token:
        return lambda token: [token.generation, token.attempt]
    if hint == _PAIRS:
        return lambda pairs: pairs if pairs is None else [list(pair) for pair in pairs]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda member: member.value
    if float in _members(hint):
        return _finite_or_none
    return None


def _finite_or_none(value: float | None) -> float | None:
    """JSON has no NaN; an unknown figure is null."""
    return float(value) if value is not None and math.isfinite(value) else None


def _decoders(cls: type[Any]) -> tuple[dict[str, Convert], tuple[str, ...]]:
    hints = typing.get_type_hints(cls)
    required = tuple(
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
    )
    return {f.name: _decoder(hints[f.name]) for f in fields(cls)}, required


def _decoder(hint: Any) -> Convert:
    if hint == tuple[int, ...]:
        return runs_tuple
    if hint is Token:
        return lambda pair: Token(*_integers(pair))
    if hint == _PAIRS:
        return lambda pairs: pairs if pairs is None else tuple(_integers(pair) for pair in pairs)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    allowed = _members(hint)
    return lambda value: _checked(value, allowed)


def _integers(pair: Any) -> tuple[int, int]:
    if not isinstance(pair, list) or [type(item) for item in pair] != [int, int]:
        raise ValueError(f"{pair!r} is not a pair of whole numbers")
    return pair[0], pair[1]


def _members(hint: Any) -> tuple[Any, ...]:
    """``float | None`` -> (float, NoneType); a plain type is its own member."""
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)
    return (typing.get_origin(hint) or hint,)


def _checked(value: Any, allowed: tuple[Any, ...]) -> Any:
    kind = type(value)
    if kind in allowed:
        return value
    if float in allowed and kind is int:
        return float(value)
    if float in allowed and value is None:
        return math.nan
    raise ValueError(f"{value!r} is not {' or '.join(t.__name__ for t in allowed)}")
