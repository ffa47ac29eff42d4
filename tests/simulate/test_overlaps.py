"""A second fault before the first is over: nobody computes with a host that is not there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.entries import Bucket, BucketFrom, Steps
from gigafactory.ledger.replay import replay
from gigafactory.simulate.fleet import HostState
from gigafactory.simulate.kernel import Priority

from .conftest import Script, strike
from .test_blame import GROUPS

FLAP = replace(strike(FaultClass.FLAP, 1000.0, 5), lasts_s=6.0)


def run(lab, *strikes, **changes):
    script, study = Script(*strikes), lab.study(days=0.05)
    # links may be down for 20 s before their hosts are given up
    patient = study.policy.model_copy(update={"heartbeat_timeout_s": 60.0})
    study = study.model_copy(update={"policy": patient})
    found = lab.campaign(study, lab.workload(**changes), script=script)
    assert replay(lab.entries).same
    return found


def at_work(lab) -> list[tuple[float, bool]]:
    """(since when, whether anybody computes)."""
    working = {Bucket.PRODUCTIVE, Bucket.CHECKPOINT, Bucket.DATA_WAIT}
    return [(e.at_s, e.content.bucket in working) for e in lab.contents(BucketFrom)]


def computes_at(lab, at_s: float) -> bool:
    return [works for since_s, works in at_work(lab) if since_s <= at_s][-1]


def test_a_gang_goes_on_after_a_flap(lab):
    found = run(lab, FLAP)
    assert not computes_at(lab, 1005.0)
    assert computes_at(lab, 1007.0)
    assert found.num_starts == 1


@pytest.mark.parametrize("fault", [FaultClass.HOST, FaultClass.PROCESS, FaultClass.HANG])
def test_whoever_went_while_links_were_down_is_missed_when_they_are_back(lab, fault):
    gone = strike(fault, 1003.0, 40, detect_s=100.0)
    found = run(lab, FLAP, gone)
    assert not computes_at(lab, 1007.0)
    assert not computes_at(lab, 1100.0)
    assert found.num_starts == 2
    (start,) = lab.told("GangReady")[1:]
    # until the second fault is seen, in 100 s, nobody can act on it
    assert start.at_s > 1103.0 + 100.0


def test_links_that_are_down_twice_are_waited_for_twice(lab):
    found = run(lab, FLAP, replace(FLAP, at_s=1004.0, lasts_s=6.0, hosts=(5, 6)))
    ups = [e.content.event.hosts for e in lab.told("LinksUp")]
    assert not computes_at(lab, 1007.0)
    # the link of host 5 is back only when both of its troubles are over
    assert ups == [(5, 6)]
    assert computes_at(lab, 1011.0)
    assert found.num_starts == 1


def test_the_others_do_not_part_from_one_replica_and_go_on_with_a_dead_host_in_another(lab):
    first = strike(FaultClass.PROCESS, 1000.0, 20, detect_s=5.0)
    second = strike(FaultClass.HOST, 1002.0, 60, detect_s=100.0)
    run(lab, first, second, prices=GROUPS)
    assert not computes_at(lab, 1050.0)
    dropped = [e.content.action.replicas for e in lab.asked("DropReplicas")]
    assert dropped[:2] == [(2,), (7,)]
    steps = [e.at_s for e in lab.contents(Steps) if e.content.num_steps]
    assert not [at_s for at_s in steps if 1010.0 < at_s < 1102.0]


def test_a_start_of_a_replica_that_was_given_up_does_not_join(lab):
    first, second = (strike(FaultClass.HOST, at_s, host) for at_s, host in ((1e3, 20), (1200, 21)))
    run(lab, first, second, prices=GROUPS)
    asked = [e.content.action.token.attempt for e in lab.asked("JoinReplica")]
    assert len(asked) == 2
    ready = lab.told("ReplicaReady")
    assert [e.content.event.incarnation for e in ready] == asked[1:]
    # the others were stopped neither for a join given up nor for one that nobody waits for
    assert next(at_s for at_s, works in at_work(lab) if works and at_s > 1000.0) < 1100.0
    assert computes_at(lab, 1211.0)


class Recalled(Script):
    """A host is announced, its notice is taken back, and it is announced anew; nobody acts on it:
    the control plane is out."""

    def set_up(self, world):
        super().set_up(world)
        self.states = []
        back = partial(world.troubles.forget, 70)
        world.kernel.schedule(back, at_s=1500.0, priority=Priority.PHYSICS)
        for at_s in (4700.0, 5700.0):
            world.kernel.schedule(self.look, at_s=at_s, priority=Priority.PHYSICS)

    def look(self):
        self.states.append(self.world.fleet.state_of(70))


def test_a_host_announced_again_is_taken_at_the_new_time(lab):
    planned = strike(FaultClass.PLANNED, 1000.0, 70)
    outage = replace(strike(FaultClass.CONTROL, 900.0), lasts_s=6000.0)
    script = Recalled(outage, planned, replace(planned, at_s=2000.0))
    lab.campaign(lab.study(days=0.1), lab.workload(), script=script)
    dates = [e.content.event.by_s for e in lab.told("MaintenanceAnnounced")]
    assert dates == [4610.0, 5610.0]
    assert script.states == [HostState.UP, HostState.DOWN]
