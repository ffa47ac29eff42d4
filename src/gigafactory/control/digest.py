"""What the brain knows, as bytes: cheap enough to be hashed after every event."""

from __future__ import annotations

import struct
import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Any

_PACKED = {float: "d", int: "q", bool: "?"}


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
