"""Slurm's way to write many host names: ``n[1-3,07],login`` and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

_NAME = re.compile(r"^(.*?)(\d+)$")
_PART = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")
_BRACKET = re.compile(r"^([^\[]*)\[([^\]]*)\](.*)$")


def expand(text: str) -> list[str]:
    """Every name, in the order written; ValueError where a range is none."""
    return [name for part in _PART.findall(text.strip()) for name in _expand(part)]


def _expand(part: str) -> Iterator[str]:
    found = _BRACKET.match(part)
    if found is None:
        yield part
        return
    head, ranges, tail = found.groups()
    for piece in ranges.split(","):
        first, _, last = piece.partition("-")
        for number in range(int(first), int(last or first) + 1):
            for rest in _expand(tail):
                yield f"{head}{number:0{len(first)}d}{rest}"


def compress(names: Iterable[str]) -> str:
    """The shortest list; names that differ in their last number only share a bracket."""
    return ",".join(_folded(names))


def _folded(names: Iterable[str]) -> Iterator[str]:
    def kind(name: str) -> tuple[str, int]:
        found = _NAME.match(name)
        return (found[1], len(found[2])) if found else (name, 0)

    for (head, width), group in groupby(sorted(set(names), key=natural), key=kind):
        if not width:
            yield head
            continue
        numbers = [int(name[len(head) :]) for name in group]
        runs = list(_runs(numbers))
        spans = [f"{a:0{width}d}" if a == b else f"{a:0{width}d}-{b:0{width}d}" for a, b in runs]
        is_single = len(runs) == 1 and runs[0][0] == runs[0][1]
        yield f"{head}{spans[0]}" if is_single else f"{head}[{','.join(spans)}]"


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of every run of consecutive numbers."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]


def natural(name: str) -> tuple[object, ...]:
    """Sorts n2 before n10, and names of one width together."""
    found = _NAME.match(name)
    return (found[1], len(found[2]), int(found[2])) if found else (name, 0, 0)
