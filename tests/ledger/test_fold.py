"""Figures of a book that can be counted by hand."""

from __future__ import annotations

import json

import pytest

from gigafactory.control import actions as ac
from gigafactory.control import events as ev
from gigafactory.control.actions import Tier, Token
from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import (
    ActionTaken,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    EventSeen,
    PaceFrom,
    PowerFrom,
    Rollback,
    Steps,
)
from gigafactory.ledger.fold import fold
from gigafactory.ledger.writer import LedgerWriter


@pytest.fixture
def summary(campaign):
    with LedgerWriter() as ledger:
        campaign(ledger)
    return fold(ledger.entries)


@pytest.fixture
def book(opening):
    """fold of (at_s, content) pairs after an opening of 32 + 8 GPUs at time 0."""

    def of(*moments, **changes):
        with LedgerWriter() as ledger:
            ledger.write(opening(**changes), at_s=0.0)
            for at_s, content in moments:
                ledger.write(content, at_s=at_s)
        return fold(ledger.entries)

    return of


def productive(at_s):
    return (at_s, BucketFrom(bucket=Bucket.PRODUCTIVE))


def test_buckets_of_the_campaign(summary):
    seconds = {name: gpu_s / 32 for name, gpu_s in summary.buckets_gpu_s.items() if gpu_s}
    assert seconds == {
        "rendezvous": 10.0,
        "productive": 30.5,  # 10 kept + 20 kept + 0.5 after the last step
        "rework": 10.5,  # 10 lost steps and the unfinished one
        "detect": 2.0,
        "replace": 2.0,
        "restore": 10.0,
        "idle_spare": 65.0 * 8 / 32,
    }


def test_rule_10_the_buckets_sum_to_the_allocation(summary):
    assert sum(summary.buckets_gpu_s.values()) == pytest.approx(summary.allocation_gpu_s)
    assert summary.allocation_gpu_s == 65.0 * 40


def test_shares(summary):
    assert summary.goodput == pytest.approx(30.5 / 65.0)
    assert summary.ettr == summary.goodput
    assert "wall-clock" in summary.ettr_convention


def test_interruptions(summary):
    assert summary.num_interruptions == 1
    assert summary.mtbf_s == 65.0
    assert summary.mttr_s == pytest.approx(14.0)


def test_steps_tokens_and_mfu(summary):
    assert (summary.num_steps, summary.num_lost_steps, summary.last_step) == (30, 10, 30)
    assert summary.tokens == 30_000
    assert summary.mfu == pytest.approx(3.2e13 / (32 * 2e12))


def test_the_bill(summary):
    computing_s, standing_s = 41.0, 24.0
    it_j = 1000.0 * 32 * computing_s + 200.0 * (32 * standing_s + 8 * 65.0)
    assert summary.energy_j == pytest.approx(1.5 * it_j)
    assert summary.electricity_usd == pytest.approx(1.5e-7 * it_j)
    assert summary.cost_usd == pytest.approx(0.001 * 40 * 65.0)


def test_counts(summary):
    assert (summary.num_faults, summary.num_starts, summary.num_evicted_hosts) == (1, 2, 1)
    assert (summary.num_checkpoints, summary.last_checkpoint_step) == (2, 30)
    assert (summary.outcome, summary.world, summary.seed) == ("done", "twin", 3)


def test_the_last_write_of_a_step_wins(book):
    found = book(
        productive(0.0),
        (1.0, Steps(step=1, step_s=1.0, loss=5.0)),
        (2.0, Steps(step=2, step_s=1.0, loss=4.0)),
        (3.0, Rollback(step=1)),
        (4.0, Steps(step=2, step_s=1.5, loss=4.5)),
    )
    assert found.losses == ((1, 5.0), (2, 4.5))
    assert found.step_times == ((1, 1.0), (2, 1.5))
    assert (found.num_steps, found.num_lost_steps) == (2, 1)


def test_a_step_told_again_without_a_rollback_counts_once(book):
    found = book(
        productive(0.0),
        (2.0, Steps(step=2, num_steps=2, step_s=1.0)),
        (3.0, Steps(step=2, step_s=1.0)),
    )
    assert (found.num_steps, found.num_lost_steps) == (2, 1)
    assert found.buckets_gpu_s["rework"] == pytest.approx(32.0)


