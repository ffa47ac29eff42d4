"""A store that is slow or does not answer: what is written, read and lost meanwhile."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gigafactory.control.actions import HoldReason, Tier
from gigafactory.control.config import Prices
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.course import course_of
from gigafactory.ledger.entries import Bucket, BucketFrom, CheckpointKept, PaceFrom
from gigafactory.ledger.replay import replay
from gigafactory.simulate.kernel import Kernel, Priority
from gigafactory.simulate.store import Store
from gigafactory.units import DAY_S

from .conftest import Script, strike

#: The laboratory starts in 100 s, saves every 300 s of work with a stall of 1 s, and writes 20 s.
#: So the first snapshot is complete at 401 s, in the store at 421 s.
HOT = Prices(
    recovery=Recovery.HOT, replica_hosts=64, step_s=10.0, cold_s=100.0, warm_s=20.0,
    restore_peer_s=2.0, restore_store_s=10.0, store_every_s=300.0,
)  # fmt: skip


def out(at_s: float, lasts_s: float, *, detect_s: float = 10.0):
    return strike(FaultClass.STORAGE, at_s, lasts_s=lasts_s, detect_s=detect_s)


def slow(at_s: float, lasts_s: float, slowdown: float, *, detect_s: float = 10.0):
    return replace(out(at_s, lasts_s, detect_s=detect_s), slowdown=slowdown)


def commits(lab) -> list[tuple[float, int]]:
    return [(e.at_s, e.content.step) for e in lab.contents(CheckpointKept)]


def told(lab) -> list[tuple[float, float]]:
    return [(e.at_s, e.content.event.slowdown) for e in lab.told("StorageSeen")]


def run(lab, *strikes, days: float = 0.05, **changes):
    script = Script(*strikes, report_s=50.0)
    found = lab.campaign(lab.study(days=days), lab.workload(**changes), script=script)
    assert replay(lab.entries).same
    return found


# --- writes ----------------------------------------------------------------------------------


def test_nothing_is_saved_while_the_store_is_out(lab):
    run(lab, out(405.0, 1000.0, detect_s=2000.0))
    # 4 s of 20 were written; the rest follows, and then the one that was due long ago
    assert [at_s for at_s, _ in commits(lab)][:2] == pytest.approx([1421.0, 1441.5], abs=12.0)
    assert commits(lab)[0][1] == 30
    assert not [at_s for at_s, _ in commits(lab) if 405.0 < at_s < 1405.0]
    # at the old beat again from the one that was caught up with
    assert commits(lab)[2][0] - commits(lab)[1][0] == pytest.approx(301.0, abs=0.1)


def test_what_is_out_takes_no_snapshots_and_costs_no_stall(lab):
    usual = run(lab)
    without = run(lab, out(405.0, 3000.0))
    saved = usual.num_checkpoints - without.num_checkpoints
    assert saved > 5
    stalls_s = [f.buckets_gpu_s["checkpoint"] / f.num_gpus for f in (usual, without)]
    assert stalls_s[0] - stalls_s[1] == pytest.approx(1.0 * saved, abs=1.1)


def test_a_slow_store_takes_so_many_times_as_long(lab):
    run(lab, slow(200.0, DAY_S, 4.0, detect_s=2 * DAY_S))
    first, second = lab.contents(CheckpointKept)[:2]
    assert first.at_s == pytest.approx(100.0 + 301.0 + 4 * 20.0, abs=10.0)
    assert first.content.save_s == pytest.approx(81.0)
    assert second.at_s - first.at_s == pytest.approx(301.0, abs=10.0)


def test_what_is_being_written_when_the_store_slows_down_is_slow_from_then_on(lab):
    run(lab, slow(411.0, 1000.0, 3.0, detect_s=DAY_S))
    # half of it was written
    assert commits(lab)[0] == (pytest.approx(411.0 + 3 * 10.0), 30)


def test_no_checkpoint_begins_before_the_last_one_is_written(lab):
    run(lab, slow(200.0, DAY_S, 45.0, detect_s=DAY_S))
    times_s = [at_s for at_s, _ in commits(lab)]
    # 900 s to write; as many steps lie between two of them
    assert times_s[0] == pytest.approx(100.0 + 901.0 + 900.0, abs=40.0)
    assert times_s[1] - times_s[0] == pytest.approx(901.0, abs=1.0)


def test_a_gang_that_breaks_loses_what_waits_for_the_store(lab):
    crash = strike(FaultClass.PROCESS, 800.0, 3, detect_s=1.0)
    run(lab, out(405.0, 600.0, detect_s=DAY_S), crash)
    assert commits(lab)[0] == (pytest.approx(903.0 + 301.0 + 20.0, abs=1.0), 30)
    (start,) = lab.asked("StartGang")[1:]
    assert start.content.action.step is None


# --- the rhythm ------------------------------------------------------------------------------


def test_a_change_of_cadence_acts_at_once_and_keeps_the_beat(lab):
    run(lab, slow(450.0, DAY_S, 4.0), prices=HOT)
    assert [e.content.action.every_s for e in lab.asked("SetCadence")] == [600.0]
    (first, one), (second, other) = commits(lab)[:2]
    # twice as far apart ([Young74]), counted from the last one
    assert (one, other) == (30, 90)
    assert second - first == pytest.approx(601.0 + 3 * 20.0, abs=11.0)


def test_nothing_of_the_run_is_lost_when_the_cadence_changes(lab):
    changes = [slow(500.0 + 200.0 * n, 95.0, 1.5, detect_s=3.0) for n in range(15)]
    usual = run(lab, prices=HOT)
    found = run(lab, *changes, prices=HOT)
    assert len(lab.asked("SetCadence")) == 30
    assert found.buckets_gpu_s["rework"] == 0.0
    # 10 s a step: what differs is a stall or two
    assert abs(found.num_steps - usual.num_steps) <= 1


def test_overlapping_outages_are_counted(lab):
    run(lab, out(500.0, 400.0), out(600.0, 1000.0), slow(650.0, 2000.0, 2.0))
    assert told(lab) == [(510.0, math.inf), (1610.0, 2.0), (2660.0, 1.0)]
    assert not [at_s for at_s, _ in commits(lab) if 500.0 < at_s < 1600.0]


def test_an_outage_that_ends_before_anybody_looks_is_not_told(lab):
    run(lab, out(402.0, 30.0, detect_s=60.0))
    assert told(lab) == []
    assert commits(lab)[0] == (pytest.approx(421.0 + 30.0, abs=1.0), 30)


def test_the_book_of_many_outages_adds_up_and_replays(lab):
    storage = lab.cause(FaultClass.STORAGE, mtbf_s=4000.0)
    lasts = {"median_s": 600.0, "mean_s": 3000.0, "source": "test"}
    storage = storage.model_copy(update={"lasts": type(lab.study().faults.repair)(**lasts)})
    causes = (storage, lab.cause(FaultClass.HOST, mtbf_s=9000.0))
    found = lab.campaign(lab.study(*causes), lab.workload(prices=HOT))
    assert replay(lab.entries).same
    assert len(told(lab)) > 20
    total_gpu_s = math.fsum(found.buckets_gpu_s.values())
    assert total_gpu_s == pytest.approx(8 * 72 * 5 * DAY_S, rel=1e-9)
    kept_gpu_s = found.num_steps * 10.0 * 8 * 64
    assert -1e-3 <= found.buckets_gpu_s["productive"] - kept_gpu_s <= 10.001 * 8 * 64


# --- restores --------------------------------------------------------------------------------


def turns(lab) -> list[tuple[Bucket, float]]:
    return [(e.content.bucket, e.at_s) for e in lab.contents(BucketFrom)]


def test_a_restore_waits_for_the_store_and_stands_in_its_bucket(lab):
    # the store goes after the controller has chosen it, and comes back 200 s later
    crash = strike(FaultClass.PROCESS, 600.0, 3, detect_s=1.0)
    found = run(lab, crash, out(650.0, 200.0, detect_s=DAY_S))
    assert found.num_interruptions == 1
    (begun,) = [at_s for bucket, at_s in turns(lab) if bucket is Bucket.RESTORE]
    (ready,) = [e.at_s for e in lab.told("GangReady")][1:]
    assert ready == pytest.approx(850.0 + 10.0)
    spent_s = found.buckets_gpu_s["restore"] / found.num_gpus
    assert spent_s == pytest.approx(ready - begun)


def test_a_restore_from_a_slow_store_takes_so_many_times_as_long(lab):
    crash = strike(FaultClass.PROCESS, 600.0, 3, detect_s=1.0)
    found = run(lab, crash, slow(550.0, DAY_S, 5.0))
    assert found.buckets_gpu_s["restore"] / found.num_gpus == pytest.approx(50.0)


def test_while_the_store_is_out_a_nearer_copy_is_taken_or_it_is_waited_for(lab):
    faults = (out(500.0, 1500.0), strike(FaultClass.PROCESS, 600.0, 3, detect_s=1.0))
    run(lab, *faults, prices=replace(HOT, peer_stride=1))
    assert [e.content.action.tier for e in lab.asked("StartGang")][1:] == [Tier.PEER]
    found = run(lab, *faults, prices=HOT)
    assert [e.content.action.why for e in lab.asked("Hold")] == [HoldReason.NO_STORAGE]
    (start,) = lab.asked("StartGang")[1:]
    assert start.at_s == pytest.approx(2010.0)
    assert found.buckets_gpu_s["hold"] / found.num_gpus == pytest.approx(1406.0, abs=5.0)


def test_waiting_for_the_store_is_charged_to_the_store(lab):
    faults = (out(500.0, 1500.0), strike(FaultClass.PROCESS, 600.0, 3, detect_s=1.0))
    found = run(lab, *faults, prices=HOT)
    causes = {one.cause: one for one in course_of(lab.entries).causes}
    held_gpu_s = found.buckets_gpu_s["hold"]
    assert causes["storage"].lost_gpu_s == pytest.approx(held_gpu_s)
    assert causes["process"].lost_gpu_s > 0
    assert causes["process"].num_interruptions == 1


def test_a_slow_store_slows_no_step_and_is_not_charged_for_slow_hosts(lab):
    faults = (
        strike(FaultClass.SLOW, 300.0, 5, detect_s=DAY_S, slowdown=1.5),
        slow(600.0, 600.0, 2.0),
    )
    run(lab, *faults)
    causes = {one.cause: one.lost_gpu_s for one in course_of(lab.entries).causes}
    assert causes["slow"] > 0
    assert causes["storage"] == 0.0
    assert [e.content.slowdown for e in lab.contents(PaceFrom)] == [1.0, 1.5]


# --- the store alone -------------------------------------------------------------------------


def through(*turns: tuple[float, float], usual_s: float = 10.0) -> float:
    """When a transfer that begins at 0 is through; (time, slowdown from then on)."""
    kernel, ends_s = Kernel(), []
    store = Store(kernel)
    store.carry(usual_s, lambda: ends_s.append(kernel.now_s), priority=Priority.ANSWER)

    def turn(slowdown):
        store.end_all()
        store.slow_down(slowdown)

    for at_s, slowdown in turns:
        kernel.schedule(lambda s=slowdown: turn(s), at_s=at_s, priority=Priority.PHYSICS)
    while len(kernel):
        kernel.next()()
    assert len(ends_s) <= 1
    return ends_s[0] if ends_s else math.inf


def test_a_transfer_walks_at_the_speed_of_each_moment():
    assert through() == 10.0
    assert through((4.0, 2.0)) == 4.0 + 12.0
    assert through((4.0, math.inf)) == math.inf
    assert through((4.0, math.inf), (100.0, 1.0)) == 106.0
    assert through((2.0, 4.0), (10.0, 2.0), (12.0, math.inf), (50.0, 1.0)) == 55.0
    assert through((0.0, math.inf), (7.0, 1.0), usual_s=0.0) == 0.0
