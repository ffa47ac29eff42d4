"""Staffing: Erlang's formula, the law of square roots, and their inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.cost.staffing import (
    ReplicaCapacity,
    erlang_c,
    late_share,
    rate_kept_per_s,
    replica_capacity,
    replicas_needed,
    waiting_share,
)
from gigafactory.describe.serving import Replica, Slo, Traffic

HOST = ReplicaCapacity(num_gpus=8, requests_per_s=2.8, concurrency=43.0)


def by_the_sum(slots: int, load: float) -> float:
    """Erlang's formula as it is printed: a sum of powers over factorials."""
    terms = [load**k / math.factorial(k) for k in range(slots)]
    last = load**slots / math.factorial(slots) * slots / (slots - load)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (5, 4.0), (20, 15.0), (60, 50.0)])
def test_the_recursion_is_erlangs_formula(slots: int, load: float) -> None:
    assert erlang_c(slots, load=load) == pytest.approx(by_the_sum(slots, load), rel=1e-9)


def test_one_server_waits_as_often_as_it_is_busy() -> None:
    assert erlang_c(1, load=0.3) == pytest.approx(0.3)
    assert erlang_c(3, load=3.0) == erlang_c(3, load=9.0) == 1.0
    assert erlang_c(3, load=0.0) == 0.0


def least_slots(load: float, late: float, share: object) -> int:
    slots = math.floor(load) + 1
    while float(share(slots, load=load)) > late:  # type: ignore[operator]
        slots += 1
    return slots


@pytest.mark.parametrize(("load", "off"), [(45.0, 0.04), (200.0, 0.01), (900.0, 0.01)])
@pytest.mark.parametrize("late", [0.2, 0.01, 0.001])
def test_heavy_traffic_asks_for_erlangs_slots(load: float, off: float, late: float) -> None:
    exact = least_slots(load, late, erlang_c)
    assert least_slots(load, late, waiting_share) == pytest.approx(exact, rel=off)


def test_a_larger_pool_runs_fuller() -> None:
    rates = rate_kept_per_s([1, 10, 100, 1000], capacity=HOST, wait_s=0.5, late=0.01)
    fill = rates / (np.array([1, 10, 100, 1000]) * HOST.requests_per_s)
    assert np.all(np.diff(fill) > 0)
    assert fill[0] == pytest.approx(0.713, abs=0.005)
    assert 0.99 < fill[-1] < 1


@settings(max_examples=40)
@given(
    st.integers(1, 2000),
    st.floats(0.001, 0.5),
    st.floats(0.0, 5.0),
    st.floats(0.2, 50.0),
    st.floats(1.0, 300.0),
)
def test_needed_inverts_kept(
    num: int, late: float, wait_s: float, rate: float, concurrency: float
) -> None:
    host = ReplicaCapacity(num_gpus=8, requests_per_s=rate, concurrency=concurrency)
    limits = {"capacity": host, "wait_s": wait_s, "late": late}
    kept = float(rate_kept_per_s(num, **limits))  # type: ignore[arg-type]
    assert 0 < kept <= num * rate
    assert replicas_needed(kept, **limits) <= num  # type: ignore[arg-type]
    assert replicas_needed(kept * 1.001, **limits) > num  # type: ignore[arg-type]
    at = {"service_s": host.service_s, "wait_s": wait_s}
    load = kept * host.service_s
    assert late_share(num * concurrency, load=load, **at) <= late * (1 + 1e-9)  # type: ignore[arg-type]


def test_no_demand_needs_nobody() -> None:
    assert replicas_needed(0.0, capacity=HOST, wait_s=1.0, late=0.01) == 0


def test_a_replica_holds_more_under_looser_limits() -> None:
    study = load_study("studies/grok-1-512.yaml", overrides=("model=grok-2",))
    asked = Traffic(input_tokens=2000, output_tokens=400)

    def capacity(tpot_s: float) -> ReplicaCapacity | None:
        return replica_capacity(
            study.model, gpu=study.cluster.host.gpu, replica=Replica(tp=8), traffic=asked,
            slo=Slo(ttft_s=1.5, tpot_s=tpot_s),
        )  # fmt: skip

    tight, loose = capacity(0.03), capacity(0.1)
    assert tight is not None
    assert loose is not None
    assert tight.requests_per_s < loose.requests_per_s
    assert tight.service_s < loose.service_s
    assert capacity(1e-5) is None
