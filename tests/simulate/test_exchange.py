"""Hosts that are exchanged in the twin: what it costs with copies in memory and replica groups."""

from __future__ import annotations

import pytest

from gigafactory.control import actions as act
from gigafactory.control.config import Prices
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Recovery
from gigafactory.ledger import entries as book

HOT = Prices(
    recovery=Recovery.HOT, num_replicas=8, replica_hosts=8, peer_stride=8, step_s=10.0,
    cold_s=100.0, warm_s=30.0, join_s=60.0, drop_s=2.0, restore_peer_s=1.0, restore_store_s=10.0,
    store_every_s=300.0,
)  # fmt: skip
GROUPS = Prices(
    **{name: getattr(HOT, name) for name in HOT.__slots__} | {"recovery": Recovery.REPLICAS}
)


def maintained(lab, prices):
    planned = lab.cause(FaultClass.PLANNED, mtbf_s=40_000.0)
    return lab.campaign(lab.study(planned, days=3.0), lab.workload(prices=prices))


def test_with_copies_in_memory_maintenance_loses_no_step_and_waits_for_no_save(lab):
    result = maintained(lab, HOT)
    saves = [entry.content.action for entry in lab.asked("SaveNow")]
    assert saves
    assert {save.tier for save in saves} == {act.Tier.PEER}
    starts = [entry.content.action for entry in lab.asked("StartGang")][1:]
    assert len(starts) == len(saves)
    assert {start.tier for start in starts} == {act.Tier.PEER}
    reached = 0
    for content in (entry.content for entry in lab.entries):
        if isinstance(content, book.Steps):
            reached = content.step
        assert not isinstance(content, book.Rollback) or content.step == reached
    assert result.num_interruptions == 0


def test_with_replica_groups_maintenance_stops_one_replica(lab):
    maintained(lab, GROUPS)
    assert len(lab.asked("StartGang")) == 1
    drops, joins = lab.asked("DropReplicas"), lab.asked("JoinReplica")
    assert drops
    assert len(drops) == len(joins)
    assert all(len(entry.content.action.replicas) == 1 for entry in drops)


def test_a_process_names_the_life_of_its_replica(lab):
    """Else the exit of a process that came later is taken for one of long ago, and never heard."""
    crash = lab.cause(FaultClass.PROCESS, mtbf_s=2_000.0)
    lab.campaign(lab.study(crash, days=2.0), lab.workload(prices=GROUPS))
    lives = {entry.content.event.incarnation for entry in lab.told("RankExited")}
    assert len(lives) > 1
    joins = {entry.content.action.token.attempt for entry in lab.asked("JoinReplica")}
    assert lives - {0} <= joins
    assert len(lab.asked("DropReplicas")) >= len(lab.told("RankExited"))


@pytest.mark.parametrize("prices", [HOT, GROUPS], ids=["hot", "replicas"])
def test_the_buckets_of_an_exchange_add_up(lab, prices):
    result = maintained(lab, prices)
    assert sum(result.buckets_gpu_s.values()) == pytest.approx(result.wall_s * 72 * 8)


def test_a_replica_that_leaves_takes_its_slow_host_with_it(lab):
    """Else the others would go on at the pace of somebody who no longer computes."""
    slow = lab.cause(FaultClass.SLOW, mtbf_s=60_000.0).model_copy(update={"slowdown": 1.5})
    shares = {}
    for name, prices in (("hot", HOT), ("replicas", GROUPS)):
        result = lab.campaign(lab.study(slow, days=4.0), lab.workload(prices=prices))
        shares[name] = result.buckets_gpu_s["straggler"] / result.allocation_gpu_s
    assert shares["hot"] > 0
    assert shares["replicas"] < 3 * shares["hot"]
