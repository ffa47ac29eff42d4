"""The pool in the twin, with a borrower that only remembers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control.lending import Post
from gigafactory.cost.staffing import ReplicaCapacity
from gigafactory.describe.errors import InputError
from gigafactory.describe.pool import Pool
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.pool import SharedPool, capacity_of
from gigafactory.simulate.traffic import demand_series
from gigafactory.units import DAY_S

HOSTS = tuple(range(500, 600))
CAPACITY = ReplicaCapacity(num_gpus=8, requests_per_s=3.0, concurrency=45.0)


def pool_of(**changes: Any) -> Pool:
    lending = {"min_hosts": 10, "notice_s": 600.0, "cold_start_s": 300.0}
    demand = {"peak_requests_per_s": 250.0, "trough_share": 0.3, "source": "test"}
    return Pool.model_validate(
        {
            "num_hosts": 100,
            "demand": demand | changes.pop("demand", {}),
            "request": {"input_tokens": 2000, "output_tokens": 400},
            "slo": {"ttft_s": 2.0, "tpot_s": 0.05},
            "lending": lending | changes.pop("lending", {}),
            "source": "test",
        }
        | changes
    )


@dataclass
class Bench:
    """Training gives back ``late_s`` after the last moment (negative: before)."""

    pool: Pool
    seed: int = 0
    days: float = 8.0
    late_s: float = -60.0
    computing: int = 0
    borrowed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.kernel: Kernel[Happening] = Kernel()
        lending, duration_s = self.pool.lending, self.days * DAY_S
        self.shared = SharedPool(
            self.pool,
            capacity=CAPACITY,
            hosts=HOSTS,
            series=demand_series(
                self.pool.demand, duration_s=duration_s, every_s=lending.watch_s, seed=self.seed
            ),
            kernel=self.kernel,
            repairs_s=itertools.repeat(DAY_S),
            borrower=self,
        )
        self.shared.begin()

    def run(self, *, until_s: float = float("inf")):  # type: ignore[no-untyped-def]
        while len(self.kernel) and self.kernel.now_s < until_s:
            self.kernel.next()()
        return self.shared.result()

    def borrow(self, hosts: tuple[int, ...]) -> None:
        assert self.borrowed.isdisjoint(hosts)
        self.borrowed.update(hosts)

    def give_back(self, hosts: tuple[int, ...], *, by_s: float) -> int:
        assert self.borrowed.issuperset(hosts)
        at_s = max(by_s + self.late_s, self.kernel.now_s + 1.0)
        for host in hosts:
            self.kernel.schedule(
                lambda host=host: self.release(host), at_s=at_s, priority=Priority.ANSWER
            )
        return self.computing

    def release(self, host: int) -> None:
        if host in self.borrowed and self.shared.brain.post(host) is Post.RECALLED:
            self.borrowed.discard(host)
            self.shared.take(host, is_broken=False)


def test_it_lends_at_night_and_keeps_the_promise() -> None:
    found = Bench(pool_of()).run()
    assert found.num_loans >= 6
    assert found.num_recalls >= 6
    # between trough and peak half of the pool is idle, some of it too briefly to be lent
    assert 0.15 < found.lent_host_s / (100 * 8 * DAY_S) < 0.5
    assert found.slo_kept_share > 0.9999
    assert found.slo_kept_time_share > 0.999
    assert found.num_recalls_that_hurt == 0


def test_lending_that_is_off_lends_nothing() -> None:
    found = Bench(pool_of(lending={"is_on": False})).run()
    assert found.num_loans == found.lent_host_s == 0
    assert found.mean_serving_hosts == pytest.approx(100)
    assert found.slo_kept_share == 1.0


def test_training_that_returns_too_late_costs_answers() -> None:
    late = Bench(pool_of(lending={"headroom": 0.0}), late_s=3 * 3600.0, computing=1).run()
    assert late.slo_kept_share < 0.999
    assert late.short_while_lent_s > 0
    assert late.num_recalls_that_hurt > 0


def test_a_pool_too_small_is_short_by_itself() -> None:
    found = Bench(pool_of(demand={"peak_requests_per_s": 400.0})).run()
    assert 0.7 < found.slo_kept_share < 0.99
    assert found.short_while_lent_s < 0.1 * (1 - found.slo_kept_time_share) * 8 * DAY_S


def test_bursts_by_night_are_what_headroom_is_for() -> None:
    demand = {"bursts_per_s": 1 / DAY_S, "burst_factor": 1.3, "noise_share": 0.05}
    tight = Bench(pool_of(demand=demand, lending={"headroom": 0.0}), days=30).run()
    wide = Bench(pool_of(demand=demand, lending={"headroom": 0.4}), days=30).run()
    assert wide.slo_kept_share > tight.slo_kept_share
    assert wide.lent_host_s < tight.lent_host_s


def test_a_serving_host_that_breaks_comes_back_after_repair_and_loading() -> None:
    bench = Bench(pool_of(), days=3.0)
    bench.run(until_s=3600.0)
    bench.shared.strike((HOSTS[0], HOSTS[0], 7))
    assert bench.shared.brain.post(HOSTS[0]) is Post.AWAY
    broke_s = bench.kernel.now_s
    bench.run(until_s=broke_s + DAY_S + 200.0)
    assert bench.shared.brain.post(HOSTS[0]) is Post.AWAY
    bench.run(until_s=broke_s + DAY_S + 900.0)
    assert bench.shared.brain.post(HOSTS[0]) is Post.SERVING


def test_a_lent_host_that_breaks_is_the_pools_to_repair() -> None:
    bench = Bench(pool_of(), days=4.0)
    while not bench.borrowed:
        bench.run(until_s=bench.kernel.now_s + 1.0)
    host = min(bench.borrowed)
    bench.borrowed.discard(host)
    bench.shared.strike((host,))
    assert bench.shared.brain.post(host) is Post.LENT, "training sees to a host it has"
    bench.shared.take(host, is_broken=True)
    assert bench.shared.brain.post(host) is Post.AWAY
    bench.run()
    assert bench.shared.brain.post(host) in (Post.SERVING, Post.LENT)


def test_same_seed_same_result() -> None:
    demand = {"bursts_per_s": 2 / DAY_S}
    one, other = (Bench(pool_of(demand=demand), seed=3) for _ in range(2))
    assert one.run() == other.run()
    assert one.shared.brain.state_hash() == other.shared.brain.state_hash()


def test_capacity_is_stated_or_computed_or_refused() -> None:
    study = load_study("studies/grok-1-512.yaml", overrides=("model=grok-2",))
    stated = {"requests_per_s": 5.0, "concurrency": 50.0, "source": "test"}
    assert capacity_of(study, pool_of(capacity=stated)).requests_per_s == 5.0
    assert 1.0 < capacity_of(study, pool_of()).requests_per_s < 10.0
    with pytest.raises(InputError, match=r"pool\.slo: one replica of grok-2.*at no load"):
        capacity_of(study, pool_of(slo={"ttft_s": 2.0, "tpot_s": 1e-6}))
    with pytest.raises(InputError, match=r"pool\.replica"):
        capacity_of(study, pool_of(replica={"tp": 1}))
