"""The hosts of a gang by seat, as a value that costs nothing to keep.

At 12,500 hosts a tuple for each of thousands of starts is most of the time and memory of a
campaign, for a start that changes one seat. So a seating shares what did not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

#: Changed seats from which on a new base is worth its copy.
_MANY = 256


class Seating(Sequence[int]):
    """Immutable; equal to any sequence of the same hosts."""

    __slots__ = ("_base", "_changes")

    def __init__(self, hosts: Iterable[int]) -> None:
        self._base = tuple(hosts)
        self._changes: dict[int, int] = {}

    def reseated(self, pairs: Iterable[tuple[int, int]]) -> Seating:
        """The same with other hosts on some seats: (seat, host) pairs of seats that exist."""
        found = Seating(())
        changes = {**self._changes, **dict(pairs)}
        if len(changes) < _MANY:
            found._base, found._changes = self._base, changes
        else:
            found._base = tuple(_changed(self._base, changes))
        return found

    def __len__(self) -> int:
        return len(self._base)

    @overload
    def __getitem__(self, seat: int) -> int: ...
    @overload
    def __getitem__(self, seat: slice) -> tuple[int, ...]: ...
    def __getitem__(self, seat: int | slice) -> int | tuple[int, ...]:
        if isinstance(seat, slice):
            return tuple(self)[seat]
        host = self._base[seat]
        return self._changes.get(seat % len(self._base), host)

    def __iter__(self) -> Iterator[int]:
        return iter(_changed(self._base, self._changes))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Seating):
            same = self._base is other._base and self._changes == other._changes
            return same or tuple(self) == tuple(other)
        return isinstance(other, tuple | list) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _changed(base: tuple[int, ...], changes: dict[int, int]) -> Sequence[int]:
    if not changes:
        return base
    hosts = list(base)
    for seat, host in changes.items():
        hosts[seat] = host
    return hosts
