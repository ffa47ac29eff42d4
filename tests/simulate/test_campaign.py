"""One campaign at a time: what each kind of fault does to it, in the book and in the figures."""

from __future__ import annotations

from itertools import accumulate
from types import SimpleNamespace

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.describe.faults import FaultClass, Repair
from gigafactory.describe.job import Drill
from gigafactory.describe.layout import Layout
from gigafactory.describe.policy import Policy
from gigafactory.ledger.entries import BucketFrom, CheckpointKept, FaultStruck, Rollback
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.simulate.campaign import CONVENTION
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.gang import Cadence
from gigafactory.simulate.workload import workload_of
from gigafactory.units import DAY_S


def buckets(lab) -> list[str]:
    return [entry.content.bucket.value for entry in lab.contents(BucketFrom)]


def test_without_faults_only_the_start_and_the_stalls_are_lost(lab):
    found = lab.campaign(lab.study(days=1.0))
    stalls = (DAY_S - 100.0) // 301.0
    assert found.num_interruptions == 0
    assert found.mtbf_s is None
    assert found.buckets_gpu_s["init"] == pytest.approx(100.0 * 512)
    assert found.buckets_gpu_s["checkpoint"] == pytest.approx(stalls * 512)
    assert found.goodput == pytest.approx((DAY_S - 100.0 - stalls) / DAY_S)
    assert found.num_checkpoints == stalls
    assert found.outcome == "horizon"


def test_a_job_that_is_done_ends_the_campaign_after_its_last_checkpoint(lab):
    found = lab.campaign(lab.study(days=1.0), lab.workload(num_steps=70))
    # 70 steps, two stalls on the way, the last checkpoint, the stop
    assert found.wall_s == pytest.approx(100 + 700 + 2 * 1 + (1 + 20) + 2)
    assert (found.outcome, found.num_steps, found.last_checkpoint_step) == ("done", 70, 70)
    assert found.tokens == 70 * 2**20
    assert found.num_interruptions == 0


def test_a_lost_host_is_replaced_and_the_lost_steps_are_done_again(lab):
    found = lab.campaign(lab.study(lab.cause(mtbf_s=0.2 * DAY_S), days=2.0))
    assert found.num_interruptions > 3
    assert found.num_lost_steps > 0
    assert found.buckets_gpu_s["rework"] > 0
    assert found.num_evicted_hosts == len(lab.told("HostsDied"))
    first = buckets(lab).index("detect")
    assert buckets(lab)[first : first + 5] == [
        "detect", "replace", "rendezvous", "restore", "productive",
    ]  # fmt: skip


def test_recovery_takes_detection_stop_start_and_restore(lab):
    found = lab.campaign(lab.study(lab.cause(mtbf_s=0.25 * DAY_S), days=5.0))
    assert found.mttr_s == pytest.approx(10.0 + 2.0 + 100.0 + 10.0)


def test_nothing_committed_is_ever_lost(lab):
    lab.campaign(lab.study(lab.cause(mtbf_s=0.05 * DAY_S)))
    committed = 0
    for entry in lab.entries:
        if isinstance(entry.content, CheckpointKept):
            committed = entry.content.step
        if isinstance(entry.content, Rollback):
            assert entry.content.step == committed


def test_the_controller_hears_of_a_fault_after_its_detection_time(lab):
    lab.campaign(lab.study(lab.cause(mtbf_s=0.25 * DAY_S, detect_s=77.0)))
    struck = [entry.at_s for entry in lab.contents(FaultStruck)]
    heard = [entry.at_s for entry in lab.told("HostsDied")]
    assert heard == pytest.approx([at_s + 77.0 for at_s in struck][: len(heard)])


def test_a_crash_restarts_in_place(lab):
    found = lab.campaign(lab.study(lab.cause(FaultClass.PROCESS, mtbf_s=0.25 * DAY_S)))
    assert found.num_interruptions > 5
    assert found.num_evicted_hosts == 0


