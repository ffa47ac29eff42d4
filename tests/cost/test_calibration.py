"""The constants: once, inside their range, all of them read by the code."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from importlib import resources

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.calibration import (
    Calibration,
    published,
    published_constants,
    read_constants,
)
from gigafactory.cost.columns import columns_of
from gigafactory.cost.engine import Engine
from gigafactory.cost.memory import memory
from gigafactory.cost.memory_keeping import USUAL, Keeping
from gigafactory.cost.step import step_time
from gigafactory.cost.uncertainty import interval_s
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout, Recompute
from gigafactory.plan.search import usable_bytes

TEXT = resources.files("gigafactory.cost").joinpath("calibration.yaml").read_text()

LAYOUTS = columns_of(
    Layout(tp=4, pp=4, vpp=2, cp=2, dp=16, ep=32, etp=2),
    Layout(tp=1, pp=1, dp=512, ep=2, recompute=Recompute.FULL),
    Layout(tp=8, pp=1, cp=8, dp=8, ep=64, recompute=Recompute.SELECTIVE),
)
ENGINES = (
    Engine(overlap_ep=True),
    Engine(
        fused_kernels=False,
        flash_attention=False,
        sparse_dispatch=False,
        year=2024.0,
        attention_lag=1,
        dropless=False,
        block_scaling=True,
        fused_weight_gradients=False,
    ),
)
KEEPINGS = (
    USUAL,
    Keeping(fused_weight_gradients=False, flat_buckets=True, early_allocator=True),
)


@cache
def studies():
    found = [
        load_study(f"studies/{name}.yaml", overrides=(cluster, f"job.precision={precision}"))
        for name, cluster in (
            ("grok-1-512", "cluster=gb200-nvl72-1152"),
            # a model so small that the host's launches are the slowest
            ("first-light", "cluster=gb200-nvl72-1152"),
            ("first-light", "cluster=laptop"),
        )
        for precision in (("fp32", "bf16", "fp8", "nvfp4") if name != "first-light" else ("bf16",))
    ]
    return [*found, *map(unmeasured, found[:4])]


def unmeasured(study):
    """The same on a GPU so slow that no measured one is like it."""
    host = study.cluster.host
    peaks = {precision: peak / 100 for precision, peak in host.gpu.peak_flops_per_s.items()}
    gpu = host.gpu.model_copy(update={"kernels_of": "", "peak_flops_per_s": peaks})
    slow = study.cluster.model_copy(update={"host": host.model_copy(update={"gpu": gpu})})
    return study.model_copy(update={"cluster": slow})


@cache
def everything(constants):
    """Steps and bytes of several engines and formats, as one array."""
    told = []
    for study in studies():
        where = (study.model, study.job, study.cluster, LAYOUTS)
        for engine, keeping in zip(ENGINES, KEEPINGS, strict=True):
            given = {"engine": engine, "constants": constants}
            steps = step_time(*where, **given)
            told += [
                steps.step_s,
                memory(*where, **given, keeping=keeping).total_bytes,
                memory(*where, **given).fragmentation_bytes,
                *interval_s(steps, has_experts=True, constants=constants),
            ]
    return np.concatenate(told)


@pytest.mark.parametrize("name", [f.name for f in fields(Calibration)])
def test_every_constant_is_read_by_the_equations(name):
    if name == "usable_memory":
        study = load_study("studies/grok-1-512.yaml")
        assert usable_bytes(study) == pytest.approx(published().usable_memory * 81559 * 2**20)
        return
    # fitted to nothing, the yearly gain would hide the year it counts from
    base = replace(published(), generation_gain_per_year=0.01)
    span = published_constants()[name].high - published_constants()[name].low
    moved = replace(base, **{name: getattr(base, name) * 1.01 + 0.001 * span})
    assert not np.array_equal(everything(moved), everything(base))


def test_every_constant_tells_where_it_comes_from():
    for name, constant in published_constants().items():
        assert constant.low <= constant.value <= constant.high, name
        assert constant.source, name
        assert len(constant.meaning) > 10, name


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("wave_tail:", "wave_tale:", "wave_tail, wave_tale"),
        ("  value: 0.97\n", "  value: 1.97\n", "usable_memory"),
        ("  low: 0.9\n  high: 1.0\n", "  high: 1.0\n", "needs exactly the keys"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(old, new, told):
    assert old in TEXT
    with pytest.raises(InputError, match=told):
        read_constants(TEXT.replace(old, new))
