"""The fault streams have the rates, shares and shapes that were asked for."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.describe.cluster import Cluster
from gigafactory.describe.exposure import interruptions_per_s, losses_per_host_s, num_units
from gigafactory.describe.fabric import leaf_ports, wiring
from gigafactory.describe.faults import Cause, FaultClass, Faults, Mode, Repair, Scope
from gigafactory.simulate import faults as fl
from gigafactory.simulate.batches import batches_of, neighbours
from gigafactory.simulate.fleet import Fleet, HostState
from gigafactory.simulate.lifetimes import repair_times_s
from gigafactory.simulate.network import step_slowdown
from gigafactory.units import DAY_S

from .conftest import STUDIES

REPAIR = Repair(median_s=0.85 * DAY_S, mean_s=5.54 * DAY_S, source="test")
FLEET = load_study(STUDIES / "grok-1-512.yaml").cluster
THOUSAND = FLEET.model_copy(update={"num_hosts": 1000})


def cause(name: str, fault: FaultClass, *, per_kday: float, **more) -> Cause:
    rate_per_s = per_kday * 1e-3 / DAY_S
    return Cause(name=name, fault=fault, rate_per_s=rate_per_s, detect_s=1.0, source="test", **more)


HOST = cause("gpu", FaultClass.HOST, per_kday=3)
CODE = cause("bug", FaultClass.PROCESS, per_kday=1)


def model(**changes) -> Faults:
    given = {"name": "test", "causes": (HOST, CODE), "repair": REPAIR, "source": "test"}
    return Faults(**(given | changes))


def first(
    number: int, faults: Faults, *, cluster: Cluster = THOUSAND, seed: int = 0, **more
) -> list[fl.Strike]:
    train = cluster.num_hosts - cluster.num_spare_hosts
    return list(
        islice(
            fl.strikes(faults, cluster=cluster, num_training_hosts=train, seed=seed, **more),
            number,
        )
    )


def of(name: str, struck: list[fl.Strike]) -> list[fl.Strike]:
    return [s for s in struck if s.cause.name == name]


def test_rate_is_the_sum_over_hosts_and_causes():
    struck = first(20_000, model())
    assert struck[-1].at_s == pytest.approx(20_000 / (1000 * 4e-3 / DAY_S), rel=0.03)


def test_gaps_are_exponential_and_in_order():
    gaps_s = np.diff([s.at_s for s in first(20_000, model())])
    assert gaps_s.min() >= 0
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, abs=0.03)


def test_causes_come_in_their_shares():
    counted = Counter(s.cause.name for s in first(20_000, model()))
    assert counted["gpu"] / 20_000 == pytest.approx(0.75, abs=0.015)


def test_hosts_are_struck_evenly_without_lemons():
    counted = np.bincount([s.hosts[0] for s in first(50_000, model())], minlength=1000)
    assert counted.var() / counted.mean() == pytest.approx(1.0, abs=0.15)


def test_the_worst_tenth_of_hosts_takes_its_share():
    # a two-point law: the worst tenth fails six times as often, and only its hardware does
    struck = first(50_000, model(lemon_share=0.1, lemon_factor=6.2))
    hardware = of("gpu", struck)
    counted = np.sort(np.bincount([s.hosts[0] for s in hardware], minlength=1000))
    assert counted[-100:].sum() / len(hardware) == pytest.approx(6.2 / (6.2 + 9), abs=0.015)
    software = np.bincount([s.hosts[0] for s in of("bug", struck)], minlength=1000)
    assert software.var() / software.mean() == pytest.approx(1.0, abs=0.15)
    # and the fleet as a whole fails as often as before
    assert struck[-1].at_s == first(50_000, model())[-1].at_s


def test_batches_take_neighbours_of_one_rack_or_pod_and_only_of_hardware():
    faults = model(batch_share=0.3, batch_hosts=8)
    struck = first(20_000, faults)
    hardware = of("gpu", struck)
    lost = sum(len(s.hosts) for s in hardware)
    together = sum(len(s.hosts) for s in hardware if len(s.hosts) > 1)
    assert together / lost == pytest.approx(0.3, abs=0.02)
    assert lost / len(hardware) == pytest.approx(batches_of(faults).mean_hosts, rel=0.01)
    assert {len(s.hosts) for s in of("bug", struck)} == {1}
    rack = THOUSAND.hosts_per_rack
    for strike in hardware:
        size = rack if len(strike.hosts) <= rack else THOUSAND.hosts_per_pod
        assert len({host // size for host in strike.hosts}) == 1
        assert strike.hosts == tuple(range(strike.hosts[0], strike.hosts[-1] + 1))


@given(num=st.integers(1, 20), num_hosts=st.integers(1, 200), data=st.data())
def test_neighbours_hold_their_host_and_stay_on_the_floor(num, num_hosts, data):
    host = data.draw(st.integers(0, num_hosts - 1))
    cluster = FLEET.model_copy(update={"num_hosts": num_hosts, "hosts_per_rack": 4})
    group = neighbours(host, num=num, cluster=cluster)
    assert host in group
    assert len(set(group)) == len(group) <= num
    assert 0 <= min(group) <= max(group) < num_hosts


@pytest.mark.parametrize(
    "change",
    [
        {"batch_share": 0.5},
        {"lemon_share": 0.1, "lemon_factor": 5.0},
        {"frailty_shape": 0.9},
        {"repeat_factor": 1.3},
        {"job_rate_per_s": 1e-3},
    ],
)
def test_one_more_subsystem_leaves_the_times_alone(change):
    plain = [s.at_s for s in first(1000, model())]
    assert [s.at_s for s in first(1000, model(**change))] == plain


def test_one_more_cause_leaves_the_strikes_of_the_others_alone():
    flap = cause("flap", FaultClass.FLAP, per_kday=0.2, scope=Scope.LINK)
    alone = first(1000, model())
    beside = first(3000, model(causes=(flap, HOST, CODE)))
    for name in ("gpu", "bug"):
        both = zip(of(name, alone), of(name, beside), strict=False)
        assert all(a == b for a, b in both)
        assert len(of(name, beside)) > 50


def test_no_rate_is_no_strike():
    assert first(1, model(causes=())) == []
    assert list(islice(fl.job_strikes(model(), seed=0), 1)) == []
    assert list(islice(fl.false_alarms(model(), cluster=THOUSAND, seed=0), 1)) == []


@pytest.mark.parametrize("per_kday", [1e-12, 1e12])
def test_extreme_rates_come_in_bounded_blocks(per_kday):
    faults = model(
        causes=(cause("gpu", FaultClass.HOST, per_kday=per_kday), CODE),
        fano_factor=3.4, month_fano_factor=15, frailty_shape=0.5, repeat_factor=1.3,
    )  # fmt: skip
    times_s = [s.at_s for s in first(5000, faults)]
    assert times_s == sorted(times_s)


def test_false_alarms_are_their_share_of_all_alarms():
    # Minder (NSDI 2025): precision 0.904
    faults = model(false_alarm_share=0.1)
    alarms = list(islice(fl.false_alarms(faults, cluster=THOUSAND, seed=3), 20_000))
    rate_per_s = 20_000 / alarms[-1].at_s
    true_rate_per_s = interruptions_per_s(faults, cluster=THOUSAND, num_hosts=1000)
    assert rate_per_s / (rate_per_s + true_rate_per_s) == pytest.approx(0.1, rel=0.03)


# --- units of other scopes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "size"),
    [
        (Scope.LINK, 1),
        (Scope.RACK, THOUSAND.hosts_per_rack),
        (Scope.POD, THOUSAND.hosts_per_pod),
        (Scope.LEAF, THOUSAND.hosts_per_pod),
    ],
)
def test_a_unit_takes_its_hosts_and_comes_at_its_rate(scope, size):
    per_kday = 5.0
    faults = model(causes=(cause("u", FaultClass.NETWORK, per_kday=per_kday, scope=scope),))
    struck = first(4000, faults)
    rate = num_units(scope, cluster=THOUSAND) * per_kday * 1e-3 / DAY_S
    assert struck[-1].at_s == pytest.approx(4000 / rate, rel=0.05)
    for strike in struck:
        assert strike.hosts[0] % size == 0
        assert strike.hosts == tuple(range(strike.hosts[0], min(strike.hosts[0] + size, 1000)))
    # every host is hit, each as often
    hits = np.bincount([h for s in struck for h in s.hosts], minlength=1000)
    assert hits.std() / hits.mean() < 3 / np.sqrt(hits.mean())


def test_a_second_leaf_turns_silence_into_lost_capacity():
    leaf = cause("leaf", FaultClass.NETWORK, per_kday=5, scope=Scope.LEAF)
    fabric = THOUSAND.fabric.model_copy(update={"dual_tor": True})
    dual = THOUSAND.model_copy(update={"fabric": fabric})
    (strike,) = first(1, model(causes=(leaf,)), cluster=dual, upper_share=0.1)
    assert strike.hosts == ()
    assert strike.cause.fault is FaultClass.CAPACITY
    assert strike.slowdown == pytest.approx(1.1)  # half the bandwidth: 0.1 x 0.5 / 0.5
    faults = model(causes=(leaf,))
    assert interruptions_per_s(faults, cluster=dual, num_hosts=1000) == 0.0
    assert interruptions_per_s(faults, cluster=THOUSAND, num_hosts=1000) > 0.0


def test_an_uplink_slows_the_step_by_the_way_its_leaf_lost():
    link = cause("up", FaultClass.CAPACITY, per_kday=5, scope=Scope.UPLINK, lasts=REPAIR)
    struck = first(500, model(causes=(link,)), upper_share=0.1)
    _, up = leaf_ports(THOUSAND.fabric)
    assert len(wiring(THOUSAND).num_switches) >= 2
    assert struck[0].hosts == ()
    assert struck[0].lasts_s > 0
    assert max(s.slowdown for s in struck) == pytest.approx(1 + 0.1 / (up - 1))
    # a job under one pod's leaves sends nothing above them
    small = fl.strikes(model(causes=(link,)), cluster=THOUSAND, num_training_hosts=16, seed=0)
    assert next(small).slowdown == 1.0


@given(lost=st.floats(0, 1), share=st.floats(0, 1))
def test_lost_capacity_never_speeds_up(lost, share):
    assert step_slowdown(lost, upper_share=share) >= 1.0
    assert step_slowdown(lost, upper_share=0.0) == 1.0


def test_only_the_liable_hosts_have_silent_corruption():
    # FT-HSDP: 37 events on 7 of about 4,000 hosts
    sdc = cause("sdc", FaultClass.CORRUPTION, per_kday=0.1255, liable_share=0.0018)
    struck = first(2000, model(causes=(sdc,)))
    assert len({s.hosts for s in struck}) == 2
    assert struck[-1].at_s == pytest.approx(2000 / (1000 * 0.1255e-3 / DAY_S), rel=0.07)


def test_slow_hosts_are_there_from_the_beginning():
    slow = cause("slow", FaultClass.SLOW, per_kday=0, present_share=0.005, slowdown=1.1)
    struck = first(100, model(causes=(slow,)))
    assert [s.at_s for s in struck] == [0.0] * 5
    assert {s.slowdown for s in struck} == {1.1}
    assert len({s.hosts for s in struck}) == 5


# --- repair ----------------------------------------------------------------------------------


def test_repair_has_the_published_median_and_mean():
    times_s = np.fromiter(repair_times_s(REPAIR, seed=0), dtype=float, count=1_000_000)
    assert np.median(times_s) == pytest.approx(0.85 * DAY_S, rel=0.02)
    assert times_s.mean() == pytest.approx(5.54 * DAY_S, rel=0.05)


def test_modes_that_contradict_the_whole_are_refused():
    quick = Mode(share=0.9, median_s=600, mean_s=600)
    long = Mode(share=0.1, median_s=6000, mean_s=6000)
    Repair(median_s=600, mean_s=1140, modes=(quick, long), source="test")
    with pytest.raises(ValueError, match="they must agree within 2 %"):
        Repair(median_s=600, mean_s=2000, modes=(quick, long), source="test")
    with pytest.raises(ValueError, match="must be 1"):
        Repair(median_s=600, mean_s=600, modes=(quick,), source="test")


def test_a_fleet_is_up_at_first_and_knows_who_is_not():
    fleet = Fleet(500)
    assert fleet.num_in(HostState.UP) == 500
    fleet.turn((3, 7), HostState.DOWN)
    fleet.turn((7,), HostState.REPAIR)
    assert (fleet.num_in(HostState.UP), fleet.num_in(HostState.DOWN)) == (498, 1)
    assert not fleet.is_up(3)
    assert fleet.state_of(7) is HostState.REPAIR
    fleet.turn((3,), HostState.UP)
    assert list(fleet.hosts_not_up()) == [7]


def test_a_quarter_of_a_year_comes_whole():
    end_s = 90 * DAY_S
    many = fl.strikes(model(), cluster=THOUSAND, num_training_hosts=1000, seed=0)
    assert len(list(takewhile(lambda s: s.at_s < end_s, many))) == pytest.approx(360, rel=0.2)


def test_a_share_of_batches_near_zero_divides_nothing():
    law = batches_of(model(batch_share=2.3e-313, batch_hosts=8))
    assert law.num_hosts(np.array([0.0, 0.5, 0.999])).tolist() == [2, 1, 1]


def test_a_small_job_counts_the_units_that_its_hosts_hang_on():
    causes = (
        cause("gpu", FaultClass.HOST, per_kday=3),
        cause("leaf", FaultClass.NETWORK, per_kday=7, scope=Scope.LEAF),
        cause("spine", FaultClass.CAPACITY, per_kday=9, scope=Scope.SPINE),
    )
    faults, pod = model(causes=causes), THOUSAND.hosts_per_pod
    leaves = num_units(Scope.LEAF, cluster=THOUSAND) / -(-1000 // pod)
    sizes = np.array([1, pod, pod + 1, 1000])
    found = interruptions_per_s(faults, cluster=THOUSAND, num_hosts=sizes) * 1000 * DAY_S
    assert found == pytest.approx(3 * sizes + 7 * leaves * np.ceil(sizes / pod))


def test_hosts_go_to_repair_by_whatever_takes_them_and_by_no_crash():
    causes = (
        cause("gpu", FaultClass.HOST, per_kday=3),
        cause("fan", FaultClass.FAILING, per_kday=2),
        cause("bug", FaultClass.PROCESS, per_kday=50),
        cause("feed", FaultClass.HOST, per_kday=8, scope=Scope.RACK),
    )
    lost = losses_per_host_s(model(causes=causes), cluster=THOUSAND) * 1000 * DAY_S
    racks = num_units(Scope.RACK, cluster=THOUSAND)
    assert lost == pytest.approx(3 + 2 + 8 * racks * THOUSAND.hosts_per_rack / 1000)
