"""Rescale the second and the joule: what is said of campaigns scales as its names say."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.cost import (
    energy,
    frailty,
    never,
    recovery,
    reliability,
    spares,
    staffing,
    start,
    stragglers,
    swings,
    tiers,
)
from gigafactory.describe.cluster import Battery

#: What a name's end says about (second, joule).
SUFFIXES = {
    "_w_per_s": (-2, 1), "_usd_per_j": (0, -1), "_kg_per_j": (0, -1), "_per_s": (-1, 0),
    "_w": (-1, 1), "_j": (0, 1), "_s": (1, 0),
}  # fmt: skip
SECONDS, RATES = [30.0, 400.0], [2e-4, 3e-5]
#: Each function with arguments in seconds, watts and joules; those left out are pure numbers.
ASKED = {
    reliability.job_failure_rate_per_s: (
        {"num_hosts": 500.0, "host_rate_per_s": 3e-8, "job_rate_per_s": 1e-5}
    ),
    reliability.job_mtbf_s: {"num_hosts": 500.0, "host_rate_per_s": 3e-8, "job_rate_per_s": 1e-5},
    reliability.young_interval_s: {"blocking_s": 3.0, "mtbf_s": 4000.0},
    reliability.daly_interval_s: {"blocking_s": [3.0, 9000.0], "mtbf_s": 4000.0},
    reliability.optimal_interval_s: {"blocking_s": 3.0, "mtbf_s": 4000.0},
    reliability.expected_ettr: (
        {
            "num_hosts": 500.0,
            "host_rate_per_s": 3e-8,
            "restart_s": 300.0,
            "interval_s": 600.0,
            "blocking_s": 5.0,
        }
    ),
    reliability.expected_goodput: (
        {
            "mtbf_s": 4000.0,
            "recovery_s": 300.0,
            "interval_s": 600.0,
            "blocking_s": 5.0,
            "commit_s": 60.0,
        }
    ),
    reliability.kept_share: (
        {"mtbf_s": 4000.0, "interval_s": 600.0, "blocking_s": 5.0, "commit_s": 60.0}
    ),
    reliability.hosts_away: {"num_hosts": 500.0, "host_rate_per_s": 3e-8, "repair_s": 4e5},
    reliability.spares_needed: (
        {"num_hosts": 500, "host_rate_per_s": 3e-8, "repair_s": 4e5, "confidence": 0.99}
    ),
    tiers.tier_intervals_s: {"blocking_s": [0.1, 5.0], "rate_per_s": RATES},
    tiers.up_share: {"rate_per_s": RATES, "recovery_s": SECONDS},
    recovery.restart_cost_s: {"start_s": SECONDS, "restore_s": 20.0, "lost_work_s": 5.0},
    recovery.replica_cost_s: (
        {"num_replicas": 40.0, "num_lost": 2.0, "drop_s": 5.0, "join_s": 60.0}
    ),
    recovery.wait_for_s: {"num_missing": [1, 3, 9], "num_away": [4, 30, 8], "repair_s": 4e5},
    recovery.shrink_cost_s: (
        {"num_replicas": 40.0, "num_lost": 2.0, "until_s": 9000.0, "regrow_s": 60.0}
    ),
    recovery.growth_gain_s: {"num_training": 40.0, "num_more": 2.0, "mtbf_s": 4000.0},
    recovery.straggler_gain_s: {"slowdown": [1.0, 1.2], "mtbf_s": 4000.0},
    recovery.risk_cost_s: {"unplanned_s": 200.0, "mtbf_s": [4000.0, np.inf], "life_s": 7200.0},
    recovery.patience_s: {"alternative_s": SECONDS},
    recovery.cadence_s: {"usual_s": SECONDS, "slowdown": 4.0},
    staffing.late_share: {"slots": 60.0, "load": 50.0, "service_s": 15.0, "wait_s": 0.5},
    swings.step_band_w: {"gang_w": [1e6, 5e7]},
    swings.ramp_energy_j: {"depth_w": [1e6, 5e7], "ramp_w_per_s": 2e5},
    energy.hosts_power_w: {"num_hosts": 40.0, "host_w": 7750.0, "other_it_w": 5000.0},
    energy.site_power_w: {"it_w": 1e6, "pue": 1.25},
    energy.energy_j: {"power_w": 1e6, "duration_s": 3600.0},
    energy.electricity_usd: {"energy_j": 1e9, "electricity_usd_per_j": 2e-8},
    energy.carbon_kg: {"energy_j": 1e9, "carbon_kg_per_j": 8e-8},
}
#: Nothing but numbers goes in and comes out.
UNITLESS = {
    frailty.worst_share, frailty.negative_binomial, spares.away_variance, spares.away_quantile,
    stragglers.gang_slowdown, stragglers.wasted_share, staffing.erlang_c, staffing.waiting_share,
    reliability.binomial_at_most,
}  # fmt: skip
#: Each has a test of its own below; `replica_capacity` is an equation of serving.
BELOW = {
    reliability.lognormal_shape, start.communicators_s, staffing.rate_kept_per_s,
    staffing.replicas_needed, swings.dip_left_w, swings.power_share, swings.power_slowdown,
    never.no_progress, never.no_checkpoint, never.no_hosts, never.why_never,
    never.too_short, staffing.replica_capacity,
}  # fmt: skip
ROOMS = (frailty, never, recovery, reliability, spares, staffing, start, stragglers, swings, tiers)
UNITS = st.tuples(st.sampled_from([0.25, 60.0, 86400.0]), st.sampled_from([1e-3, 1.0, 3600.0]))


def factor(name, units):
    for suffix, powers in SUFFIXES.items():
        if name.endswith(suffix):
            return units[0] ** powers[0] * units[1] ** powers[1]
    return 1.0


def scaled(arguments, units):
    return {
        name: value if factor(name, units) == 1.0 else np.multiply(value, factor(name, units))
        for name, value in arguments.items()
    }


def called(function, arguments):
    first, *_ = inspect.signature(function).parameters
    rest = {name: value for name, value in arguments.items() if name != first}
    return np.asarray(function(arguments[first], **rest))


def test_no_equation_of_a_campaign_is_left_out():
    public = {
        function
        for room in ROOMS
        for name, function in inspect.getmembers(room, inspect.isfunction)
        if function.__module__ == room.__name__ and not name.startswith("_")
    }
    assert public <= set(ASKED) | UNITLESS | BELOW


@pytest.mark.parametrize("function", ASKED, ids=lambda function: function.__name__)
@given(units=UNITS)
def test_results_scale_as_their_names_say(function, units):
    told = called(function, scaled(ASKED[function], units))
    expected = called(function, ASKED[function]) * factor(function.__name__, units)
    assert told == pytest.approx(expected, rel=1e-9)


@given(units=UNITS, convention=st.sampled_from(reliability.Convention))
def test_every_convention_of_goodput_has_no_unit(units, convention):
    asked = ASKED[reliability.expected_goodput] | {"convention": convention}
    told = called(reliability.expected_goodput, scaled(asked, units))
    assert told == pytest.approx(called(reliability.expected_goodput, asked), rel=1e-9)


@pytest.mark.parametrize("function", UNITLESS, ids=lambda function: function.__name__)
def test_what_has_no_unit_is_asked_for_none(function):
    names = [function.__name__, *inspect.signature(function).parameters]
    assert all(factor(name, (2.0, 3.0)) == 1.0 for name in names)


@given(units=UNITS)
def test_the_spread_of_repairs_has_no_unit_and_their_median_has(units):
    mu, sigma = reliability.lognormal_shape(3600.0, mean_s=9000.0)
    told = reliability.lognormal_shape(3600.0 * units[0], mean_s=9000.0 * units[0])
    assert told == pytest.approx((mu + np.log(units[0]), sigma))


@given(scale=st.floats(0.1, 10.0), ranks=st.integers(1, 10**5))
def test_communicators_take_scale_times_the_published_curve(scale, ranks):
    told = start.communicators_s(ranks, scale=scale)
    assert told == pytest.approx(scale * float(start.communicators_s(ranks)))


@given(units=UNITS)
def test_queues_do_not_know_the_second(units):
    second, _ = units
    here = staffing.ReplicaCapacity(num_gpus=8, requests_per_s=2.8, concurrency=43.0)
    there = replace(here, requests_per_s=2.8 / second)
    rate = staffing.rate_kept_per_s([1, 40], capacity=here, wait_s=0.5, late=0.01)
    told = staffing.rate_kept_per_s([1, 40], capacity=there, wait_s=0.5 * second, late=0.01)
    assert told * second == pytest.approx(rate, rel=1e-9)
    needed = staffing.replicas_needed(90.0, capacity=here, wait_s=0.5, late=0.01)
    assert (
        staffing.replicas_needed(90.0 / second, capacity=there, wait_s=0.5 * second, late=0.01)
        == needed
    )


@given(units=UNITS)
def test_what_a_battery_leaves_of_a_dip_is_a_power(units):
    def left(*, depth_w, lasts_s, power_w, energy_j):
        battery = Battery(power_w=power_w, energy_j=energy_j)
        return swings.dip_left_w(depth_w, lasts_s=lasts_s, battery=battery)

    asked = {"depth_w": [1e6, 5e7], "lasts_s": [10.0, 900.0], "power_w": 2e7, "energy_j": 4e9}
    told = left(**scaled(asked, units))
    assert told == pytest.approx(left(**asked) * factor("_w", units))


COLOSSUS = load_study("studies/colossus.yaml", overrides=("cluster.site.capacity=120 MW",)).cluster


def watts(spec, times):
    """A specification with every power in other watts."""
    changes = {}
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if name.endswith("_w") and isinstance(value, float):
            changes[name] = value * times
        elif hasattr(type(value), "model_fields"):
            changes[name] = watts(value, times)
    return spec.model_copy(update=changes)


@given(times=st.sampled_from([1e-3, 0.5, 1e6]))
def test_a_cap_does_not_know_the_watt(times):
    for function in (swings.power_share, swings.power_slowdown):
        told = function(watts(COLOSSUS, times), num_training_hosts=[6000, 12_160])
        here = function(COLOSSUS, num_training_hosts=[6000, 12_160])
        assert told == pytest.approx(here)
        assert here[0] == 1.0 != here[1]


NEVER = {
    "mtbf_s": 1800.0, "recovery_s": 600.0, "interval_s": 120.0, "blocking_s": 1.0,
    "commit_s": 60.0, "num_hosts": 12_000, "num_spares": 300,
    "host_rate_per_s": 3.8e-3 / 86400, "repair_s": 5.5 * 86400, "shrink": False,
}  # fmt: skip


@given(units=UNITS, duration_s=st.sampled_from([90.0, 110.0, 130.0]))
def test_whether_a_campaign_is_too_short_does_not_depend_on_the_second(units, duration_s):
    asked = {"duration_s": duration_s, "start_s": 100.0, "step_s": 20.0}
    there = called(never.too_short, scaled(asked, units)).item()
    assert (there is not None) == (duration_s < 120.0)


@given(
    units=UNITS,
    change=st.sampled_from(
        [{}, {"num_spares": 50}, {"commit_s": 2000.0}, {"recovery_s": 2e4}, {"interval_s": 1e6}]
    ),
)
def test_whether_a_campaign_ends_does_not_depend_on_the_second(units, change):
    here = called(never.why_never, NEVER | change).item()
    there = called(never.why_never, scaled(NEVER | change, units)).item()
    assert (here is None) == (there is None) == (not change)
    if here is not None:
        # the same inequality says it: everything before the first number
        assert here[:40] == there[:40]