def test_the_jobs_own_hazard_interrupts_without_a_host_to_blame(lab):
    found = lab.campaign(lab.study(job_rate_per_s=1 / (0.25 * DAY_S)))
    assert found.num_interruptions > 5
    assert found.num_evicted_hosts == 0
    assert {e.content.cause for e in lab.contents(FaultStruck)} == {"job"}


def test_a_hang_is_silence_until_the_collective_times_out(lab):
    found = lab.campaign(
        lab.study(lab.cause(FaultClass.HANG, mtbf_s=0.25 * DAY_S, detect_s=600.0), days=5)
    )
    assert found.num_interruptions > 5
    assert found.buckets_gpu_s["detect"] / 512 >= 590.0 * found.num_interruptions
    assert lab.told("HangSuspected")


def test_a_dead_link_is_replaced_only_when_a_witness_agrees(lab):
    found = lab.campaign(
        lab.study(lab.cause(FaultClass.NETWORK, mtbf_s=0.25 * DAY_S, detect_s=30.0))
    )
    assert found.num_evicted_hosts >= found.num_interruptions > 2
    assert not lab.told("HostsDied")
    assert len(lab.told("WitnessSpoke")) >= found.num_evicted_hosts


def test_false_alarms_cost_nothing_while_the_witness_vouches(lab):
    rare = lab.cause(mtbf_s=0.25 * DAY_S)
    found = lab.campaign(lab.study(rare, false_alarm_share=0.9, days=5))
    assert len(lab.told("HostUnreachable")) > 20
    assert 0 < found.num_interruptions <= found.num_faults
    assert found.num_evicted_hosts == len(lab.told("HostsDied"))


def test_announced_maintenance_is_drained_and_is_no_interruption(lab):
    found = lab.campaign(
        lab.study(lab.cause(FaultClass.PLANNED, mtbf_s=0.25 * DAY_S, detect_s=0.0))
    )
    assert len(lab.asked("SaveNow")) >= 3
    assert found.num_interruptions == 0
    # what is trained while the checkpoint is written is done again: 20 s, or three steps
    assert found.num_lost_steps <= 3 * len(lab.asked("SaveNow"))
    assert found.buckets_gpu_s["planned"] > 0
    assert found.ettr > found.goodput


def test_a_batch_is_one_incident(lab):
    found = lab.campaign(
        lab.study(
            lab.cause(mtbf_s=0.25 * DAY_S), batch_share=1.0, batch_hosts=4, num_spare_hosts=16
        )
    )
    sizes = {len(entry.content.hosts) for entry in lab.contents(FaultStruck)}
    assert max(sizes) == 4
    assert found.num_evicted_hosts > 1.5 * len(lab.asked("EvictHosts"))
    assert found.num_interruptions > 3


def test_without_spares_the_job_holds_until_a_repair(lab):
    found = lab.campaign(
        lab.study(
            lab.cause(mtbf_s=DAY_S), num_spare_hosts=0,
            repair=Repair(median_s=7200.0, mean_s=7200.0, source="test"), days=10,
        ),
        seed=2,
    )  # fmt: skip
    holds = lab.asked("Hold")
    assert {entry.content.action.why for entry in holds} == {"no_spares"}
    assert found.buckets_gpu_s["hold"] / 512 == pytest.approx(7200.0 * len(holds), rel=0.01)


def test_a_hold_for_a_person_is_lifted_by_one(lab):
    often = lab.cause(FaultClass.PROCESS, mtbf_s=150.0)
    study = lab.study(often, days=1.0).model_copy(
        update={"policy": Policy(max_restarts_without_progress=1)}
    )
    found = lab.campaign(study, delays=Delays(person_s=900.0))
    assert "no_progress" in {entry.content.action.why for entry in lab.asked("Hold")}
    assert len(lab.told("ResumeRequested")) > 3
    assert found.outcome == "horizon"


def test_the_drill_kills_one_process_at_its_step(lab):
    study = lab.study().model_copy(update={"drill": Drill(kill_at_step=45)})
    found = lab.campaign(study, lab.workload(num_steps=100))
    assert (found.num_interruptions, found.num_lost_steps) == (1, 15)
    assert [e.content.event.exit for e in lab.told("RankExited")] == ["killed"]
    assert found.outcome == "done"