def test_part_of_a_stretch_is_lost(book):
    found = book(
        productive(0.0),
        (10.0, Steps(step=10, num_steps=10, step_s=1.0, loss=2.0)),
        (10.0, Rollback(step=7)),
    )
    assert (found.num_steps, found.num_lost_steps) == (7, 3)
    assert found.buckets_gpu_s["rework"] == pytest.approx(3 * 32)
    assert found.losses == ()


def test_announced_maintenance_is_no_interruption_and_not_held_against_ettr(book):
    found = book(
        productive(0.0),
        (10.0, BucketFrom(bucket=Bucket.PLANNED)),
        (15.0, BucketFrom(bucket=Bucket.RESTORE)),
        productive(20.0),
        (30.0, Closed(outcome="done")),
    )
    assert found.num_interruptions == 0
    assert found.mtbf_s is None
    assert found.goodput == pytest.approx(20 / 30)
    assert found.ettr == pytest.approx(20 / 25)


def test_a_second_failure_during_recovery_is_the_same_interruption(book):
    found = book(
        productive(0.0),
        (10.0, BucketFrom(bucket=Bucket.DETECT)),
        (12.0, BucketFrom(bucket=Bucket.RENDEZVOUS)),
        (14.0, BucketFrom(bucket=Bucket.DETECT)),
        (16.0, BucketFrom(bucket=Bucket.HOLD)),
        productive(20.0),
        (30.0, Closed(outcome="done")),
    )
    assert (found.num_interruptions, found.mttr_s) == (1, 10.0)


def test_a_silence_that_ends_by_itself_is_no_interruption(book):
    silent = book(
        (0.0, BucketFrom(bucket=Bucket.PRODUCTIVE)),
        (10.0, BucketFrom(bucket=Bucket.DETECT)),
        (12.0, BucketFrom(bucket=Bucket.PRODUCTIVE)),
        (20.0, BucketFrom(bucket=Bucket.OTHER)),
    )
    assert silent.num_interruptions == 0
    assert silent.mttr_s is None
    assert silent.buckets_gpu_s[Bucket.DETECT] > 0


def test_power_entries_go_before_the_figure_per_gpu(book):
    found = book(
        (0.0, PowerFrom(draw_w=100.0)),
        (10.0, PowerFrom(draw_w=50.0)),
        (20.0, Closed(outcome="done")),
    )
    assert found.energy_j == pytest.approx(1.5 * (1000 + 500))


def test_a_crashed_book_ends_at_its_last_line(book):
    found = book(productive(0.0), (7.0, Steps(step=7, num_steps=7, step_s=1.0)))
    assert (found.outcome, found.wall_s, found.goodput) == (None, 7.0, 1.0)


def test_a_book_of_one_entry(book):
    found = book()
    assert (found.wall_s, found.goodput, found.mfu, found.mtbf_s) == (0.0, 0.0, None, None)


def test_a_book_must_begin_with_its_opening(campaign):
    with LedgerWriter() as ledger:
        campaign(ledger)
    with pytest.raises(InputError, match="must be 'opened'"):
        fold(ledger.entries[1:])
    with pytest.raises(InputError, match="no entry"):
        fold([])


def test_json_of_the_summary(summary):
    assert "losses" not in summary.to_json()
    assert json.loads(json.dumps(summary.to_json(series=True)))["losses"] == [[10, 5.0], [30, 3.0]]


def shares(summary):
    """Seconds of the whole training allocation in each bucket."""
    return {name: gpu_s / 32 for name, gpu_s in summary.buckets_gpu_s.items() if gpu_s}


def test_pace_splits_what_would_be_productive(book):
    found = book(
        productive(0.0),
        (10.0, PaceFrom(num_gpus=24, slowdown=1.25)),
        (20.0, BucketFrom(bucket=Bucket.CHECKPOINT)),
        (24.0, BucketFrom(bucket=Bucket.PRODUCTIVE)),
        (30.0, PaceFrom(num_gpus=32)),
        (40.0, Closed(outcome="done")),
        num_spare_gpus=0,
    )
    assert shares(found) == pytest.approx(
        {"productive": 20 + 16 * 0.6, "degraded": 16 / 4, "straggler": 16 * 0.15, "checkpoint": 4}
    )
    assert found.num_degraded_spells == 1
    assert found.num_interruptions == 0


