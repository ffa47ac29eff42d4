"""What the brain knows, as bytes and sums: cheap enough to be hashed after every event."""

from __future__ import annotations

import hashlib
import struct
import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Any

#: Of a sum that stands for a table.
MODULUS = 1 << 128
_PACKED = {float: "d", int: "q", bool: "?"}


def weight(first: int, second: int) -> int:
    """A number for one entry; their sum stands for a whole table, and is kept up in O(1)."""
    return int.from_bytes(hashlib.sha256(b"%d:%d" % (first, second)).digest()[:16])


class Summed(dict[int, int]):
    """A table of many numbers by host whose sum of weights is kept up once it was asked for.

    It changes by assignment, ``del`` and `drop` alone.
    """

    __slots__ = ("_sum",)

    def __init__(self) -> None:
        super().__init__()
        self._sum: int | None = None

    def total(self) -> int:
        """The sum of the weights; the same for the same entries, whatever their history."""
        if self._sum is None:
            self._sum = sum(weight(host, number) for host, number in self.items())
        return self._sum % MODULUS

    def __setitem__(self, host: int, number: int) -> None:
        self._take(host)
        super().__setitem__(host, number)
        if self._sum is not None:
            self._sum += weight(host, number)

    def __delitem__(self, host: int) -> None:
        self._take(host)
        super().__delitem__(host)

    def drop(self, host: int) -> None:
        """Remove the entry, if there is one."""
        if host in self:
            del self[host]

    def _take(self, host: int) -> None:
        if self._sum is not None and host in self:
            self._sum -= weight(host, self[host])


def bytes_of(cls: type[Any], *, without: tuple[str, ...]) -> Callable[[Any], bytes]:
    """Reads every field of the dataclass ``cls`` but the named ones, which need other words.

    Numbers are packed, as their text takes most of the time; what else there is (texts, pairs,
    what may be None) stands behind them as text. Both parts of an object of one class are told
    apart by the fixed length of the first.
    """
    hints = {name: hint for name, hint in typing.get_type_hints(cls).items() if name not in without}
    numbers = [name for name, hint in hints.items() if hint in _PACKED]
    numbers_of = attrgetter(*numbers)
    others_of = attrgetter(*(name for name in hints if name not in numbers))
    layout = struct.Struct("<" + "".join(_PACKED[hints[name]] for name in numbers))

    def read(source: Any) -> bytes:
        found = numbers_of(source)
        try:
            packed = layout.pack(*found)
        except (struct.error, OverflowError):
            # a number beyond 64 bits, in an absurd event
            packed = repr(found).encode()
        return packed + repr(others_of(source)).encode()

    return read
