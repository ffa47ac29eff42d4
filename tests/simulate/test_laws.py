"""The laws themselves: what they must see, and what they must let pass."""

from __future__ import annotations

import math

import pytest

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig, Prices
from gigafactory.control.timeouts import ladder
from gigafactory.simulate.account import Ring
from gigafactory.simulate.laws import Law, Laws

LADDER = ladder(
    heartbeat_floor_s=10, collective_floor_s=60, join_floor_s=300, report_s=1, start_s=30
)
GROUPED = Prices(num_replicas=3, replica_hosts=2, peer_stride=2)
EVICT = act.EvictHosts(token=act.Token(1, 5), hosts=(1, 2), reason="xid")


class Truth:
    """Everybody is well."""

    def is_fit(self, host: int) -> bool:
        return False

    def trains(self, generation: int) -> bool:
        return False


@pytest.fixture
def laws():
    return Laws(ControlConfig(ladder=LADDER, prices=GROUPED, max_evictions_per_h=2), truth=Truth())


def hear(laws, event, *actions):
    laws.heard(event, list(actions), now_s=event.at_s)


def test_a_copy_is_lost_with_its_keeper_and_a_replica_that_is_out_keeps_none():
    ring = Ring.of([10, 11, 12, 13, 14, 15], stride=2, out=set(), replica_hosts=2)
    assert [ring.keeper(host) for host in (10, 13, 15)] == [12, 15, 11]
    without = Ring.of([10, 11, 12, 13, 14, 15], stride=2, out={1}, replica_hosts=2)
    assert [without.keeper(host) for host in (10, 14)] == [14, 10]
    alone = Ring.of([10, 11, 12, 13], stride=2, out={1}, replica_hosts=2)
    assert alone.keeper(10) is None


def test_a_token_names_one_action_for_ever(laws):
    hear(laws, ev.Ticked(at_s=1.0), EVICT)
    hear(laws, ev.Ticked(at_s=2.0), act.EvictHosts(token=EVICT.token, hosts=(2,), reason="xid"))
    assert laws.broken == []
    hear(laws, ev.Reattached(at_s=3.0), act.EvictHosts(token=EVICT.token, hosts=(3,), reason="xid"))
    assert [v.law for v in laws.broken] == [Law.TOKENS_RISE]


def test_a_controller_that_is_back_asks_again_for_what_was_asked_and_no_other_does(laws):
    stop = act.StopGang(token=act.Token(1, 7))
    hear(laws, ev.Ticked(at_s=1.0), stop, act.SaveNow(token=act.Token(1, 9)))
    hear(laws, ev.Reattached(at_s=2.0), stop, act.SaveNow(token=act.Token(1, 8)))
    assert laws.broken == []
    hear(laws, ev.Ticked(at_s=3.0), stop)
    assert [v.law for v in laws.broken] == [Law.TOKENS_RISE]


def test_an_incident_counts_within_an_hour_less_the_time_that_one_may_last(laws):
    def evict(at_s, host):
        action = act.EvictHosts(token=act.Token(1, host), hosts=(host,), reason="xid")
        hear(laws, ev.Ticked(at_s=at_s), action)

    for number, at_s in enumerate((0.0, 100.0, 3592.0), 1):
        evict(at_s, number)
    assert laws.broken == []
    evict(3600.0 + 89.0, 4)
    assert [v.law for v in laws.broken] == [Law.EVICTIONS_BOUNDED]


def test_a_replica_may_go_when_a_witness_calls_its_host_dead(laws):
    start = act.StartGang(token=act.Token(1, 1), hosts=(0, 1, 2, 3, 4, 5), step=None)
    hear(laws, ev.Launched(at_s=0.0, hosts=(0, 1, 2, 3, 4, 5), num_steps=9), start)
    hear(laws, ev.GangReady(at_s=1.0, generation=1, step=0))
    hear(laws, ev.WitnessSpoke(at_s=2.0, host=1, alive=False))
    hear(laws, ev.Ticked(at_s=3.0), act.DropReplicas(token=act.Token(1, 2), replicas=(0,)))
    assert laws.broken == []
    hear(laws, ev.ReplicaReady(at_s=4.0, generation=1, replica=0, incarnation=3))


def test_a_replica_that_trains_must_not_be_dropped_for_nothing(laws):
    start = act.StartGang(token=act.Token(1, 1), hosts=(0, 1, 2, 3, 4, 5), step=None)
    hear(laws, ev.Launched(at_s=0.0, hosts=(0, 1, 2, 3, 4, 5), num_steps=9), start)
    hear(laws, ev.Ticked(at_s=3.0), act.DropReplicas(token=act.Token(1, 2), replicas=(0,)))
    assert [v.law for v in laws.broken] == [Law.HEALTHY_JOB_LIVES]


def test_a_start_from_disks_needs_every_host_where_it_was(laws):
    hosts = (0, 1, 2, 3, 4, 5)
    start = act.StartGang(token=act.Token(1, 1), hosts=hosts, step=None)
    hear(laws, ev.Launched(at_s=0.0, hosts=hosts, num_steps=9), start)
    hear(laws, ev.StepsDone(at_s=2.0, generation=1, step=5, local_step=5))
    hear(laws, ev.GangStopped(at_s=3.0, generation=1))
    again = {"step": 5, "how": act.Start.WARM, "tier": act.Tier.LOCAL}
    hear(laws, ev.Ticked(at_s=4.0), act.StartGang(token=act.Token(2, 2), hosts=hosts, **again))
    assert laws.broken == []
    hear(laws, ev.GangStopped(at_s=5.0, generation=2))
    others = (1, 0, 2, 3, 4, 5)
    hear(laws, ev.Ticked(at_s=6.0), act.StartGang(token=act.Token(3, 3), hosts=others, **again))
    assert [v.law for v in laws.broken] == [Law.NEWEST_GOOD_STEP]


def test_what_lies_in_a_store_that_does_not_answer_is_not_there(laws):
    hosts = (0, 1, 2, 3, 4, 5)
    first = act.StartGang(token=act.Token(1, 1), hosts=hosts, step=None)
    hear(laws, ev.Launched(at_s=0.0, hosts=hosts, num_steps=9), first)
    hear(laws, ev.StepsDone(at_s=2.0, generation=1, step=5, peer_step=5))
    hear(laws, ev.StepsDone(at_s=3.0, generation=1, step=6))
    hear(laws, ev.CheckpointCommitted(at_s=3.0, generation=1, step=6))
    hear(laws, ev.StorageSeen(at_s=4.0, slowdown=math.inf))
    hear(laws, ev.GangStopped(at_s=5.0, generation=1))
    near = act.StartGang(token=act.Token(2, 2), hosts=hosts, step=5, tier=act.Tier.PEER)
    hear(laws, ev.Ticked(at_s=6.0), near)
    assert laws.broken == []
    hear(laws, ev.GangStopped(at_s=7.0, generation=2))
    far = act.StartGang(token=act.Token(3, 3), hosts=hosts, step=6)
    hear(laws, ev.Ticked(at_s=8.0), far)
    assert [v.law for v in laws.broken] == [Law.NEWEST_GOOD_STEP]
