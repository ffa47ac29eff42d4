"""A site that cannot carry training at full power: slower steps, and no more than its capacity."""

from __future__ import annotations

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.swings import power_slowdown
from gigafactory.cost.watts import power_of
from gigafactory.plan.search import plan
from gigafactory.simulate.power import draw_of
from gigafactory.simulate.workload import workload_of

from .conftest import STUDIES


def test_a_cap_slows_the_step_and_holds_the_draw():
    study = load_study(STUDIES / "grok-1-512.yaml")
    cluster, planned = study.cluster, plan(study)
    free = workload_of(study, plan=planned)
    draw = draw_of(cluster, num_training_hosts=free.num_hosts)
    pue = power_of(cluster).pue
    half_w = pue * (draw.working_w + draw.waiting_w) / 2
    site = cluster.site.model_copy(update={"capacity_w": half_w})
    held = study.model_copy(update={"cluster": cluster.model_copy(update={"site": site})})
    slower = workload_of(held, plan=planned)
    # half of the dynamic power is left
    assert slower.cadence.step_s == pytest.approx(2**0.5 * free.cadence.step_s)
    assert power_slowdown(held.cluster, num_training_hosts=free.num_hosts) == pytest.approx(2**0.5)
    capped = draw_of(held.cluster, num_training_hosts=free.num_hosts)
    assert capped.working_w * pue == pytest.approx(half_w)
    assert capped.waiting_w == draw.waiting_w
