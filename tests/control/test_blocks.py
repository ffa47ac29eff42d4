"""Branches of published blocks, against an account of every single block."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control.blocks import Blocks, Branch


class OneByOne:
    """Users and idle blocks by key, the slow and plain way."""

    def __init__(self, num_blocks: int) -> None:
        self.free = num_blocks
        self.users: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()

    def num_known(self, keys: tuple[int, ...]) -> int:
        known = [key in self.users or key in self.idle for key in keys]
        return known.index(False) if False in known else len(keys)

    def use(self, keys: tuple[int, ...]) -> None:
        for key in keys:
            self.idle.pop(key, None)
            self.users[key] = self.users.get(key, 0) + 1

    def take(self, num: int) -> tuple[int, ...]:
        evicted = [self.idle.popitem(last=False)[0] for _ in range(max(0, num - self.free))]
        self.free = max(0, self.free - num)
        return tuple(evicted)

    def give_back(self, num_own: int, keys: tuple[int, ...]) -> None:
        self.free += num_own
        for key in reversed(keys):
            self.users[key] -= 1
            if not self.users[key]:
                del self.users[key]
                self.idle[key] = None


def prompt(length: int, forks: list[int]) -> tuple[int, ...]:
    """Keys that tell all before them: prompts part where ``forks`` differ."""
    keys, so_far = [], 1
    for place in range(length):
        so_far = 4 * so_far + forks[place // 3]
        keys.append(so_far)
    return tuple(keys)


PROMPTS = st.builds(prompt, st.integers(1, 9), st.lists(st.integers(0, 2), min_size=3, max_size=3))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PROMPTS, st.integers(0, 3), st.booleans()), max_size=40))
def test_branches_account_for_the_same_blocks_in_the_same_order(
    events: list[tuple[tuple[int, ...], int, bool]],
) -> None:
    blocks, plain = Blocks(24), OneByOne(24)
    inside: list[tuple[tuple[int, ...], Branch | None, int]] = []
    for keys, own, goes in events:
        known = blocks.num_known(keys)
        assert known == plain.num_known(keys)
        idle = blocks.num_idle(keys[:known])
        assert idle == len([key for key in keys[:known] if key in plain.idle])
        if len(keys) - known + own + idle <= blocks.num_available:
            branch = blocks.use(keys[:known])
            plain.use(keys[:known])
            wanted = len(keys) - known + own
            assert blocks.take(wanted) == plain.take(wanted)
            if known < len(keys):
                branch = blocks.publish(keys[known:], after=branch)
                plain.use(keys[known:])
            inside.append((keys, branch, own))
        if inside and goes:
            gone, branch, num_own = inside.pop(own % len(inside))
            blocks.give_back(num_own=num_own, branch=branch)
            plain.give_back(num_own, gone)
        assert blocks.num_free == plain.free
        assert blocks.num_available == plain.free + len(plain.idle)
        assert blocks.num_published == len(plain.users) + len(plain.idle)


def test_what_is_known_already_is_published_once_and_no_more_is_given_than_there_is() -> None:
    blocks = Blocks(8)
    blocks.take(4)
    first = blocks.publish((1, 2, 3), after=None)
    assert first is not None
    assert blocks.publish((1, 2), after=None) is None
    blocks.give_back(num_own=1, branch=first)
    assert blocks.take(6) == (3,)
    with pytest.raises(ValueError, match="3 blocks are wanted, 2 available"):
        blocks.take(3)
