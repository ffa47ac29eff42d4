"""What replica groups lose is booked to the cause that took the replica out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gigafactory.control.config import Prices
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.blame import NO_FAULT, PLANNED
from gigafactory.ledger.course import course_of

from .conftest import Script, strike

GROUPS = Prices(
    recovery=Recovery.REPLICAS, num_replicas=8, replica_hosts=8, min_replicas=4, step_s=10.0,
    cold_s=100.0, warm_s=200.0, join_s=300.0, drop_s=5.0, restore_peer_s=2.0, restore_store_s=10.0,
    peer_stride=8, store_every_s=300.0, mtbf_s=7200.0, repair_s=600.0,
)  # fmt: skip


def run(lab, *strikes, prices: Prices = GROUPS):
    workload, script = lab.workload(prices=prices), Script(*strikes)
    found = lab.campaign(lab.study(days=0.1), workload, script=script)
    course = course_of(lab.entries)
    causes = {one.cause: one for one in course.causes}
    blamed_gpu_s = sum(one.lost_gpu_s for one in causes.values())
    spent_gpu_s = sum(found.buckets_gpu_s.values()) - sum(course.upkeep_gpu_s.values())
    kept = found.buckets_gpu_s["productive"] + found.buckets_gpu_s["idle_spare"]
    assert blamed_gpu_s == pytest.approx(spent_gpu_s - kept)
    return found, causes


def test_a_replica_that_comes_back_was_taken_by_its_fault(lab):
    found, causes = run(lab, strike(FaultClass.HOST, 1000.0, 20))
    assert [len(lab.asked(name)) for name in ("DropReplicas", "JoinReplica")] == [1, 1]
    assert set(causes) == {"host"}
    # an eighth of the GPUs for 300 s, and the pauses of both changes
    degraded_gpu_s = found.buckets_gpu_s["degraded"]
    assert degraded_gpu_s == pytest.approx(64 * 295.0, rel=0.05)
    assert causes["host"].lost_gpu_s > degraded_gpu_s + 512 * 2 * 5.0
    assert causes["host"].num_stops == 2
    assert causes["host"].num_interruptions == found.num_interruptions == 0


def test_two_replicas_that_are_out_together_have_their_own_causes(lab):
    alone = run(lab, strike(FaultClass.PROCESS, 1100.0, 40))[1]
    found, both = run(
        lab, strike(FaultClass.HOST, 1000.0, 20), strike(FaultClass.PROCESS, 1100.0, 40)
    )
    assert set(both) == {"host", "process"}
    assert both["process"].lost_gpu_s == pytest.approx(alone["process"].lost_gpu_s, rel=0.2)
    assert both["process"].num_stops == both["host"].num_stops == 2
    assert found.num_interruptions == 0


def test_a_replica_that_fails_to_come_back_is_out_for_the_old_reason(lab):
    # a host of it dies while it joins
    _, causes = run(lab, strike(FaultClass.HOST, 1000.0, 20), strike(FaultClass.HOST, 1200.0, 21))
    assert len(lab.asked("JoinReplica")) == 2
    assert set(causes) == {"host"}


def test_an_exchange_of_a_slow_host_is_booked_to_what_it_had(lab):
    slow = strike(FaultClass.SLOW, 1000.0, 20, slowdown=1.5)
    crash = strike(FaultClass.PROCESS, 990.0, 60, detect_s=1.0)
    found, causes = run(lab, crash, slow)
    assert set(causes) == {"slow", "process"}
    held_up_gpu_s = found.buckets_gpu_s["straggler"]
    away_gpu_s = causes["slow"].lost_gpu_s - held_up_gpu_s
    assert away_gpu_s == pytest.approx(causes["process"].lost_gpu_s, rel=0.2)


def test_seats_that_stay_empty_are_booked_to_what_emptied_them(lab):
    # no spare: after the loss seven replicas go on; a crash later changes nothing of that
    prices = replace(GROUPS, recovery=Recovery.HOT, can_shrink=True, repair_s=1e6)
    study = lab.study(days=0.1, num_spare_hosts=0)
    slow = study.faults.repair.model_copy(update={"median_s": 1e6, "mean_s": 1e6})
    study = study.model_copy(update={"faults": study.faults.model_copy(update={"repair": slow})})
    script = Script(
        strike(FaultClass.HOST, 1000.0, 20), strike(FaultClass.PROCESS, 3000.0, 40, detect_s=1.0)
    )
    found = lab.campaign(study, lab.workload(prices=prices), script=script)
    causes = {one.cause: one.lost_gpu_s for one in course_of(lab.entries).causes}
    assert causes["host"] > found.buckets_gpu_s["degraded"] > 2 * causes["process"]


def test_a_host_that_maintenance_takes_is_booked_to_maintenance(lab):
    _, causes = run(lab, strike(FaultClass.PLANNED, 1000.0, 20))
    assert NO_FAULT not in causes
    assert causes["planned"].lost_gpu_s > 0
    assert PLANNED not in causes
