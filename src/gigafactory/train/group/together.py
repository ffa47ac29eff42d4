"""The processes of one group act as one: what one of them cannot do, none does.

Each has its own links to its like in the other groups, and any of them may lose a peer while the
others do not. So after every exchange they tell each other how it went; and only the first one
takes orders, which the others follow in the same sequence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from gigafactory.describe.group import Doing
from gigafactory.train.group.line import Pulse
from gigafactory.train.group.links import Interrupted, PeerGone

T = TypeVar("T")
_LONG = timedelta(days=30)


class Together:
    """This process among those of its group, which must have joined; a collective."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.rank, self.num = dist.get_rank(), dist.get_world_size()
        # who waits for an order may wait for long
        self._group = dist.new_group(backend="gloo", timeout=_LONG) if self.num > 1 else None

    @property
    def leads(self) -> bool:
        """Whether this one takes the orders."""
        return self.rank == 0

    def each(self, value: T) -> list[T]:
        """What every process of the group says, by rank."""
        if self.num == 1:
            return [value]
        found: list[Any] = [None] * self.num
        with self._waiting():
            dist.all_gather_object(found, value, group=self._group)
        return list(found)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Nobody can show that he lives while he waits in a collective."""
        before = self._pulse.doing
        self._pulse.beat(Doing.AMONG)
        yield
        self._pulse.beat(before)

    def follow(self, take: Callable[[], T]) -> T:
        """What the first one takes."""
        if self.num == 1:
            return take()
        found: list[Any] = [take() if self.leads else None]
        with self._waiting():
            dist.broadcast_object_list(found, src=0, group=self._group)
        order: T = found[0]
        return order

    def all_or_none(self, work: Callable[[], T]) -> T:
        """Do ``work``, which ends by PeerGone or Interrupted here where it did so anywhere."""
        error: PeerGone | Interrupted | None = None
        found: Any = None
        try:
            found = work()
        except (PeerGone, Interrupted) as why:
            error = why
        gone = [error.replica if isinstance(error, PeerGone) else -1] if error else []
        others = [replica for some in self.each(gone) for replica in some]
        if error is not None:
            raise error
        if others:
            raise PeerGone(others[0]) if others[0] >= 0 else Interrupted
        result: T = found
        return result
