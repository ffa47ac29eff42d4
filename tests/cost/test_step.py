"""The step: parts, columns, and which part answers to what."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.columns import Columns, columns_of
from gigafactory.cost.engine import Engine
from gigafactory.cost.step import mfu, step_time
from gigafactory.describe.layout import Layout, Recompute, Sharding

GROK = load_study("studies/grok-1-512.yaml")
LLAMA = load_study("studies/llama-405b-16k.yaml")


def parts(study, layout, **engine):
    told = step_time(
        study.model, study.job, study.cluster, columns_of(layout), engine=Engine(**engine)
    )
    return {name: float(value[0]) for name, value in told.parts().items()}


def test_columns_give_what_single_layouts_give():
    layouts = [
        Layout(tp=8, pp=8, dp=8, ep=8, recompute=Recompute.FULL),
        Layout(tp=2, pp=4, vpp=4, cp=2, dp=32, ep=4, etp=2),
        Layout(dp=512, ep=8, sharding=Sharding.FSDP, recompute=Recompute.SELECTIVE),
    ]
    args = (GROK.model, GROK.job, GROK.cluster)
    together = step_time(*args, columns_of(*layouts)).step_s
    single = [float(step_time(*args, columns_of(layout)).step_s[0]) for layout in layouts]
    assert together == pytest.approx(single, rel=1e-12)


def test_absent_axes_cost_nothing():
    told = parts(LLAMA, Layout(sharding=Sharding.NONE))
    for name in ("tp_comm_s", "cp_comm_s", "ep_comm_s", "pp_comm_s", "dp_comm_s", "bubble_s"):
        assert told[name] == 0, name
    assert told["recompute_s"] == told["imbalance_s"] == told["jitter_s"] == 0


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tp": 8}, "tp_comm_s"),
        ({"cp": 8}, "cp_comm_s"),
        ({"pp": 8}, "pp_comm_s"),
        ({"pp": 8}, "bubble_s"),
        ({"dp": 8}, "dp_comm_s"),
        ({"recompute": Recompute.FULL}, "recompute_s"),
        ({"recompute": Recompute.SELECTIVE}, "recompute_s"),
    ],
)
def test_each_axis_has_its_part(changes, name):
    assert parts(LLAMA, Layout(**changes))[name] > 0


def test_experts_talk_only_across_ranks():
    assert parts(GROK, Layout(dp=8))["ep_comm_s"] == 0
    near, far = (parts(GROK, Layout(dp=64, ep=ep))["ep_comm_s"] for ep in (8, 4))
    assert 0 < far < near


def test_full_recompute_repeats_the_forward_pass():
    told = parts(LLAMA, Layout(tp=8, recompute=Recompute.FULL))
    once = told["gemm_s"] + told["attention_s"] + told["kernels_s"]
    assert 0.25 * once < told["recompute_s"] < 0.37 * once


def test_interleaving_divides_the_bubble():
    plain, woven = (parts(LLAMA, Layout(tp=8, pp=14, vpp=v, dp=16)) for v in (1, 3))
    assert woven["bubble_s"] == pytest.approx(plain["bubble_s"] / 3, rel=0.05)


@pytest.mark.parametrize("flag", ["overlap_tp", "overlap_dp", "overlap_pp", "flash_attention"])
def test_an_able_engine_is_faster(flag):
    layout = Layout(tp=8, pp=14, cp=1, dp=16)
    able, unable = (sum(parts(LLAMA, layout, **{flag: on}).values()) for on in (True, False))
    assert able < unable


def test_a_later_generation_is_faster_and_the_years_are_bounded():
    steps = [
        sum(parts(LLAMA, Layout(tp=8, pp=14, dp=16), year=year).values())
        for year in (2023.0, 2025.0, 2027.0, 2035.0)
    ]
    assert steps[0] > steps[1] > steps[2] == steps[3]


def test_mfu_is_the_reference_formula():
    columns = columns_of(Layout(tp=8, pp=16, dp=128))
    told = mfu(np.array([10.0]), model=LLAMA.model, job=LLAMA.job, cluster=LLAMA.cluster,
               columns=columns)  # fmt: skip
    # 2.524 TFLOP a token, see test_flops
    expected = 2.524e12 * 2048 * 8192 / (10.0 * 16384 * 989.4e12)
    assert told[0] == pytest.approx(expected, rel=3e-3)


def test_layouts_survive_becoming_columns():
    layouts = [
        Layout(tp=4, pp=2, vpp=3, cp=2, dp=8, ep=4, etp=2, micro_batch=2),
        Layout(dp=3, recompute=Recompute.FULL, sharding=Sharding.FSDP),
    ]
    columns = columns_of(*layouts)
    assert len(columns) == 2
    assert columns.num_gpus.tolist() == [128, 3]
    assert [columns.layout(i, precision=layouts[i].precision) for i in (0, 1)] == layouts
    assert isinstance(columns.take(np.array([True, False])), Columns)
