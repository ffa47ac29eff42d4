"""The numbers that docs/faults.md works out are computed again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gigafactory.catalog.entries import names
from gigafactory.catalog.studies import load_study
from gigafactory.describe.exposure import cause_rate_per_s, interruptions_per_s, strikes_per_s
from gigafactory.describe.faults import FaultClass, Faults, Scope
from gigafactory.simulate.batches import batches_of
from gigafactory.simulate.lifetimes import MAX_REPEATS
from gigafactory.simulate.network import UPPER_SHARE, lost_shares, step_slowdown
from gigafactory.units import DAY_S

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/faults.md"
_spec = importlib.util.spec_from_file_location("problems", HERE / "test_worked_problems.py")
assert _spec
assert _spec.loader
problems = importlib.util.module_from_spec(_spec)
sys.modules["problems"] = problems
_spec.loader.exec_module(problems)

STUDY = HERE.parents[1] / "studies/colossus.yaml"
CLUSTER = load_study(STUDY).cluster
TRAINING_HOSTS = CLUSTER.num_hosts - CLUSTER.num_spare_hosts


def model(name: str) -> Faults:
    return load_study(STUDY, overrides=(f"faults={name}",)).faults


FULL = model("colossus-full")


def per_kday(faults: Faults) -> float:
    rate = interruptions_per_s(faults, cluster=CLUSTER, num_hosts=TRAINING_HOSTS)
    return rate / TRAINING_HOSTS * 1000 * DAY_S


def mean_stay_days() -> float:
    modes = model("stepfun-400").repair.modes
    return sum(mode.share * mode.mean_s for mode in modes) / DAY_S


def uplink_percent() -> float:
    (_, lost), *_ = lost_shares(Scope.UPLINK, cluster=CLUSTER)
    return 100 * (step_slowdown(lost, upper_share=UPPER_SHARE) - 1)


def batch_mean() -> float:
    law = batches_of(FULL)
    return float((np.diff(law.cumulated, prepend=0.0) * law.sizes).sum())


def corruptions_a_day() -> float:
    return DAY_S * sum(
        strikes_per_s(cause, cluster=CLUSTER, num_hosts=TRAINING_HOSTS)
        for cause in FULL.causes
        if cause.fault is FaultClass.CORRUPTION
    )


def odd_texts_a_day() -> float:
    share = FULL.false_anomaly_share
    return corruptions_a_day() * share / (1.0 - share)


RESULTS: dict[str, tuple[str, Callable[[], float]]] = {
    "llama_rate": ("/1,000 host-days", lambda: per_kday(model("llama3-16k"))),
    "full_rate": ("/1,000 host-days", lambda: per_kday(FULL)),
    "full_mtbf": (
        "min",
        lambda: 1 / interruptions_per_s(FULL, cluster=CLUSTER, num_hosts=TRAINING_HOSTS) / 60,
    ),
    "flaps": (
        "times a day",
        lambda: DAY_S * sum(
            cause_rate_per_s(c, cluster=CLUSTER)
            for c in FULL.causes if c.fault is FaultClass.FLAP
        ),
    ),
    "corruptions": ("a day", corruptions_a_day),
    "odd_texts": ("a day", odd_texts_a_day),
    "uplink_cost": ("%", uplink_percent),
    "repeats": ("times as often", lambda: FULL.repeat_factor**MAX_REPEATS),
    "batch_mean": ("hosts", batch_mean),
    "batch_events": ("%", lambda: 100 * batches_of(FULL).event_share),
    "hosts_an_event": ("hosts", lambda: batches_of(FULL).mean_hosts),
    "mean_stay": ("days", mean_stay_days),
}  # fmt: skip


@pytest.mark.parametrize("result", problems.printed(PAGE), ids=lambda result: result.key)
def test_a_result_is_what_the_project_computes(result) -> None:
    unit, compute = RESULTS[result.key]
    assert result.unit == unit
    assert result.says(compute()), f"{result.key}: computed is {compute():.6g}"


def test_every_result_is_on_the_page_once() -> None:
    keys = [result.key for result in problems.printed(PAGE)]
    assert sorted(keys) == sorted(RESULTS)
    assert len(keys) == PAGE.read_text(encoding="utf-8").count("result:")


def test_every_kind_and_every_model_has_its_line() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {kind for kind in FaultClass if f"\n| {kind.value} |" not in text} == set()
    assert {name for name in names(Faults) if f"`{name}`" not in text} == set()
