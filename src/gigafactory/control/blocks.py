"""How much key/value memory a serving engine has left, counted in blocks of tokens.

Blocks are counted, not numbered: which block of memory holds what is the engine's affair. So a twin
with a million conversations pays for decisions only. Full blocks of a prompt may be published
under a key (a hash of all tokens up to their end); a published block that nobody uses stays until
its room is needed, the one unused for longest going first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

Key = int | bytes
"""Names a block by all tokens up to its end."""


class Blocks:
    """The account of one pool. Law: free + taken + shared + idle = total, none below 0."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.num_free = num_blocks
        self._users: dict[Key, int] = {}
        self._idle: OrderedDict[Key, None] = OrderedDict()

    @property
    def num_available(self) -> int:
        """Blocks that can be had at once, those of unused published prompts included."""
        return self.num_free + len(self._idle)

    @property
    def num_published(self) -> int:
        """Published blocks, used and unused."""
        return len(self._users) + len(self._idle)

    def num_known(self, keys: Sequence[Key]) -> int:
        """How many of the first of ``keys`` are published, up to the first that is not."""
        users, idle = self._users, self._idle
        for index, key in enumerate(keys):
            if key not in users and key not in idle:
                return index
        return len(keys)

    def num_idle(self, keys: Sequence[Key]) -> int:
        """How many of ``keys`` nobody uses at the moment: to use them leaves less available."""
        return len([key for key in keys if key in self._idle])

    def use(self, keys: Sequence[Key]) -> None:
        """One more user of these published blocks."""
        users, idle = self._users, self._idle
        for key in keys:
            if key in users:
                users[key] += 1
            else:
                idle.pop(key, None)
                users[key] = 1

    def take(self, num_blocks: int) -> tuple[Key, ...]:
        """Take unnumbered blocks; returns the keys of published ones given up for them.

        ValueError where more are wanted than are available.
        """
        if num_blocks > self.num_free + len(self._idle):
            raise ValueError(f"{num_blocks} blocks are wanted, {self.num_available} available")
        short = num_blocks - self.num_free
        if short <= 0:
            self.num_free -= num_blocks
            return ()
        first = self._idle.popitem
        self.num_free = 0
        return tuple([first(last=False)[0] for _ in range(short)])

    def publish(self, keys: Sequence[Key]) -> int:
        """Taken blocks become shared ones with one user, up to the first whose key is known
        already; it and those after it stay their owner's own. How many became shared."""
        users, idle = self._users, self._idle
        for index, key in enumerate(keys):
            if key in users or key in idle:
                return index
            users[key] = 1
        return len(keys)

    def give_back(self, *, num_own: int, keys: Sequence[Key]) -> None:
        """Own blocks become free, shared ones lose a user.

        The last of a prompt's blocks are given up first, as the first serve more prompts.
        """
        self.num_free += num_own
        users, idle = self._users, self._idle
        for key in reversed(keys):
            left = users[key] - 1
            if left:
                users[key] = left
            else:
                del users[key]
                idle[key] = None
