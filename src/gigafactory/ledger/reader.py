"""Reading the book, strictly: what is wrong is named with its path and line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gigafactory.control.actions import Action, JoinReplica, StartGang
from gigafactory.describe.errors import InputError
from gigafactory.ledger.decode import action_from_json, from_json
from gigafactory.ledger.entries import (
    KINDS,
    READABLE,
    SCHEMA,
    ActionTaken,
    Content,
    Entry,
    Opened,
)
from gigafactory.ledger.hosts import seats_after

_HEAD = {"at_s": (int, float), "seq": (int,), "generation": (int,), "kind": (str,)}


def read_ledger(path: Path, *, tolerate_torn: bool = False) -> list[Entry]:
    """Every entry of the book at ``path``.

    InputError names path, line and what would be right. ``tolerate_torn`` leaves out a last
    line that a crash cut short.
    """
    lines = _text(path).split("\n")
    torn = lines.pop()
    if torn and not tolerate_torn:
        raise InputError(
            f"{path}:{len(lines) + 1}: the last line is cut short (a crash while writing); "
            "resume the run, which cuts it off, or delete that line"
        )
    if not lines:
        raise InputError(f"{path}: the ledger is empty; its first line must be an 'opened' entry")
    return list(parse_lines(lines, place=str(path)))


def parse_lines(lines: Iterable[str], *, place: str) -> Iterator[Entry]:
    """Entries from whole lines; InputError names ``place`` and line."""
    at_s, seats = 0.0, _Seats()
    for seq, line in enumerate(lines):
        try:
            entry = _entry(line, seq=seq, since_s=at_s, seats=seats)
        except ValueError as error:
            raise InputError(f"{place}:{seq + 1}: {error}") from None
        at_s = entry.at_s
        yield entry


def whole_bytes(path: Path) -> int:
    """How many bytes of the file are whole lines."""
    return path.read_bytes().rfind(b"\n") + 1


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such ledger; `giga run` writes ledger.jsonl and `giga simulate` "
            "twin.jsonl into the run folder"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}: not a ledger") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


class _Seats:
    """Who sits where: a gang that is started again names only the seats that changed."""

    def __init__(self) -> None:
        self._hosts: tuple[int, ...] = ()

    def content(self, kind: str, source: dict[str, Any]) -> Content:
        """What the line says, with the hosts of the gang where it is one."""
        if KINDS[kind] is not ActionTaken:
            content: Content = from_json(KINDS[kind], source)
            return content
        if source.keys() != {"action"}:
            return from_json(ActionTaken, source)  # says what is wrong
        try:
            action = action_from_json(source["action"], seats=self._hosts)
            self._follow(action)
        except ValueError as error:
            raise ValueError(f"action: {error}") from None
        return ActionTaken(action=action)

    def _follow(self, action: Action) -> None:
        if isinstance(action, StartGang):
            self._hosts = tuple(action.hosts)
        elif isinstance(action, JoinReplica):
            self._hosts = seats_after(self._hosts, action.seated)


def _entry(line: str, *, seq: int, since_s: float, seats: _Seats) -> Entry:
    source = _object(line)
    at_s, found_seq, generation = (_head(source, key) for key in ("at_s", "seq", "generation"))
    kind = _head(source, "kind")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if seq == 0:
        _check_opening(kind, source)
    if found_seq != seq:
        raise ValueError(f"seq is {found_seq}, the line before makes it {seq}: lines are missing")
    if at_s < since_s:
        raise ValueError(f"at_s {at_s} lies before the line above ({since_s})")
    return Entry(float(at_s), seq, generation, seats.content(kind, source))


def _object(line: str) -> dict[str, Any]:
    try:
        source = json.loads(line, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not a JSON object: {error.msg} at column {error.colno} (is the line truncated?)"
        ) from None
    if not isinstance(source, dict):
        raise ValueError("not a JSON object")
    return source


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON; an unknown figure is null")


def _head(source: dict[str, Any], key: str) -> Any:
    """Take one of the four common keys out of the object."""
    value = source.pop(key, None)
    if type(value) not in _HEAD[key]:
        wanted = "text" if key == "kind" else "a number"
        raise ValueError(f"{key} must be {wanted}, not {value!r}")
    return value


def _check_opening(kind: str, source: dict[str, Any]) -> None:
    if KINDS[kind] is not Opened:
        raise ValueError(f"the first entry is {kind!r}, it must be 'opened'")
    if source.get("schema") not in READABLE:
        raise ValueError(f"schema {source.get('schema')!r} is not {SCHEMA!r}, which this reads")