def test_spares_fail_without_an_interruption(lab):
    found = lab.campaign(lab.study(lab.cause(mtbf_s=5 * DAY_S), num_spare_hosts=640, days=5))
    assert found.num_evicted_hosts > max(5, 5 * found.num_interruptions)


def test_every_checkpoint_is_in_the_book_at_its_time(lab):
    """An entry stands for those since the one before, and for the moment of its newest."""
    lab.campaign(lab.study(days=0.1))
    kept = lab.contents(CheckpointKept)
    so_far = list(accumulate(entry.content.num for entry in kept))
    assert so_far[-1] == (0.1 * DAY_S - 100 - 20) // 301
    assert [entry.content.step for entry in kept] == [30 * n for n in so_far]
    assert [entry.at_s for entry in kept] == pytest.approx([100 + 301 * n + 20 for n in so_far])


def test_energy_and_rent_follow_from_the_buckets(lab):
    found = lab.campaign(lab.study(lab.cause(mtbf_s=0.3 * DAY_S)))
    cluster, rent = lab.base.cluster, lab.base.money.rent
    assert found.cost_usd == pytest.approx(rent.price_usd_per_s * 72 * 8 * found.wall_s)
    lowest_w = 72 * cluster.host.idle_w * cluster.site.pue
    highest_w = (72 * cluster.host.training_w + 1e6) * cluster.site.pue
    assert lowest_w < found.energy_j / found.wall_s < highest_w
    assert found.carbon_kg == pytest.approx(found.energy_j * cluster.site.carbon_kg_per_j)
    assert found.electricity_usd == pytest.approx(
        found.energy_j * cluster.site.electricity_usd_per_j
    )


def test_the_result_is_what_the_written_book_folds_to(lab, tmp_path):
    path = tmp_path / "twin.jsonl"
    study = lab.study(lab.cause(mtbf_s=0.3 * DAY_S))
    in_file = lab.campaign(study, path=path)
    in_memory = lab.campaign(study)
    assert in_file == in_memory
    assert fold(read_ledger(path)).goodput == in_file.goodput
    document = in_file.to_json()
    assert document["convention"] == CONVENTION
    assert len(document["ledger_hash"]) == 64


def test_a_mesh_larger_than_the_cluster_is_refused(lab):
    with pytest.raises(InputError, match=r"needs 100 hosts, cluster\.num_hosts is 72"):
        lab.campaign(lab.study(), lab.workload(num_gpus=800))


def test_slow_storage_stretches_the_rhythm_not_the_rule(lab):
    # the write must fit between two checkpoints; commits then come one cycle later at most
    slow = Cadence(step_s=10.0, checkpoint_steps=30, blocking_s=1.0, write_s=299.0)
    found = lab.campaign(lab.study(lab.cause(mtbf_s=0.1 * DAY_S)), lab.workload(cadence=slow))
    quick = lab.campaign(lab.study(lab.cause(mtbf_s=0.1 * DAY_S)))
    assert found.num_lost_steps > quick.num_lost_steps


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        # hosts are away nine tenths of the time, and half of the replicas are never there
        (300.0, r"on no fewer than 32"),
        (1e5, r"the twin would follow .* faults .* shorten campaign\.duration to"),
    ],
)
def test_rates_without_end_are_refused_and_not_followed(lab, factor, words):
    rare = lab.cause(FaultClass.HOST if factor < 1e4 else FaultClass.FLAP, mtbf_s=5 * DAY_S)
    often = rare.model_copy(update={"rate_per_s": factor * rare.rate_per_s})
    repair = Repair(median_s=5 * DAY_S, mean_s=10 * DAY_S, source="test")
    study = lab.study(often, repair=repair, days=365.0)
    best = SimpleNamespace(
        layout=Layout(tp=8, dp=64), step_s=5.0, flops_per_step=1e18, num_gpus=512
    )
    with pytest.raises(InputError, match=words):
        workload_of(study, plan=SimpleNamespace(best=best))
