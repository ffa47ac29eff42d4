"""How much key/value memory a serving engine has left, counted in blocks of tokens.

Blocks are counted, not numbered: which block of memory holds what is the engine's affair. So a twin
with a million conversations pays for decisions only. Full blocks of a prompt may be published
under a key (a hash of all tokens up to their end); a published block that nobody uses stays until
its room is needed, the one unused for longest going first.

A key tells all that came before it, so published blocks form a tree, and blocks that were always
used together are one ``Branch`` of it (a radix tree, Morrison 1968): a prompt of a hundred blocks
costs a step for each of its few branches. A branch is parted where some prompt leaves it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

Key = int | bytes
"""Names a block by all tokens up to its end."""


@dataclass(slots=True, eq=False)
class Branch:
    """Published blocks in a row that have the same users."""

    keys: tuple[Key, ...]
    before: Branch | None
    num_users: int
    num_blocks: int
    """From the beginning of the prompt to the end of this branch."""


class Blocks:
    """The account of one pool. Law: free + taken + shared + idle = total, none below 0."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.num_free = num_blocks
        self.num_available = num_blocks
        """Blocks that can be had at once, those of unused published prompts included."""
        self.num_published = 0
        """Published blocks, used and unused."""
        self._branches: dict[Key, Branch] = {}
        """By their first key."""
        self._idle: OrderedDict[Branch, None] = OrderedDict()
        """Nobody uses them; what grows out of a branch is before it."""

    def num_known(self, keys: Sequence[Key]) -> int:
        """How many of the first of ``keys`` are published, up to the first that is not."""
        known, num = 0, len(keys)
        while known < num:
            branch = self._branches.get(keys[known])
            if branch is None:
                break
            shared = _num_alike(branch, keys, known)
            known += shared
            if shared < len(branch.keys):
                break
        return known

    def num_idle(self, keys: Sequence[Key]) -> int:
        """How many of ``keys``, which are published, nobody uses at the moment: to use them leaves
        less available."""
        place, num_idle = 0, 0
        while place < len(keys):
            branch = self._branches[keys[place]]
            if not branch.num_users:
                num_idle += min(len(branch.keys), len(keys) - place)
            place += len(branch.keys)
        return num_idle

    def use(self, keys: Sequence[Key]) -> Branch | None:
        """One more user of these published blocks; the branch that the last of them ends."""
        place, num, branch = 0, len(keys), None
        while place < num:
            branch = self._branches[keys[place]]
            if place + len(branch.keys) > num:
                branch = self._part(branch, num - place)
            if not branch.num_users:
                self._idle.pop(branch, None)
                self.num_available -= len(branch.keys)
            branch.num_users += 1
            place = branch.num_blocks
        return branch

    def take(self, num_blocks: int) -> tuple[Key, ...]:
        """Take unnumbered blocks; returns the keys of published ones given up for them.

        ValueError where more are wanted than are available.
        """
        if num_blocks > self.num_available:
            raise ValueError(f"{num_blocks} blocks are wanted, {self.num_available} available")
        self.num_available -= num_blocks
        self.num_free -= num_blocks
        if self.num_free >= 0:
            return ()
        short, self.num_free = -self.num_free, 0
        self.num_published -= short
        return self._give_up(short)

    def publish(self, keys: Sequence[Key], *, after: Branch | None) -> Branch | None:
        """Taken blocks become shared ones with one user, who uses those up to ``after`` already;
        None where the first of ``keys`` is known: then all stay their owner's own."""
        if not keys or keys[0] in self._branches:
            return None
        before = after.num_blocks if after else 0
        branch = Branch(tuple(keys), after, 1, before + len(keys))
        self._branches[keys[0]] = branch
        self.num_published += len(keys)
        return branch

    def give_back(self, *, num_own: int, branch: Branch | None) -> None:
        """Own blocks become free, those up to the end of ``branch`` lose a user.

        The last of a prompt's blocks are given up first, as the first serve more prompts.
        """
        self.num_free += num_own
        self.num_available += num_own
        while branch is not None:
            branch.num_users -= 1
            if not branch.num_users:
                self._idle[branch] = None
                self.num_available += len(branch.keys)
            branch = branch.before

    def _part(self, lower: Branch, num_upper: int) -> Branch:
        """Part the first ``num_upper`` blocks from a branch; whoever uses all of it still does."""
        keys = lower.keys
        first = lower.num_blocks - len(keys) + num_upper
        upper = Branch(keys[:num_upper], lower.before, lower.num_users, first)
        lower.keys, lower.before = keys[num_upper:], upper
        self._branches[upper.keys[0]], self._branches[lower.keys[0]] = upper, lower
        return upper

    def _give_up(self, num_blocks: int) -> tuple[Key, ...]:
        """Of those unused for longest, the last of their blocks first."""
        given_up: list[Key] = []
        while num_blocks:
            branch = next(iter(self._idle))
            keys = branch.keys
            if len(keys) > num_blocks:
                branch.keys = keys[:-num_blocks]
                branch.num_blocks -= num_blocks
            else:
                del self._idle[branch], self._branches[keys[0]]
            given_up += keys[: -num_blocks - 1 : -1]
            num_blocks -= min(num_blocks, len(keys))
        return tuple(given_up)


def _num_alike(branch: Branch, keys: Sequence[Key], first: int) -> int:
    """So many keys of ``branch`` are those of ``keys`` from ``first`` on."""
    mine = branch.keys
    theirs = keys[first : first + len(mine)]
    if mine == theirs:
        return len(mine)
    pairs = zip(mine, theirs, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), len(theirs))
