"""Blame and upkeep add up to what was lost; hosts away are counted; power is weighed by time."""

from __future__ import annotations

import pytest

from gigafactory.control import actions as ac
from gigafactory.control import events as ev
from gigafactory.ledger.away import quantile
from gigafactory.ledger.course import course_of
from gigafactory.ledger.entries import (
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    FaultStruck,
    PowerFrom,
    Rollback,
    Steps,
)
from gigafactory.ledger.fold import fold
from gigafactory.ledger.writer import LedgerWriter

TOKEN = ac.Token(1, 1)


@pytest.fixture
def book(opening):
    """100 s on 32 GPUs: a GPU dies at 40 and takes 3 of 5 steps since the last checkpoint along;
    a host is drained at 70 as announced; a false alarm stops all at 90."""
    book = LedgerWriter()

    def tell(event, *actions):
        book.decide(event, actions, state_hash=lambda: "0", generation=1)

    book.write(opening(), at_s=0)
    tell(ev.Launched(at_s=0, hosts=(0, 1, 2, 3), spares=(4,), num_steps=30))
    book.write(PowerFrom(draw_w=100.0), at_s=0)
    book.write(BucketFrom(bucket=Bucket.INIT), at_s=0)
    book.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=20)
    book.write(CheckpointKept(step=15), at_s=36)
    book.write(Steps(step=20, num_steps=20, step_s=1.0), at_s=40)
    book.write(FaultStruck(cause="faulty-gpu", fault="host", hosts=(2,)), at_s=40)
    book.write(BucketFrom(bucket=Bucket.DETECT), at_s=40)
    book.write(PowerFrom(draw_w=20.0), at_s=40)
    tell(
        ev.HostsDied(at_s=44, hosts=(2,), cause="faulty-gpu"),
        ac.EvictHosts(token=TOKEN, hosts=(2,), reason="faulty-gpu"),
    )
    book.write(BucketFrom(bucket=Bucket.RESTORE), at_s=44)
    book.write(Rollback(step=17), at_s=50)
    book.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=50)
    book.write(PowerFrom(draw_w=100.0), at_s=50)
    book.write(FaultStruck(cause="maintenance-of-host", fault="planned", hosts=(1,)), at_s=55)
    tell(
        ev.MaintenanceAnnounced(at_s=60, host=1, by_s=70),
        ac.EvictHosts(token=TOKEN, hosts=(1,), reason="maintenance"),
    )
    book.write(Steps(step=37, num_steps=20, step_s=1.0), at_s=70)
    book.write(BucketFrom(bucket=Bucket.PLANNED), at_s=70)
    book.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=80)
    tell(ev.HostRepaired(at_s=85, host=2))
    book.write(Steps(step=47, num_steps=10, step_s=1.0), at_s=90)
    book.write(BucketFrom(bucket=Bucket.RENDEZVOUS), at_s=90)
    book.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=95)
    book.write(Closed(outcome="horizon"), at_s=100)
    return book.entries


def test_every_cause_is_charged_what_it_cost(book):
    causes = {one.cause: one for one in course_of(book).causes}
    gpu = causes["faulty-gpu"]
    assert (gpu.num_faults, gpu.num_interruptions, gpu.down_s) == (1, 1, 10.0)
    assert gpu.lost_gpu_s == 32 * (10 + 3)
    alarm = causes["false alarm"]
    assert (alarm.num_faults, alarm.num_interruptions, alarm.lost_gpu_s) == (0, 1, 32 * 5)


def test_blame_and_upkeep_add_up_to_what_was_lost(book):
    course, summary = course_of(book), fold(book)
    lost = sum(one.lost_gpu_s for one in course.causes) + sum(course.upkeep_gpu_s.values())
    buckets = summary.buckets_gpu_s
    assert lost == pytest.approx(
        sum(v for k, v in buckets.items() if k not in ("productive", "idle_spare"))
    )
    assert sum(one.num_interruptions for one in course.causes) == summary.num_interruptions
    assert course.upkeep_gpu_s == {"init": 32 * 20.0, "planned": 32 * 10.0}


def test_hosts_away_are_counted_along_time(book):
    spares = course_of(book).spares
    assert spares.levels == ((0.0, 0), (44.0, 1), (60.0, 2), (85.0, 1))
    assert (spares.num_spares, spares.away_p50, spares.away_most) == (1, 1, 2)
    assert (spares.empty_s, spares.short_s) == (56.0, 25.0)


def test_power_is_weighed_by_time_and_pue(book):
    power = course_of(book).power
    assert power.mean_w == pytest.approx(1.5 * (90 * 100 + 10 * 20) / 100)
    assert (power.low_w, power.peak_w, power.num_swings, power.swing_w) == (30, 150, 2, 120)


def test_checkpoints_are_counted_by_tier(book):
    (tier,) = course_of(book).tiers
    assert (tier.tier, tier.num_kept, tier.num_restores) == ("store", 1, 0)
    assert tier.every_s == pytest.approx(20 + 17 + 10 + 5)


@pytest.mark.parametrize(("share", "level"), [(0.0, 0), (0.5, 0), (0.51, 3), (0.99, 3), (1.0, 9)])
def test_a_quantile_is_not_exceeded_for_its_share_of_the_time(share, level):
    assert quantile({0: 50.0, 3: 49.0, 9: 1.0}, share=share) == level
