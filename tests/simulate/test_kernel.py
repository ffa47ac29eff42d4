"""The order of events is total, and its tie-break really decides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.simulate.kernel import Kernel, Priority


def drain(kernel: Kernel[str]) -> list[str]:
    return [kernel.next() for _ in range(len(kernel))]


def test_priority_decides_at_one_instant_whatever_the_order_of_scheduling():
    kernel: Kernel[str] = Kernel()
    for priority in reversed(Priority):
        kernel.schedule(priority.name, at_s=5.0, priority=priority)
    assert drain(kernel) == [priority.name for priority in Priority]


def test_equal_priority_is_first_come_first_served():
    kernel: Kernel[str] = Kernel()
    # names in falling order, so that comparing payloads would turn them round
    names = [f"{i:02d}" for i in reversed(range(50))]
    for name in names:
        kernel.schedule(name, at_s=1.0, priority=Priority.ANSWER)
    assert drain(kernel) == names


def test_payloads_are_never_compared():
    kernel: Kernel[object] = Kernel()
    kernel.schedule(object(), at_s=1.0, priority=Priority.TICK)
    kernel.schedule(object(), at_s=1.0, priority=Priority.TICK)
    assert len([kernel.next(), kernel.next()]) == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Priority))))
def test_what_comes_out_is_sorted_by_time_priority_and_turn(pairs):
    kernel: Kernel[tuple[int, Priority, int]] = Kernel()
    for turn, (at_s, priority) in enumerate(pairs):
        kernel.schedule((at_s, priority, turn), at_s=float(at_s), priority=priority)
    out = [kernel.next() for _ in pairs]
    assert out == sorted(out)
    assert len(set(out)) == len(pairs)


def test_the_clock_is_that_of_the_event_handed_out():
    kernel: Kernel[str] = Kernel()
    kernel.schedule("b", at_s=2.5, priority=Priority.TICK)
    kernel.schedule("a", at_s=1.5, priority=Priority.TICK)
    assert (kernel.next(), kernel.now_s) == ("a", 1.5)
    assert (kernel.next(), kernel.now_s) == ("b", 2.5)


@pytest.mark.parametrize("at_s", [0.5, math.nan, -math.inf])
def test_the_past_cannot_be_scheduled(at_s):
    kernel: Kernel[str] = Kernel()
    kernel.schedule("now", at_s=1.0, priority=Priority.TICK)
    kernel.next()
    with pytest.raises(ValueError, match="before now"):
        kernel.schedule("late", at_s=at_s, priority=Priority.TICK)


def test_an_empty_kernel_says_so():
    with pytest.raises(IndexError):
        Kernel().next()
