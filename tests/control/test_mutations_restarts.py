"""A restart after a kill that never comes about: row R07 of outcomes.csv, as `test_mutations`.

torchrun was killed a rank five times: twice it came back, once it exited, twice its restart stuck
in the rendezvous for good. ft_launcher came back after seconds, from a kill and from a hang.
"""

from __future__ import annotations

import math
import re

import pytest

from gigafactory.control import actions as act
from gigafactory.control import deadlines, observe
from gigafactory.control import events as ev
from gigafactory.control.state import Break
from gigafactory.control.states import Phase

from . import test_mutations


def restart_that_sticks(bench):
    """R07: the restart after a kill waits in the rendezvous for good; ours is given up and tried
    again, in the same seats."""
    bench.run()
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    seats = bench.start().hosts
    for _ in range(2):
        bench.sleep()
        assert bench.kinds() == ["StopGang"]
        bench.tell(ev.GangStopped)
        assert bench.start().hosts == seats
    bench.ready()
    bench.tell(ev.StepsDone, step=101)
    assert (bench.brain.phase, bench.brain.generation) == (Phase.RUNNING, 4)
    assert not [a for a in bench.everything if isinstance(a, act.EvictHosts)]


def kill_that_is_taken_for_the_end(bench):
    """R07: after the kill of one rank the launcher exited, and so did the job."""
    bench.run()
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    assert not bench.asked(act.Finish)
    assert bench.start().step == 100
    bench.ready()
    assert bench.brain.phase is Phase.RUNNING


def rendezvous_without_an_end(patch):
    patience_s = deadlines.gang_deadline_s

    def patient_s(state):
        return math.inf if state.phase is Phase.STARTING else patience_s(state)

    patch.setattr(deadlines, "gang_deadline_s", patient_s)


def stuck_restart_ends_the_job(patch):
    expire = deadlines.expire

    def expired(state):
        if state.phase is Phase.STARTING and state.now_s >= deadlines.gang_deadline_s(state):
            state.is_failed = "rendezvous timeout"
        expire(state)

    patch.setattr("gigafactory.control.controller.expire", expired)


def a_kill_is_the_end(patch):
    def exited(state, event):
        state.is_failed = "a child failed"
        state.break_gang(Break.PROCESS_EXIT)

    patch.setitem(observe.OBSERVERS, ev.RankExited, exited)


PAIRS = [
    (rendezvous_without_an_end, restart_that_sticks),
    (stuck_restart_ends_the_job, restart_that_sticks),
    (a_kill_is_the_end, kill_that_is_taken_for_the_end),
]


@pytest.mark.parametrize(
    "scenario", [restart_that_sticks, kill_that_is_taken_for_the_end], ids=lambda s: s.__name__
)
def test_the_controller_stands(scenario, bench):
    scenario(bench)


@pytest.mark.parametrize(("mutant", "scenario"), PAIRS, ids=[m.__name__ for m, _ in PAIRS])
def test_its_mutant_falls(mutant, scenario, bench, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        scenario(bench)


def test_every_recording_has_its_scenario():
    """`giga validate` says of the rows of class R, R01 to R07, that scenarios hold them."""
    scenarios = [scenario for _, scenario in test_mutations.ELEVEN + PAIRS]
    held = {row for scenario in scenarios for row in re.findall(r"R\d\d", scenario.__doc__ or "")}
    assert held == {f"R0{number}" for number in range(1, 8)}
