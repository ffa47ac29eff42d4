"""A hang is told by those who wait, and the controller finds whom they wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gigafactory.control.culprit import suspects
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.layout import Layout
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.course import course_of
from gigafactory.simulate.gang import Gang
from gigafactory.simulate.sight import Sight, seen_of, sight_of

from .conftest import Script, strike
from .test_blame import GROUPS

TP = Layout(tp=8, pp=8, dp=8)


def gang() -> Gang:
    """Eight replicas of eight hosts."""
    found = Gang(replica_hosts=8)
    found.take_seats([100 + seat for seat in range(64)], None)
    return found


def searched(seen) -> tuple[int, ...]:
    return suspects(silent=seen.hosts, groups=seen.groups, waiting=seen.waiting)


def test_the_groups_of_the_culprit_time_out_nearest_first():
    seen = seen_of(gang(), 121, sight=Sight.CHAIN)
    assert seen.hosts == ()
    beside, replica, peers = seen.groups
    assert beside == (121,)
    assert replica == tuple(range(116, 124))
    assert peers == tuple(range(105, 164, 8))
    assert seen.waiting == (121, *[h for h in replica if h != 121], *[h for h in peers if h != 121])


def test_a_replica_that_is_out_waits_for_nobody():
    found = gang()
    found.leave_out((0, 7))
    assert seen_of(found, 121, sight=Sight.MISSED).groups[1] == tuple(range(113, 156, 8))


@pytest.mark.parametrize("sight", [Sight.SILENT, Sight.MISSED, Sight.CHAIN])
@pytest.mark.parametrize("host", [100, 121, 163])
def test_the_search_finds_the_culprit_and_no_victim(sight, host):
    assert searched(seen_of(gang(), host, sight=sight)) == (host,)


def test_where_everybody_waits_the_smallest_group_is_asked():
    found = Gang(replica_hosts=4)
    found.take_seats(list(range(64)), None)
    assert searched(seen_of(found, 21, sight=Sight.BLIND)) == (20, 21, 22, 23)
    # groups that are alike tell nobody apart
    assert searched(seen_of(gang(), 121, sight=Sight.BLIND)) == ()


def test_a_single_host_waits_for_itself():
    found = Gang(replica_hosts=1)
    found.take_seats([5], None)
    for sight in Sight:
        assert searched(seen_of(found, 5, sight=sight)) == (5,)


def test_what_is_seen_follows_the_layout():
    assert sight_of(TP) is Sight.CHAIN
    assert sight_of(Layout(dp=512)) is Sight.MISSED
    assert sight_of(None) is Sight.MISSED


HANGS = [strike(FaultClass.HANG, 1000.0, 20, detect_s=60.0)]


def run(lab, *strikes, **changes):
    script = Script(*strikes)
    return lab.campaign(lab.study(days=0.1), lab.workload(**changes), script=script)


@pytest.mark.parametrize("layout", [TP, Layout(pp=8, dp=64), None])
def test_no_sensor_of_the_twin_names_the_host_that_hangs(lab, layout):
    run(lab, *HANGS, layout=layout)
    (told,) = [entry.content.event for entry in lab.told("HangSuspected")]
    assert told.hosts == ()
    assert {20} < {host for group in told.groups for host in group}
    (asked,) = [entry.content.action for entry in lab.asked("ProbeHost")]
    assert asked.host == 20
    assert course_of(lab.entries).causes[0].cause == "hang"


def test_a_host_at_which_two_generations_hung_is_exchanged(lab):
    prices = replace(GROUPS, recovery=Recovery.HOT)
    again = replace(HANGS[0], at_s=3000.0)
    run(lab, *HANGS, again, prices=prices, layout=TP)
    (eviction,) = [entry.content.action for entry in lab.asked("EvictHosts")]
    assert eviction.hosts == (20,)
    # once more elsewhere is no reason
    run(lab, *HANGS, replace(again, hosts=(21,)), prices=prices, layout=TP)
    assert lab.asked("EvictHosts") == []


def test_only_the_replica_that_hangs_is_dropped(lab):
    run(lab, *HANGS, prices=GROUPS, layout=TP)
    assert [entry.content.action.replicas for entry in lab.asked("DropReplicas")] == [(2,)]
    assert len(lab.asked("StartGang")) == 1
