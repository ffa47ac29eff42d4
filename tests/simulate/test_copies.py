"""Copies near the hosts: what they outlive, what they save, and how the book counts them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control.actions import Tier
from gigafactory.control.config import Prices
from gigafactory.control.prices import prices_of
from gigafactory.describe.errors import InputError
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.entries import Bucket, CheckpointKept
from gigafactory.ledger.replay import replay
from gigafactory.units import DAY_S

PLAIN = Prices(
    recovery=Recovery.HOT, num_replicas=8, replica_hosts=8, step_s=10.0, cold_s=100.0, warm_s=20.0,
    restore_store_s=10.0, store_every_s=300.0, mtbf_s=7200.0, repair_s=600.0,
)  # fmt: skip
LOCAL = replace(
    PLAIN, has_local=True, local_every_s=20.0, local_blocking_s=0.5, local_write_s=3.0,
    restore_local_s=4.0,
)  # fmt: skip


def job(lab, prices: Prices):
    cadence = replace(
        lab.workload().cadence,
        local_steps=round(prices.local_every_s / prices.step_s),
        local_blocking_s=prices.local_blocking_s,
        local_write_s=prices.local_write_s,
    )
    return lab.workload(cadence=cadence, prices=prices)


def tiers(lab) -> list[Tier]:
    """Where each start but the first restored from."""
    return [entry.content.action.tier for entry in lab.asked("StartGang")[1:]]


def share(found, bucket: Bucket) -> float:
    return found.buckets_gpu_s[bucket.value] / found.allocation_gpu_s


def test_a_crash_loses_less_with_copies_on_the_hosts_disks(lab):
    study = lab.study(lab.cause(FaultClass.PROCESS, mtbf_s=7200.0))
    store = lab.campaign(study, job(lab, PLAIN))
    assert set(tiers(lab)) == {Tier.STORE}
    local = lab.campaign(study, job(lab, LOCAL))
    assert tiers(lab).count(Tier.LOCAL) > 0.9 * len(tiers(lab)) > 30
    # half of 20 s and the write instead of half of 300 s and the write
    assert share(local, Bucket.REWORK) < 0.2 * share(store, Bucket.REWORK)
    assert local.goodput > store.goodput
    assert replay(lab.entries).difference is None


def test_disks_go_with_their_hosts(lab):
    lab.campaign(lab.study(lab.cause(FaultClass.HOST, mtbf_s=7200.0)), job(lab, LOCAL))
    assert len(tiers(lab)) > 30
    assert set(tiers(lab)) == {Tier.STORE}
    assert lab.told("CheckpointLost") == []


def test_copies_of_a_seat_that_changed_hosts_are_made_anew(lab):
    causes = (
        lab.cause(FaultClass.HOST, mtbf_s=5000.0), lab.cause(FaultClass.PROCESS, mtbf_s=3000.0)
    )  # fmt: skip
    lab.campaign(lab.study(*causes), job(lab, replace(LOCAL, local_every_s=600.0)))
    assert {Tier.STORE, Tier.LOCAL} == set(tiers(lab))
    held: int | None = None
    for entry in lab.entries:
        event, action = (getattr(entry.content, name, None) for name in ("event", "action"))
        if type(event).__name__ == "StepsDone":
            held = event.local_step
        if type(action).__name__ == "StartGang":
            if action.tier is Tier.LOCAL:
                assert action.step == held
            held = None
    assert lab.told("CheckpointLost") == []


def test_with_copies_in_memory_too_the_newest_is_restored(lab):
    study = lab.study(lab.cause(FaultClass.PROCESS, mtbf_s=7200.0))
    lab.campaign(study, job(lab, replace(LOCAL, peer_stride=8)))
    assert set(tiers(lab)) == {Tier.PEER}


@pytest.mark.parametrize("recovery", [Recovery.HOT, Recovery.REPLICAS])
def test_the_book_counts_every_copy_in_an_entry_a_day(lab, recovery):
    prices = replace(LOCAL, peer_stride=8, recovery=recovery, join_s=30.0)
    causes = (lab.cause(FaultClass.HOST, mtbf_s=9000.0), lab.cause(FaultClass.PROCESS, mtbf_s=7e3))
    found = lab.campaign(lab.study(*causes), job(lab, prices))
    assert found.checkpoints_by_tier["peer"] == found.num_steps + found.num_lost_steps
    steps = found.num_steps + found.num_lost_steps
    assert found.checkpoints_by_tier["local"] == pytest.approx(steps / 2, rel=0.06)
    kept = [e.content for e in lab.contents(CheckpointKept)]
    assert sum(one.tier is Tier.PEER for one in kept) == found.wall_s / DAY_S
    # an entry of the store is made at each report
    assert sum(one.num for one in kept if one.tier is Tier.STORE) == found.num_checkpoints


def test_copies_on_disks_hold_the_training_up_for_their_blocking_part(lab):
    prices = replace(LOCAL, local_blocking_s=2.0)
    found = lab.campaign(lab.study(days=1.0), job(lab, prices))
    without = lab.campaign(lab.study(days=1.0), job(lab, PLAIN))
    # 2 s every 20 s of work, beside 1 s every 300 s
    work = 300.0 / (300.0 + 30.0 + 1.0)
    assert found.goodput == pytest.approx(work * (1 - 100.0 / DAY_S), rel=2e-3)
    assert without.goodput == pytest.approx(300.0 / 301.0 * (1 - 100.0 / DAY_S), rel=2e-3)
    assert share(found, Bucket.CHECKPOINT) == pytest.approx((72 / 64) ** -1 * 31 / 331, rel=5e-3)


def test_a_replica_that_came_back_is_heard_when_it_dies_again(lab):
    prices = replace(PLAIN, recovery=Recovery.REPLICAS, peer_stride=8, join_s=30.0)
    crash = lab.cause(FaultClass.PROCESS, mtbf_s=1800.0)
    found = lab.campaign(lab.study(crash), job(lab, prices))
    assert max(e.content.event.incarnation for e in lab.told("RankExited")) > 0
    assert found.num_interruptions == 0
    assert share(found, Bucket.DECIDE) == 0.0


# --- from a study ----------------------------------------------------------------------------


def study_prices(base, *, recovery: Recovery = Recovery.HOT, **policy):
    changed = base.model_copy(update={"policy": base.policy.model_copy(update=policy)})
    return prices_of(changed, layout=None, num_gpus=16_384, step_s=5.0, recovery=recovery)


def test_prices_of_local_copies_follow_the_described_disks(lab):
    base = load_study(lab.studies / "llama-405b-16k.yaml")
    alone = study_prices(base, local_copies=True, peer_copies=False)
    host = base.cluster.host
    each_bytes = alone.local_write_s * host.nvme_write_bandwidth_bytes_per_s
    assert each_bytes * 2048 == pytest.approx(14 * 405.85e9, rel=1e-3)
    assert alone.restore_local_s == pytest.approx(alone.local_write_s + alone.local_blocking_s)
    # sqrt(2 delta M) by what crashes alone: 54 + 7 + 2 of 419, 2048 hosts
    mtbf_s = DAY_S / (2048 * 63 / 110_592)
    assert alone.local_every_s == pytest.approx(
        (2 * alone.local_blocking_s * mtbf_s) ** 0.5, rel=2e-3
    )
    assert alone.store_every_s > study_prices(base, peer_copies=False).store_every_s
    fixed = study_prices(base, local_copies=True, local_interval_s=60.0)
    assert fixed.local_every_s == 60.0
    assert not study_prices(base, local_copies=True, recovery=Recovery.RESTART).has_local
    assert not study_prices(base).has_local


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["policy.local_interval=1 min"], "local_copies must be true"),
        (
            ["policy.recovery=restart", "policy.local_copies=true", "policy.peer_copies=true"],
            "peer_copies and local_copies would do nothing; write recovery hot or replicas",
        ),
        (
            ["policy.local_copies=true", "cluster.host.nvme_write_bandwidth=0 GB/s"],
            "cluster.host.nvme_write_bandwidth must be above 0",
        ),
    ],
)
def test_copies_without_disks_are_refused(lab, changes, words):
    with pytest.raises(InputError, match=words):
        load_study(lab.studies / "llama-405b-16k.yaml", overrides=changes)


def test_copies_that_no_disk_holds_are_refused(lab):
    base = load_study(lab.studies / "llama-405b-16k.yaml")
    host = base.cluster.host.model_copy(update={"nvme_bytes": 1e9})
    small = base.model_copy(update={"cluster": base.cluster.model_copy(update={"host": host})})
    with pytest.raises(InputError, match=r"cluster\.host\.nvme"):
        study_prices(small, local_copies=True)
