"""Silent corruption shows as an anomaly; a replay tells it from odd text and finds the host."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from gigafactory.control.config import Prices
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.course import course_of
from gigafactory.ledger.entries import Bucket, BucketFrom, FaultStruck
from gigafactory.ledger.replay import replay
from gigafactory.simulate.faults import false_anomalies
from gigafactory.units import DAY_S, HOUR_S

HOT = Prices(
    recovery=Recovery.HOT, num_replicas=8, replica_hosts=8, step_s=10.0, cold_s=100.0, warm_s=20.0,
    restore_store_s=10.0, restore_peer_s=1.0, store_every_s=300.0, mtbf_s=7200.0, repair_s=600.0,
    peer_stride=8,
)  # fmt: skip


def seen(lab, name: str) -> list:
    return [entry.content.event for entry in lab.told(name)]


def asked(lab, name: str) -> list:
    return [entry.content.action for entry in lab.asked(name)]


@pytest.mark.parametrize("detect_s", [0.0, 60.0, HOUR_S])
def test_an_anomaly_is_replayed_the_host_found_and_its_steps_done_again(lab, detect_s):
    cause = lab.cause(FaultClass.CORRUPTION, mtbf_s=0.25 * DAY_S, detect_s=detect_s)
    found = lab.campaign(lab.study(cause), lab.workload(prices=HOT))
    struck = [(e.at_s, e.content.hosts[0]) for e in lab.contents(FaultStruck)]
    shown, verdicts = seen(lab, "AnomalySeen"), seen(lab, "Replayed")
    assert len(shown) > 10
    assert seen(lab, "CorruptionFound") == []
    # each is told once, not before its step has ended, and hardly later than it takes to see
    waits_s = [one.at_s - max(at for at, _ in struck if at <= one.at_s - detect_s) for one in shown]
    assert all(detect_s <= wait_s <= max(detect_s, 11.0) for wait_s in waits_s)
    # first whether, then who; each host found is one that was struck
    assert [a.localise for a in asked(lab, "ReplaySteps")] == [False, True] * len(shown)
    assert all(v.differs for v in verdicts)
    assert {h for v in verdicts[1::2] for h in v.hosts} <= {host for _, host in struck}
    assert [a.hosts for a in asked(lab, "EvictHosts")] == [v.hosts for v in verdicts[1::2]]
    # nothing that descends from it is restored
    starts = asked(lab, "StartGang")[1:]
    assert len(starts) == len(shown)
    for start, verdict in zip(starts, verdicts[1::2], strict=True):
        assert start.step <= verdict.clean_step
    assert found.num_interruptions == len(shown)
    assert replay(lab.entries).difference is None


def test_the_time_of_replays_has_its_bucket_and_its_cause(lab):
    cause = lab.cause(FaultClass.CORRUPTION, mtbf_s=0.25 * DAY_S, detect_s=60.0)
    found = lab.campaign(lab.study(cause), lab.workload(prices=HOT))
    num, spent_s = len(seen(lab, "AnomalySeen")), found.buckets_gpu_s["sdc_replay"] / (64 * 8)
    # whether: from the last checkpoint, 0 to 30 steps back; who: twice from memory; and the stop
    who_s = 2 * (1.0 + 10.0) + 2.0
    assert num * (10.0 + 10.0 + who_s) < spent_s < num * (10.0 + 310.0 + who_s)
    assert spent_s == pytest.approx(num * (10.0 + 155.0 + who_s), rel=0.25)
    causes = {one.cause: one for one in course_of(lab.entries).causes}
    assert causes["corruption"].num_interruptions == num
    assert causes["corruption"].lost_gpu_s > 0.5 * sum(c.lost_gpu_s for c in causes.values())


def test_odd_text_is_replayed_and_nobody_blamed(lab):
    # 0 corruptions would have 0 false alarms beside them: one cause that hits nobody else
    cause = lab.cause(FaultClass.CORRUPTION, mtbf_s=4 * DAY_S)
    study = lab.study(cause, days=20.0, false_anomaly_share=0.9)
    found = lab.campaign(study, lab.workload(prices=HOT))
    verdicts = seen(lab, "Replayed")
    odd = [v for v in verdicts if not v.differs]
    assert len(odd) > 25
    assert all(v.hosts == () for v in odd)
    num_true = len(seen(lab, "AnomalySeen")) - len(odd)
    assert found.num_interruptions == num_true == found.num_evicted_hosts
    assert sum(v.differs for v in verdicts) == 2 * num_true
    # a step again, from the copy in memory; the step under way begins anew
    spans = lab.contents(BucketFrom)
    stays = [
        b.at_s - a.at_s
        for a, b in pairwise(spans)
        if a.content.bucket is Bucket.SDC_REPLAY and b.content.bucket is Bucket.PRODUCTIVE
    ]
    assert stays == pytest.approx([11.0] * len(odd))
    assert found.num_lost_steps < 60 * num_true


def test_odd_text_alone_is_no_interruption(lab):
    cause = lab.cause(FaultClass.CORRUPTION, mtbf_s=1e4 * DAY_S)
    study = lab.study(cause, days=5.0, false_anomaly_share=1 - 1e-5)
    found = lab.campaign(study, lab.workload(prices=HOT))
    num = len(seen(lab, "Replayed"))
    assert num > 20
    assert (found.num_interruptions, found.num_lost_steps, found.num_starts) == (0, 0, 1)
    # 11 s of replay, and half a step begun in vain
    lost_s = found.wall_s - found.num_steps * (10.0 + 1.0 / 30) - 100.0
    assert lost_s == pytest.approx(num * 16.0, rel=0.2)


def test_false_anomalies_are_their_share_of_all(lab):
    cause = lab.cause(FaultClass.CORRUPTION, mtbf_s=DAY_S)
    study = lab.study(cause, false_anomaly_share=0.94)
    points = false_anomalies(study.faults, cluster=study.cluster, num_training_hosts=64, seed=1)
    times_s = [next(points).at_s for _ in range(4000)]
    assert times_s[-1] == pytest.approx(4000 * DAY_S * 0.06 / 0.94, rel=0.05)
    none = lab.study(cause)
    assert (
        next(
            false_anomalies(none.faults, cluster=none.cluster, num_training_hosts=64, seed=1), None
        )
        is None
    )


def test_what_a_crash_hid_shows_again(lab):
    """The state keeps its taint through a restart from a copy that has it."""
    causes = (
        lab.cause(FaultClass.CORRUPTION, mtbf_s=0.25 * DAY_S, detect_s=2 * HOUR_S),
        lab.cause(FaultClass.PROCESS, mtbf_s=0.1 * DAY_S),
        lab.cause(FaultClass.HOST, mtbf_s=0.1 * DAY_S),
    )
    lab.campaign(lab.study(*causes), lab.workload(prices=HOT))
    struck = [e for e in lab.contents(FaultStruck) if e.content.cause == "corruption"]
    clean = {v.clean_step for v in seen(lab, "Replayed") if v.hosts}
    assert len(clean) >= 0.5 * len(struck) > 5


@pytest.mark.parametrize("prices", [HOT, replace(HOT, peer_stride=0), None])
def test_whatever_breaks_during_a_replay_the_seconds_add_up(lab, prices):
    causes = tuple(
        lab.cause(fault, mtbf_s=0.03 * DAY_S, detect_s=30.0)
        for fault in (FaultClass.CORRUPTION, FaultClass.HOST, FaultClass.PROCESS, FaultClass.HANG)
    )
    study = lab.study(*causes, days=3.0, false_anomaly_share=0.5, num_spare_hosts=30)
    found = lab.campaign(study, lab.workload(prices=prices))
    total = sum(found.buckets_gpu_s.values())
    assert total == pytest.approx(found.allocation_gpu_s, rel=1e-9)
    assert found.buckets_gpu_s["sdc_replay"] > 0
    assert found.num_steps > 1000
    assert replay(lab.entries).difference is None
