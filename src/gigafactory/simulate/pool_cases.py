"""Cases of the swarm with a serving pool beside the training: what is drawn for a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gigafactory.describe.pool import Pool
from gigafactory.simulate.cases import CAMPAIGN_DAYS, Case, between, draw_case
from gigafactory.simulate.rng import stream
from gigafactory.units import DAY_S, HOUR_S

#: A pool lends nothing before it has seen a whole day.
LEAST_DAYS = 3.0
#: Loans wait for each other so long that no more than so many hosts are lent in a case.
MOST_LOANS_OF_HOSTS = 200_000


def draw_pool_case(seed: int, *, num_hosts: int | None = None, days: float = CAMPAIGN_DAYS) -> Case:
    """The case of ``seed`` with a pool; as many faults as without, over some days at least."""
    case = draw_case(seed, num_hosts=num_hosts, days=days)
    lasts_days = max(case.days, min(LEAST_DAYS, days))
    thinner = case.days / lasts_days
    causes = tuple((name, rate * thinner, detect_s) for name, rate, detect_s in case.causes)
    pool = _draw_pool(stream("swarm.pool", seed=seed), num_hosts=case.num_hosts)
    lending = pool["lending"]
    # a great pool that changes its mind often adds hours to a case, and no law
    least_s = pool["num_hosts"] * lasts_days * DAY_S / MOST_LOANS_OF_HOSTS
    lending["cooldown_s"] = max(lending["cooldown_s"], least_s)
    return replace(
        case,
        days=lasts_days,
        causes=causes,
        job_rate_per_day=case.job_rate_per_day * thinner,
        pool=pool,
    )


def _draw_pool(dice: np.random.Generator, *, num_hosts: int) -> dict[str, Any]:
    replica_hosts = int(dice.choice((1, 1, 2, 4)))
    share = between(dice, 0.05, 1.5)
    num_replicas = max(2, round(share * num_hosts / replica_hosts))
    num_pool_hosts = num_replicas * replica_hosts
    lending = {
        "min_hosts": int(dice.integers(0, num_pool_hosts // 2 + 1)),
        "headroom": float(dice.uniform(0.0, 0.5)),
        "notice_s": between(dice, 30.0, HOUR_S),
        "drain_s": between(dice, 1.0, 600.0),
        "cold_start_s": between(dice, 10.0, 1800.0),
        "lease_s": between(dice, 0.5 * HOUR_S, 8 * HOUR_S),
        "cooldown_s": between(dice, 0.1 * HOUR_S, 4 * HOUR_S),
        "watch_s": between(dice, 60.0, 900.0),
    }
    demand = {
        "peak_requests_per_s": 10.0 * num_replicas * between(dice, 0.2, 1.5),
        "trough_share": between(dice, 0.02, 1.0),
        "peak_at_s": float(dice.uniform(0.0, DAY_S)),
        "noise_share": between(dice, 0.01, 0.3),
        "noise_memory_s": between(dice, 600.0, 6 * HOUR_S),
        "bursts_per_s": between(dice, 0.1, 10.0) / DAY_S,
        "burst_factor": 1.0 + between(dice, 0.1, 3.0),
        "burst_lasts_s": between(dice, 300.0, 4 * HOUR_S),
    }
    return {
        "num_hosts": num_pool_hosts,
        "replica_hosts": replica_hosts,
        "lending": lending,
        "demand": demand,
    }


def pool_of(case: Case) -> Pool | None:
    """The pool of ``case``, whose replicas keep up to 10 requests a second; None: it has none."""
    if not case.pool:
        return None
    return Pool.model_validate(
        {
            **case.pool,
            "demand": case.pool["demand"] | {"source": "drawn"},
            "request": {"input_tokens": 2000, "output_tokens": 400},
            "slo": {"ttft_s": 2.0},
            "capacity": {"requests_per_s": 10.0, "concurrency": 150.0, "source": "drawn"},
            "source": "drawn",
        }
    )
