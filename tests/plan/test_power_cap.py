"""A site that cannot carry training at full power: the plan knows and says so."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.swings import power_share, power_slowdown
from gigafactory.cost.watts import power_of
from gigafactory.describe.errors import InputError
from gigafactory.plan.chosen import Plan
from gigafactory.plan.search import plan
from gigafactory.simulate.workload import workload_of

SMALL = (
    "cluster.num_hosts=9", "cluster.num_spare_hosts=1", "job.global_batch=64",
    "model=llama-3-8b", "job.seq_len=4096", "job.tokens=100 B",
)  # fmt: skip


def small(*overrides):
    return load_study("studies/grok-1-512.yaml", overrides=(*SMALL, *overrides))


def capacity(share, *, num_hosts=8):
    """Watts that leave so much of the dynamic power of the training hosts."""
    cluster = small().cluster
    power, host = power_of(cluster), cluster.host
    more_w = num_hosts * (host.training_w - host.idle_w)
    return power.site_w(power.idle_hosts_w + share * more_w)


@pytest.fixture(scope="module")
def free():
    return plan(small())


@pytest.fixture(scope="module")
def held():
    return plan(small(f"cluster.site.capacity={capacity(0.64)} W"))


def test_the_step_is_slower_by_the_factor_of_the_twin(free, held):
    assert held.best.layout == free.best.layout
    assert held.best.power_slowdown == pytest.approx(0.64**-0.5)
    assert held.best.step_s == pytest.approx(1.25 * free.best.step_s)
    assert held.best.mfu == pytest.approx(free.best.mfu / 1.25)
    assert held.step_low_s == pytest.approx(1.25 * free.step_low_s)
    study = small(f"cluster.site.capacity={capacity(0.64)} W")
    for known in (held, free, Plan.from_json(json.loads(json.dumps(held.to_json())))):
        assert workload_of(study, plan=known).cadence.step_s == pytest.approx(held.best.step_s)


def test_the_parts_still_add_up_and_one_of_them_is_the_limit(free, held):
    for found in (free, held):
        parts = found.best.breakdown_s
        assert sum(parts.values()) == pytest.approx(found.best.step_s)
    assert held.best.breakdown_s["power_cap_s"] == pytest.approx(0.25 * free.best.step_s)
    assert free.best.breakdown_s["power_cap_s"] == 0.0


def test_it_says_so_only_where_the_limit_binds(free, held):
    told = [sentence for sentence in held.explanation if "may draw" in sentence]
    assert len(told) == 1
    assert "64% of what training adds" in told[0]
    assert "25.0% longer" in told[0]
    roomy = plan(small(f"cluster.site.capacity={capacity(1.001)} W"))
    assert roomy.best == free.best
    assert not any("may draw" in sentence for sentence in (*roomy.explanation, *free.explanation))


def test_the_outlook_draws_what_is_left(free, held):
    study = small()
    host, pue = study.cluster.host, study.cluster.site.pue
    less_w = 0.36 * 8 * (host.training_w - host.idle_w) * pue
    assert held.best.outlook["power_w"] == pytest.approx(free.best.outlook["power_w"] - less_w)


def test_with_little_power_fewer_hosts_that_run_faster_may_win():
    wanted = ("plan.gpus=free", "plan.goal=cheapest")
    poor = plan(small(*wanted, f"cluster.site.capacity={capacity(1.0, num_hosts=1)} W"))
    assert poor.best.num_gpus <= 8
    assert poor.best.power_slowdown == 1.0


def test_shares_of_columns_are_those_of_each():
    cluster = small(f"cluster.site.capacity={capacity(0.5)} W").cluster
    hosts = np.arange(1, 9)
    shares = power_share(cluster, num_training_hosts=hosts)
    assert (np.diff(shares) <= 0).all()
    each = [float(power_share(cluster, num_training_hosts=int(n))) for n in hosts]
    assert shares == pytest.approx(each)
    assert power_slowdown(cluster, num_training_hosts=hosts)[-1] == pytest.approx(2**0.5)


def test_a_site_that_cannot_even_idle_is_refused():
    with pytest.raises(InputError, match=r"raise site\.capacity or take fewer hosts"):
        plan(small("cluster.site.capacity=10 kW"))
