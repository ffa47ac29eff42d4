"""The hourly table of power: a book worked through, and laws on books of the twin."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control.actions import Tier
from gigafactory.cost.swings import STEP_HIGH, STEP_LOW
from gigafactory.describe.cluster import Battery, Site
from gigafactory.describe.faults import FaultClass
from gigafactory.ledger.entries import (
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    Entry,
    Opened,
    PaceFrom,
    PowerFrom,
    World,
)
from gigafactory.ledger.power_hours import power_hours, power_limits, site_of
from gigafactory.units import DAY_S, HOUR_S

from .conftest import STUDIES

SITE = Site(name="test", pue=1.5, electricity_usd_per_j=0.0, carbon_kg_per_j=0.0, source="test")
#: 100 GPUs of 1000 W, idle 400 W, and 10 spare.
OPENED = Opened(
    world=World.TWIN, study="test", num_gpus=100, gpus_per_host=10, num_spare_gpus=10,
    num_steps=1000, tokens_per_step=1, flops_per_step=1.0, peak_flops_per_s=1.0, step_s=10.0,
    training_w_per_gpu=1000.0, idle_w_per_gpu=400.0, pue=1.5,
)  # fmt: skip
IDLE_W = 110 * 400.0
FULL_W = IDLE_W + 100 * 600.0


def book(*lines):
    """Entries from (hours, content)."""
    return [
        Entry(at_s=hours * HOUR_S, seq=seq, generation=1, content=content)
        for seq, (hours, content) in enumerate(((0.0, OPENED), *lines))
    ]


WORK, STAND = BucketFrom(bucket=Bucket.PRODUCTIVE), BucketFrom(bucket=Bucket.RESTORE)
INIT, DONE = BucketFrom(bucket=Bucket.INIT), Closed(outcome="done")
#: An hour idle, two at work with 30 minutes of a restart in the second.
STOPPED = book((0.0, INIT), (1.0, WORK), (2.0, STAND), (2.5, WORK), (3.0, DONE))


def test_a_book_worked_through():
    hours = power_hours(STOPPED, site=SITE)
    means_w = np.array([IDLE_W, FULL_W, (IDLE_W + FULL_W) / 2])
    assert hours.mean_w == pytest.approx(1.5 * means_w)
    low_w = [IDLE_W, FULL_W - (1 - STEP_LOW) * 1e5, IDLE_W]
    high_w = [IDLE_W, FULL_W + (STEP_HIGH - 1) * 1e5, FULL_W + (STEP_HIGH - 1) * 1e5]
    # cooling goes with the hour's mean
    assert hours.min_w == pytest.approx(np.array(low_w) + 0.5 * means_w)
    assert hours.max_w == pytest.approx(np.array(high_w) + 0.5 * means_w)
    assert hours.num_dips == 2  # the restart, and the end
    assert hours.deepest_dip_w == pytest.approx(60e3)
    assert hours.grid_min_w == pytest.approx(hours.min_w)
    assert hours.grid_max_w == pytest.approx(hours.max_w)


def test_what_the_book_says_of_power_counts_more_than_what_it_opened_with():
    metered = book((0.0, WORK), (0.0, PowerFrom(draw_w=77e3)), (1.0, Closed(outcome="done")))
    assert power_hours(metered, site=SITE).mean_w == pytest.approx([1.5 * 77e3])


def test_fewer_replicas_swing_and_dip_less():
    fewer = book((0.0, WORK), (0.0, PaceFrom(num_gpus=50)), (1.0, Closed(outcome="done")))
    hours = power_hours(fewer, site=SITE)
    assert hours.deepest_dip_w == pytest.approx(30e3)
    assert hours.mean_w == pytest.approx([1.5 * (IDLE_W + 30e3)])


def test_a_checkpoint_drops_the_gang_to_idle_in_its_hour():
    one = book((0.0, WORK), (1.5, CheckpointKept(step=9)), (3.0, Closed(outcome="done")))
    lowest_w = power_hours(one, site=SITE).min_w
    swing_w, stall_w = FULL_W - (1 - STEP_LOW) * 1e5, IDLE_W
    assert lowest_w == pytest.approx(np.array([swing_w, stall_w, swing_w]) + 0.5 * FULL_W)
    many = book((0.0, WORK), (1.5, CheckpointKept(step=9, num=4)), (3.0, Closed(outcome="done")))
    hours = power_hours(many, site=SITE)
    assert hours.min_w == pytest.approx(np.array([stall_w, stall_w, swing_w]) + 0.5 * FULL_W)
    assert hours.num_dips == 4 + 1


def test_a_battery_takes_the_swings_and_what_it_can_of_a_stop():
    # 60 kW for half an hour are 30 kWh; 15 kWh fill half of the dip
    battery = Battery(power_w=80e3, energy_j=15e3 * HOUR_S)
    hours = power_hours(STOPPED, site=SITE.model_copy(update={"battery": battery}))
    assert hours.grid_max_w[1] == pytest.approx(1.5 * FULL_W)
    assert hours.grid_min_w[1] == pytest.approx(1.5 * FULL_W)
    cooling_w = 0.25 * (IDLE_W + FULL_W)
    assert hours.grid_min_w[2] == pytest.approx(IDLE_W + 30e3 + cooling_w)
    assert (hours.grid_min_w >= hours.min_w).all()


@pytest.mark.parametrize(
    ("power_w", "energy_wh", "beyond"), [(60e3, 3e3, 0), (59e3, 3e3, 2), (60e3, 2.9e3, 2)]
)
def test_ramps_beyond_the_battery_are_counted(power_w, energy_wh, beyond):
    # 60 kW at 10 kW/min are 6 minutes, and 3 kWh
    battery = Battery(power_w=power_w, energy_j=energy_wh * HOUR_S)
    site = SITE.model_copy(update={"battery": battery, "ramp_w_per_s": 10e3 / 60})
    assert power_hours(STOPPED, site=site).num_beyond_battery == beyond


def test_without_a_battery_every_dip_is_beyond_and_without_a_limit_none():
    limited = SITE.model_copy(update={"ramp_w_per_s": 1e9})
    assert power_hours(STOPPED, site=limited).num_beyond_battery == 2
    assert power_hours(STOPPED, site=SITE).num_beyond_battery == 0


def test_a_book_without_time_has_no_rows():
    assert len(power_hours(book(), site=SITE).mean_w) == 0
    assert len(power_hours([], site=SITE).mean_w) == 0


def test_the_table_holds_the_energy_of_the_campaign(lab):
    causes = (lab.cause(mtbf_s=0.2 * DAY_S), lab.cause(FaultClass.PROCESS, mtbf_s=0.3 * DAY_S))
    found = lab.campaign(lab.study(*causes, days=5.3))
    hours = power_hours(lab.entries, site=lab.base.cluster.site)
    lasts_s = np.full(len(hours.mean_w), HOUR_S)
    lasts_s[-1] = found.wall_s - (len(lasts_s) - 1) * HOUR_S
    assert (hours.mean_w * lasts_s).sum() == pytest.approx(found.energy_j, rel=1e-9)
    assert (hours.min_w <= hours.mean_w + 1e-6).all()
    assert (hours.max_w >= hours.mean_w - 1e-6).all()


def test_a_quarter_of_a_year_is_quick():
    lines = []
    for n in range(4000):
        lines += [(n * 0.54, STAND), (n * 0.54 + 0.1, WORK)]
    entries = book(*lines, (2160.0, Closed(outcome="horizon")))
    since_s = time.process_time()
    assert len(power_hours(entries, site=SITE).mean_w) == 2160
    assert time.process_time() - since_s < 0.25  # about 0.02 s; others share the machine


def test_a_site_in_a_study_may_have_a_battery_and_a_ramp():
    changes = (
        "cluster.site.battery={power: 150 MW, energy: 300 MWh}",
        "cluster.site.ramp=10 MW/min",
    )
    site = load_study(STUDIES / "colossus.yaml", overrides=changes).cluster.site
    assert site.battery == Battery(power_w=150e6, energy_j=300e6 * HOUR_S)
    assert site.ramp_w_per_s == pytest.approx(10e6 / 60)


def test_a_stall_of_a_checkpoint_is_one_dip_and_no_stop():
    stalled = book(
        (0.0, INIT), (1.0, WORK), (1.5, BucketFrom(bucket=Bucket.CHECKPOINT)),
        (1.501, CheckpointKept(step=9)), (1.501, WORK), (3.0, DONE),
    )  # fmt: skip
    hours = power_hours(stalled, site=SITE)
    assert hours.num_dips == 2  # the checkpoint, and the end
    assert hours.min_w[1] == pytest.approx(IDLE_W + 0.5 * FULL_W)
    assert hours.grid_max_w == pytest.approx(hours.max_w)


def test_a_copy_in_a_peers_memory_stops_nobody_and_one_on_disk_does():
    def dips(tier):
        copy = CheckpointKept(step=9, tier=tier, num=500)
        return power_hours(book((0.0, WORK), (1.5, copy), (3.0, DONE)), site=SITE).num_dips

    assert [dips(tier) for tier in (Tier.PEER, Tier.LOCAL, Tier.STORE)] == [1, 501, 501]


def test_checkpoints_of_two_tiers_dip_in_the_hours_of_each():
    lines = [
        (1.2, CheckpointKept(step=1, tier=Tier.LOCAL)), (3.5, CheckpointKept(step=2)),
        (4.5, CheckpointKept(step=3, tier=Tier.LOCAL, num=2)), (6.0, DONE),
    ]  # fmt: skip
    lowest_w = power_hours(book((0.0, WORK), *lines), site=SITE).min_w
    dipped = lowest_w < FULL_W - (1 - STEP_LOW) * 1e5 + 0.5 * FULL_W - 1.0
    assert dipped.tolist() == [False, True, True, True, True, False]


def test_a_cap_is_met_and_what_is_left_of_the_gang_swings_less():
    held_w = IDLE_W + 30e3
    capped = book(
        (0.0, INIT), (0.0, PowerFrom(draw_w=IDLE_W)), (1.0, WORK), (1.0, PowerFrom(draw_w=held_w)),
        (3.0, PowerFrom(draw_w=IDLE_W)), (3.0, DONE),
    )  # fmt: skip
    hours = power_hours(capped, site=SITE.model_copy(update={"capacity_w": 1.5 * held_w}))
    assert hours.num_hours_at_capacity == 2
    assert hours.deepest_dip_w == pytest.approx(30e3)
    gang_w = 100 * 400.0 + 30e3
    assert hours.step_high_w == pytest.approx(1.5 * held_w + (STEP_HIGH - 1) * gang_w)
    assert hours.step_low_w == pytest.approx(1.5 * held_w - (1 - STEP_LOW) * gang_w)
    free = power_hours(capped, site=SITE.model_copy(update={"capacity_w": 1.6 * held_w}))
    assert free.num_hours_at_capacity == 0


def test_the_series_tells_its_peak_and_how_rare_it_is():
    hours = power_hours(STOPPED, site=SITE)
    assert hours.peak_hour == 1
    told = hours.to_json()
    assert told["peak_hour_w"] == pytest.approx(1.5 * FULL_W)
    assert told["mean_w"] == pytest.approx(hours.mean_w)
    assert hours.mean_w[2] < told["p99_w"] < told["peak_hour_w"]
    assert power_hours(book(), site=SITE).to_json()["peak_hour_w"] == 0.0


def test_a_book_tells_its_own_site():
    battery = Battery(power_w=80e3, energy_j=15e3 * HOUR_S)
    site = SITE.model_copy(
        update={"battery": battery, "ramp_w_per_s": 1e3, "capacity_w": 1e6, "carbon_kg_per_j": 2e-8}
    )
    again = site_of(replace(OPENED, **power_limits(site)))
    told = {"name", "source", "electricity_usd_per_j"}
    assert again.model_dump(exclude=told) == site.model_dump(exclude=told)