def test_lost_work_gives_up_its_productive_part_alone(book):
    found = book(
        productive(0.0),
        (0.0, PaceFrom(num_gpus=16, slowdown=2.0)),
        (10.0, Steps(step=10, num_steps=10, step_s=1.0)),
        (10.0, Rollback(step=5)),
        num_spare_gpus=0,
    )
    assert shares(found) == pytest.approx(
        {"productive": 1.25, "rework": 1.25, "degraded": 5.0, "straggler": 2.5}
    )


def test_a_checkpoint_since_the_last_step_is_no_rework(book):
    found = book(
        productive(0.0),
        (10.0, Steps(step=10, num_steps=10, step_s=1.0)),
        (10.0, BucketFrom(bucket=Bucket.CHECKPOINT)),
        (14.0, BucketFrom(bucket=Bucket.PRODUCTIVE)),
        (15.0, BucketFrom(bucket=Bucket.DETECT)),
        (15.0, Rollback(step=10)),
        num_spare_gpus=0,
    )
    assert shares(found) == {"productive": 10.0, "checkpoint": 4.0, "rework": 1.0}


def test_mfu_is_of_the_gpus_that_computed(book):
    whole = book(productive(0.0), (10.0, Steps(step=10, num_steps=10, step_s=1.0)))
    half = book(
        productive(0.0),
        (0.0, PaceFrom(num_gpus=16)),
        (20.0, Steps(step=10, num_steps=10, step_s=2.0)),
    )
    assert half.mfu == pytest.approx(whole.mfu)


def drop(at_s):
    return (at_s, ActionTaken(action=ac.DropReplicas(token=Token(1, 4), replicas=(1,))))


def test_a_pause_in_which_replicas_regroup_is_no_interruption(book):
    ready = ev.ReplicaReady(at_s=20.0, generation=1, replica=1, incarnation=5)
    moments = (
        productive(0.0),
        (10.0, BucketFrom(bucket=Bucket.DETECT)),
        drop(11.0),
        (11.0, BucketFrom(bucket=Bucket.REPLACE)),
        productive(13.0),
        (13.0, PaceFrom(num_gpus=24)),
        (20.0, EventSeen(event=ready, state_hash="")),
        (20.0, BucketFrom(bucket=Bucket.RENDEZVOUS)),
        productive(21.0),
        (21.0, PaceFrom(num_gpus=32)),
        (30.0, BucketFrom(bucket=Bucket.OTHER)),
    )
    found = book(*moments)
    assert (found.num_interruptions, found.mttr_s, found.num_degraded_spells) == (0, None, 1)


def test_a_drop_that_fails_into_a_restart_is_an_interruption(book):
    start = ac.StartGang(token=Token(2, 5), hosts=(0, 1, 2, 3), step=1, seated=())
    found = book(
        productive(0.0),
        (10.0, BucketFrom(bucket=Bucket.DETECT)),
        drop(11.0),
        (11.0, BucketFrom(bucket=Bucket.REPLACE)),
        (12.0, ActionTaken(action=start)),
        productive(19.0),
    )
    assert (found.num_interruptions, found.mttr_s) == (1, 9.0)


def test_checkpoints_are_counted_by_tier(book):
    found = book(
        productive(0.0),
        (5.0, CheckpointKept(step=5, tier=Tier.STORE)),
        (9.0, CheckpointKept(step=9, tier=Tier.PEER, num=9)),
    )
    assert found.checkpoints_by_tier == {"peer": 9, "local": 0, "store": 1}
    assert (found.num_checkpoints, found.last_checkpoint_step) == (1, 5)


def test_the_course_is_kept_where_it_is_asked_for(campaign):
    with LedgerWriter() as ledger:
        campaign(ledger)
    assert fold(ledger.entries).series is None
    series = fold(ledger.entries, series=True).series
    assert series.working_gpus == ((0.0, 0.0), (10.0, 32.0), (30.5, 0.0), (44.5, 32.0))
    assert series.hosts_away == ((0.0, 0.0), (32.5, 1.0))
    assert series.hosts_standing_by == ((0.0, 1.0), (32.5, 0.0))
    assert series.power_w[0] == (0.0, 200.0 * 40)
    assert series.power_w[1] == (10.0, 1000.0 * 32 + 200.0 * 8)
