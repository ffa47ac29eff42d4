"""Drains, waits and second thoughts: what an exchange costs, and when it is not asked for."""

from __future__ import annotations

import pytest

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.actions import HoldReason, Tier
from gigafactory.control.config import Prices
from gigafactory.control.states import Phase
from gigafactory.cost.recovery import wait_for_s
from gigafactory.describe.policy import Recovery

HOT = Prices(recovery=Recovery.HOT, num_replicas=4, replica_hosts=2, peer_stride=2, warm_s=30.0)


@pytest.fixture
def hot(bench_with):
    """Eight hosts that keep copies two seats on; step 100 in the store and in memory."""
    bench = bench_with(prices=HOT)
    bench.run(num_hosts=8, num_spares=3)
    bench.tell(ev.StepsDone, step=101, peer_step=101)
    return bench


# -- a drain with copies in memory -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ev.HostSlow, {"slowdown": 2.0}),
        (ev.MaintenanceAnnounced, {"by_s": 10_000.0}),
    ],
)
def test_with_copies_in_memory_an_exchange_waits_for_the_next_step_and_no_save(hot, kind, content):
    hot.tell(kind, host=1, **content)
    (save,) = hot.asked(act.SaveNow)
    assert save.tier is Tier.PEER
    hot.tell(ev.StepsDone, step=102, peer_step=102)
    assert "StopGang" in hot.kinds()
    hot.tell(ev.GangStopped)
    assert (hot.start().tier, hot.start().step) == (Tier.PEER, 102)
    assert 1 not in hot.start().hosts


def test_where_a_host_leaves_with_the_keeper_of_its_copy_the_store_is_waited_for(hot):
    hot.tell(ev.MaintenanceAnnounced, host=1, by_s=10_000.0)
    hot.tell(ev.MaintenanceAnnounced, host=3, by_s=10_000.0)
    (save,) = hot.asked(act.SaveNow)
    assert save.tier is Tier.STORE
    hot.tell(ev.StepsDone, step=102, peer_step=102)
    assert hot.kinds() == []
    hot.tell(ev.CheckpointCommitted, step=102)
    assert "StopGang" in hot.kinds()


def test_a_person_who_says_stop_during_such_a_drain_gets_a_checkpoint_in_the_store(hot):
    hot.tell(ev.MaintenanceAnnounced, host=1, by_s=10_000.0)
    hot.tell(ev.StopRequested)
    (save,) = hot.asked(act.SaveNow)
    assert save.tier is Tier.STORE
    hot.tell(ev.StepsDone, step=102, peer_step=102)
    assert hot.brain.phase is Phase.DRAINING
    hot.tell(ev.CheckpointCommitted, step=102)
    hot.tell(ev.GangStopped)
    assert hot.asked(act.Finish)[0].outcome is act.Outcome.STOPPED


# -- a wait before shrinking -------------------------------------------------------------------


