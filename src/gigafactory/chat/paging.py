"""Block tables: what the scheduler counts, with numbers. No tensors here.

The scheduler (control/serving.py) decides who has how many blocks; this carries its actions out
and says which block of memory holds which part of which conversation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from gigafactory.control.batching import (
    Displaced,
    Ended,
    Evicted,
    Published,
    ServingAction,
    Started,
)


def block_keys(ids: Sequence[int], *, block_tokens: int, salt: str = "") -> tuple[bytes, ...]:
    """A name for each full block of ``ids``: a hash of all tokens up to its end, so that blocks
    are shared only where ``salt`` and everything before them is the same too."""
    keys: list[bytes] = []
    so_far = salt.encode()
    for start in range(0, len(ids) - block_tokens + 1, block_tokens):
        part = ",".join(map(str, ids[start : start + block_tokens]))
        so_far = hashlib.blake2b(so_far + part.encode(), digest_size=16).digest()
        keys.append(so_far)
    return tuple(keys)


@dataclass(slots=True)
class Tables:
    """Which blocks are free, published, or some conversation's own."""

    num_blocks: int
    block_tokens: int
    free: list[int] = field(init=False)
    keys: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    _published: dict[object, int] = field(default_factory=dict)
    _tables: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = list(range(self.num_blocks))

    def carry_out(self, action: ServingAction) -> None:
        """Do what the scheduler decided about memory; other actions are passed over."""
        if isinstance(action, Started):
            keys = self.keys[action.id][: action.num_shared]
            self._tables[action.id] = [self._published[key] for key in keys]
        elif isinstance(action, Published):
            for index in action.indices:
                self._published[self.keys[action.id][index]] = self._tables[action.id][index]
        elif isinstance(action, Evicted):
            self.free += [self._published.pop(key) for key in action.keys]
        elif isinstance(action, Displaced | Ended):
            shared = set(self._published.values())
            table = self._tables.pop(action.id, [])
            self.free += [block for block in table if block not in shared]

    def grown(self, ident: int, num_tokens: int) -> list[int]:
        """The table of ``ident`` with room for ``num_tokens`` tokens."""
        table = self._tables[ident]
        while len(table) * self.block_tokens < num_tokens:
            table.append(self.free.pop())
        return table
