"""The fault streams have the rates, shares and shapes that were asked for."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.simulate import faults as fl
from gigafactory.simulate.fleet import HostState, new_fleet
from gigafactory.simulate.rng import stream
from gigafactory.units import DAY_S

REPAIR = Repair(median_s=0.85 * DAY_S, mean_s=5.54 * DAY_S, source="test")
HOST = Cause(name="gpu", fault=FaultClass.HOST, rate_per_s=3e-3 / DAY_S, detect_s=10, source="t")
CODE = Cause(name="bug", fault=FaultClass.PROCESS, rate_per_s=1e-3 / DAY_S, detect_s=1, source="t")


def model(**changes) -> Faults:
    given = {"name": "test", "causes": (HOST, CODE), "repair": REPAIR, "source": "test"}
    return Faults(**(given | changes))


def first(number: int, faults: Faults, *, num_hosts: int = 1000, seed: int = 0) -> list[fl.Strike]:
    lemon = new_fleet(
        num_hosts, lemon_share=faults.lemon_share, dice=stream("lemons", seed=seed)
    ).lemon
    return list(islice(fl.strikes(faults, lemon=lemon, seed=seed), number))


def test_rate_is_the_sum_over_hosts_and_causes():
    struck = first(20_000, model())
    assert struck[-1].at_s == pytest.approx(20_000 / (1000 * 4e-3 / DAY_S), rel=0.03)


def test_gaps_are_exponential():
    gaps_s = np.diff([s.at_s for s in first(20_000, model())])
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, abs=0.03)


def test_causes_come_in_their_shares():
    counted = Counter(s.cause.name for s in first(20_000, model()))
    assert counted["gpu"] / 20_000 == pytest.approx(0.75, abs=0.015)


def test_hosts_are_struck_evenly_without_lemons():
    counted = np.bincount([s.hosts[0] for s in first(50_000, model())], minlength=1000)
    assert counted.var() / counted.mean() == pytest.approx(1.0, abs=0.15)


def test_the_worst_tenth_of_hosts_takes_its_share():
    # StepFun trace: the worst 10 % of the hosts have 41 % of the faults; six times as often
    struck = first(50_000, model(lemon_share=0.1, lemon_factor=6.2))
    counted = np.sort(np.bincount([s.hosts[0] for s in struck], minlength=1000))
    assert counted[-100:].sum() / 50_000 == pytest.approx(6.2 / (6.2 + 9), abs=0.01)
    # and the fleet as a whole fails as often as before
    assert struck[-1].at_s == first(50_000, model())[-1].at_s


def test_batches_take_whole_groups_and_only_of_hardware():
    struck = first(20_000, model(batch_share=0.2, batch_hosts=8))
    sizes = Counter((s.cause.name, len(s.hosts)) for s in struck)
    hardware = sizes["gpu", 1] + sizes["gpu", 8]
    assert sizes["gpu", 8] / hardware == pytest.approx(0.2, abs=0.02)
    assert sizes["bug", 8] == 0
    for strike in struck:
        if len(strike.hosts) == 8:
            assert strike.hosts[0] % 8 == 0
            assert strike.hosts == tuple(range(strike.hosts[0], strike.hosts[0] + 8))


@given(size=st.integers(1, 20), num_hosts=st.integers(1, 200), data=st.data())
def test_a_group_holds_its_host_and_stays_on_the_floor(size, num_hosts, data):
    host = data.draw(st.integers(0, num_hosts - 1))
    group = fl.group_of(host, size=size, num_hosts=num_hosts)
    assert host in group
    assert len(group) <= size
    assert max(group) < num_hosts


def test_one_more_subsystem_leaves_the_times_alone():
    plain = [s.at_s for s in first(100, model())]
    rich = [s.at_s for s in first(100, model(batch_share=0.5, lemon_share=0.1, lemon_factor=5))]
    assert plain == rich


def test_no_rate_is_no_strike():
    assert first(1, model(causes=())) == []
    assert list(islice(fl.job_strikes(model(), seed=0), 1)) == []
    assert list(islice(fl.false_alarms(model(), num_hosts=10, seed=0), 1)) == []


def test_false_alarms_are_their_share_of_all_alarms():
    faults = model(false_alarm_share=0.1)
    alarms = list(islice(fl.false_alarms(faults, num_hosts=1000, seed=3), 20_000))
    rate_per_s = 20_000 / alarms[-1].at_s
    true_rate_per_s = 1000 * faults.rate_per_host_s
    assert rate_per_s / (rate_per_s + true_rate_per_s) == pytest.approx(0.1, rel=0.03)


def test_repair_has_the_published_median_and_mean():
    times_s = np.fromiter(fl.repair_times_s(REPAIR, seed=0), dtype=float, count=1_000_000)
    assert np.median(times_s) == pytest.approx(0.85 * DAY_S, rel=0.02)
    assert times_s.mean() == pytest.approx(5.54 * DAY_S, rel=0.05)


def test_a_new_fleet_is_up_with_its_lemons():
    fleet = new_fleet(500, lemon_share=0.1, dice=stream("lemons", seed=0))
    assert fleet.num_hosts == 500
    assert fleet.lemon.sum() == 50
    assert fleet.num_in(HostState.UP) == 500