def short_of_one(bench_with, *, repair_s):
    """The last spare is used up, and then a host dies."""
    prices = Prices(
        recovery=Recovery.HOT, can_shrink=True, num_replicas=4, replica_hosts=2, warm_s=30.0,
        repair_s=repair_s,
    )  # fmt: skip
    bench = bench_with(prices=prices)
    bench.run(num_hosts=8, num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    return bench


def test_a_host_that_is_back_soon_is_awaited_and_not_for_ever(bench_with):
    bench = short_of_one(bench_with, repair_s=20.0)
    assert bench.why() is HoldReason.NO_SPARES
    # a quarter of the job for as long as a repair takes, and a start to grow again
    bench.tell(ev.Ticked, after_s=0.25 * 20.0 + 30.0 - 1.0)
    assert bench.asked(act.StartGang) == []
    bench.sleep()
    assert len(bench.start().hosts) == 6


def test_a_host_that_comes_back_in_that_time_takes_its_seat(bench_with):
    bench = short_of_one(bench_with, repair_s=20.0)
    bench.tell(ev.HostRepaired, host=1)
    assert len(bench.start().hosts) == 8


def test_a_host_that_stays_away_for_long_is_not_awaited(bench_with):
    assert len(short_of_one(bench_with, repair_s=86400.0).start().hosts) == 6


# -- links: how long, and second thoughts ------------------------------------------------------


def cut_leaf(bench_with, **bounds):
    """Four of eight hosts are cut off, and there is one spare."""
    bench = bench_with(**bounds)
    bench.run(num_hosts=8, num_spares=1)
    bench.tell(ev.StepsDone, step=101)
    bench.tell(ev.LinksDown, hosts=(0, 1, 2, 3), cause="leaf 0")
    return bench


def test_a_leaf_is_waited_for_as_long_as_going_on_without_it_would_cost(bench_with):
    """No replica can be spared: nothing trains until three hosts more are repaired."""
    prices = Prices(repair_s=3600.0, cold_s=50.0, restore_store_s=10.0)
    bench = cut_leaf(bench_with, prices=prices)
    since_s = bench.now_s
    assert bench.kinds() == []
    bench.tell(ev.Ticked, after_s=4 * bench.ladder.collective_s)
    assert bench.kinds() == []
    without_s = 60.0 + float(wait_for_s(3, num_away=4, repair_s=3600.0))
    bench.tell(ev.Ticked, after_s=since_s + without_s - bench.now_s - 1.0)
    assert bench.kinds() == []
    bench.tell(ev.Ticked, after_s=1.0)
    assert bench.asked(act.EvictHosts)[0].hosts == (0, 1, 2, 3)


def test_the_patience_is_that_of_a_shrink_where_replicas_can_be_spared(bench_with):
    prices = Prices(
        recovery=Recovery.HOT, can_shrink=True, num_replicas=4, replica_hosts=2, warm_s=30.0,
        repair_s=600.0,
    )  # fmt: skip
    bench = cut_leaf(bench_with, prices=prices)
    # a start, half of the job for as long as a repair takes, and another start
    bench.tell(ev.Ticked, after_s=30.0 + 300.0 + 30.0 - 1.0)
    assert bench.kinds() == []
    bench.tell(ev.Ticked, after_s=1.0)
    assert "EvictHosts" in bench.kinds()


def test_links_that_heal_in_time_cost_no_host_and_no_restart(bench_with):
    bench = cut_leaf(bench_with, prices=Prices(repair_s=3600.0))
    bench.tell(ev.LinksUp, hosts=(0, 1, 2, 3), after_s=4 * bench.ladder.collective_s)
    bench.tell(ev.StepsDone, step=102)
    assert (bench.brain.phase, bench.brain.generation) == (Phase.RUNNING, 1)


def test_links_that_come_back_save_a_host_whose_eviction_the_limit_holds_up(bench_with):
    bench = bench_with(max_evictions_per_h=1)
    bench.run(num_spares=3)
    bench.tell(ev.HostsDied, hosts=(4,), cause="xid 79")
    bench.tell(ev.LinksDown, hosts=(1,), cause="flap", after_s=bench.ladder.heartbeat_s)
    bench.tell(ev.Ticked, after_s=bench.ladder.flap_s)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.TOO_MANY_EVICTIONS
    bench.tell(ev.LinksUp, hosts=(1,))
    assert bench.start().hosts == (0, 1, 2, 3)
    assert not bench.asked(act.EvictHosts)


def evicted_for_its_links(bench):
    bench.run(num_spares=1)
    bench.tell(ev.LinksDown, hosts=(1,), cause="flap")
    bench.tell(ev.Ticked, after_s=bench.ladder.flap_s)
    (eviction,) = bench.asked(act.EvictHosts)
    return eviction


def test_an_eviction_that_waits_after_a_refusal_is_taken_back(bench):
    eviction = evicted_for_its_links(bench)
    bench.tell(ev.ActionFailed, token=eviction.token, reason="the lender is busy")
    assert bench.asked(act.EvictHosts) == [eviction]
    bench.tell(ev.ActionFailed, token=eviction.token, reason="the lender is busy")
    bench.tell(ev.LinksUp, hosts=(1,))
    bench.tell(ev.Ticked, after_s=2 * bench.ladder.join_s)
    assert not bench.asked(act.EvictHosts)
    bench.tell(ev.GangStopped)
    bench.ready()
    bench.tell(ev.HostsDied, hosts=(2,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 4, 1, 3)


def test_an_eviction_under_way_is_taken_back_once_it_was_refused(bench):
    eviction = evicted_for_its_links(bench)
    bench.tell(ev.LinksUp, hosts=(1,))
    bench.tell(ev.Reattached)
    assert bench.asked(act.EvictHosts) == [eviction]
    bench.tell(ev.ActionFailed, token=eviction.token, reason="the lender is busy")
    assert not bench.asked(act.EvictHosts)
    bench.tell(ev.Reattached)
    assert not bench.asked(act.EvictHosts)


def test_what_is_lost_for_another_reason_is_not_saved_by_its_links(bench):
    eviction = evicted_for_its_links(bench)
    bench.tell(ev.HostsDied, hosts=(1,), cause="power")
    bench.tell(ev.LinksUp, hosts=(1,))
    bench.tell(ev.ActionFailed, token=eviction.token, reason="the lender is busy")
    assert bench.asked(act.EvictHosts) == [eviction]


def test_a_heart_that_beats_saves_a_host_whose_eviction_the_limit_holds_up(bench_with):
    bench = bench_with(max_evictions_per_h=1)
    bench.run(num_spares=3)
    bench.tell(ev.HostsDied, hosts=(4,), cause="xid 79")
    bench.tell(ev.HostUnreachable, host=1, after_s=bench.ladder.heartbeat_s)
    bench.tell(ev.WitnessSpoke, host=1, alive=False)
    bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.TOO_MANY_EVICTIONS
    bench.tell(ev.HostReachable, host=1)
    assert bench.start().hosts == (0, 1, 2, 3)
