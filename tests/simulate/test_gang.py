"""The arithmetic of an undisturbed run equals a walk through its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.simulate.gang import Cadence, Run

#: Multiples of a quarter second are exact in binary, so both ways must agree to the last bit.
QUARTERS = st.integers(0, 40).map(lambda n: n / 4)
CADENCES = st.builds(
    Cadence,
    step_s=QUARTERS.filter(bool),
    checkpoint_steps=st.integers(1, 12),
    blocking_s=QUARTERS,
    write_s=QUARTERS,
)


@dataclass
class Walk:
    """The run, one step after the other."""

    steps: int = 0
    stalled_s: float = 0.0
    committed: int | None = None


def walk(run: Run, until_s: float) -> Walk:
    every = run.cadence.checkpoint_steps
    seen = Walk(steps=run.begin_step, stalled_s=min(run.lead_s, until_s - run.begin_s))
    now_s = run.begin_s + run.lead_s
    while now_s + run.cadence.step_s <= until_s:
        now_s += run.cadence.step_s
        seen.steps += 1
        if (seen.steps - run.begin_step) % every == 0:
            seen.stalled_s += min(run.cadence.blocking_s, until_s - now_s)
            now_s += run.cadence.blocking_s
            if now_s + run.cadence.write_s <= until_s:
                seen.committed = seen.steps
    return seen


@given(cadence=CADENCES, begin=st.integers(0, 1000), lead_s=QUARTERS, later=st.integers(0, 2000))
def test_arithmetic_equals_the_walk(cadence, begin, lead_s, later):
    run, at_s = Run(begin / 4, 100, cadence, lead_s), (begin + later) / 4
    seen = walk(run, at_s)
    num_commits = run.num_commits_at(at_s)
    assert run.step_at(at_s) == seen.steps
    assert run.stalled_s(at_s) == seen.stalled_s
    worked_s = (seen.steps - 100) * cadence.step_s
    assert run.unfinished_s(at_s) == later / 4 - worked_s - seen.stalled_s
    assert (run.commit(num_commits)[0] if num_commits else None) == seen.committed


@given(cadence=CADENCES, begin_s=st.floats(0, 1e6), step=st.integers(1, 500))
def test_a_step_is_done_when_it_ends_and_not_before(cadence, begin_s, step):
    run = Run(begin_s, 0, cadence)
    end_s = run.end_of_s(step)
    assert run.step_at(end_s + 1e-6) == step
    assert run.step_at(end_s - 1e-3) == step - 1


@given(
    cadence=CADENCES, every=st.integers(1, 9), stall_s=QUARTERS, write_s=QUARTERS,
    begin=st.integers(0, 30), later=st.integers(0, 2000),
)  # fmt: skip
def test_copies_on_disks_are_those_whose_steps_ended_before_their_write(
    *, cadence, every, stall_s, write_s, begin, later
):
    # a stall that the steps between two copies share out exactly
    local = {"local_steps": every, "local_blocking_s": stall_s * every, "local_write_s": write_s}
    run, at_s = Run(2.0, begin, replace(cadence, **local)), 2.0 + later / 4
    ends = [(step, run.end_of_s(step)) for step in range(begin + 1, run.step_at(at_s) + 1)]
    kept = [step for step, end_s in ends if step % every == 0 and end_s + write_s <= at_s]
    assert run.locals_at(at_s) == (len(kept), kept[-1] if kept else 0)
    # all of the time is steps, stalls, and the step under way
    worked_s = (run.step_at(at_s) - begin) * cadence.step_s
    assert worked_s + run.stalled_s(at_s) + run.unfinished_s(at_s) == later / 4


def test_worked_example():
    run = Run(100.0, 7, Cadence(step_s=10.0, checkpoint_steps=3, blocking_s=2.0, write_s=5.0))
    assert run.step_at(129.0) == 9
    assert run.step_at(131.0) == 10
    assert run.num_commits_at(136.9) == 0
    assert run.num_commits_at(137.0) == 1
    assert run.commit(1) == (10, 137.0)
    assert run.step_at(142.0) == 11
    assert run.unfinished_s(125.0) == 5.0
    assert run.unfinished_s(131.0) == 0.0
    assert run.unfinished_s(133.0) == 1.0
    assert run.stalled_s(170.0) == pytest.approx(4.0)
