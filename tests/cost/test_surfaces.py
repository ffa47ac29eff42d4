"""Measured kernel surfaces: laws, points that no fit has seen, and which GPU stands for which."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gigafactory.catalog.tables import catalog_gpus
from gigafactory.cost import surfaces as s
from gigafactory.cost.surface_grid import Surface, file, over_roofline
from gigafactory.describe.cluster import Precision

POINTS = Path(__file__).with_name("measured_kernels.csv")
GPUS = catalog_gpus()
H100 = {"part": "h100-sxm", "peak_flops_per_s": 989.4e12, "memory_bytes_per_s": 3.35e12}


def _predicted(row: dict[str, str]) -> float:
    form = s.Format(row["format"])
    rates = s.parts()[row["part"]]
    peak = rates["fp8" if form is s.Format.FP8_BLOCK else form]
    gpu = {"part": row["part"], "peak_flops_per_s": peak, "memory_bytes_per_s": rates["memory"]}
    x = [float(size) for size in row["sizes"].split()]
    match s.Kernel(row["kernel"]):
        case s.Kernel.GEMM:
            found = s.gemm_s(x[0], n=x[1], k=x[2], form=form, **gpu)
        case s.Kernel.GROUPED_GEMM:
            found = s.grouped_gemm_s(
                x[0], num_experts=x[1], hidden=x[2], inter=x[3], form=form, **gpu
            )
        case s.Kernel.ATTENTION:
            found = s.attention_s(x[0], seq=x[1], heads=x[2], kv_heads=x[3], head_dim=x[4], **gpu)
        case s.Kernel.DECODE_ATTENTION:
            found = s.decode_attention_s(
                x[0], keys=x[1], heads=x[2], kv_heads=x[3], head_dim=x[4], **gpu
            )
        case s.Kernel.MLA_ATTENTION:
            found = s.mla_attention_s(x[0], seq=x[1], heads=x[2], **gpu)
        case s.Kernel.MLA_DECODE:
            found = s.mla_decode_s(x[0], keys=x[1], heads=x[2], **gpu)
    return float(found)


@pytest.mark.parametrize(
    ("kernel", "median", "bad"),
    [
        (s.Kernel.GEMM, 0.06, 0.25),
        (s.Kernel.GROUPED_GEMM, 0.15, 0.6),
        (s.Kernel.ATTENTION, 0.12, 0.5),
        (s.Kernel.DECODE_ATTENTION, 0.12, 0.5),
        (s.Kernel.MLA_ATTENTION, 0.06, 0.25),
        (s.Kernel.MLA_DECODE, 0.06, 0.2),
    ],
)
def test_points_that_no_fit_has_seen(kernel: s.Kernel, median: float, bad: float):
    with POINTS.open(encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["kernel"] == kernel]
    assert len(rows) >= 50
    errors = [abs(_predicted(row) / float(row["measured_s"]) - 1) for row in rows]
    assert np.median(errors) < median
    assert np.percentile(errors, 90) < bad


def test_a_table_answers_its_own_nodes_and_is_linear_between():
    grid = Surface((np.array([0.0, 1.0, 3.0]), np.array([2.0, 4.0])), np.arange(6.0).reshape(3, 2))
    assert over_roofline(grid, 2.0, 16.0) == pytest.approx(np.exp(3.0))
    assert over_roofline(grid, 4.0, 4.0) == pytest.approx(np.exp(3.0))
    assert over_roofline(grid, 2.0, 8.0) == pytest.approx(np.exp(2.5))
    assert over_roofline(grid, 1e9, 1e-9) == pytest.approx(np.exp(4.0))


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_time_scales_with_the_second(factor: float):
    rates = {
        "peak_flops_per_s": 989.4e12 * factor,
        "memory_bytes_per_s": 3.35e12 * factor,
        "part": "h100-sxm",
    }
    size = np.array([1.0, 300.0, 20_000.0])
    pairs = [
        (s.gemm_s(size, n=4096, k=8192, form=s.Format.FP8, **g) for g in (H100, rates)),
        (
            s.grouped_gemm_s(size, num_experts=8, hidden=4096, inter=1024, form=s.Format.BF16, **g)
            for g in (H100, rates)
        ),
        (
            s.attention_s(2, seq=size, heads=32, kv_heads=8, head_dim=128, **g)
            for g in (H100, rates)
        ),
        (
            s.decode_attention_s(2, keys=size, heads=32, kv_heads=8, head_dim=128, **g)
            for g in (H100, rates)
        ),
        (s.mla_attention_s(2, seq=size, heads=16, **g) for g in (H100, rates)),
        (s.mla_decode_s(2, keys=size, heads=16, **g) for g in (H100, rates)),
    ]
    for slow, fast in pairs:
        np.testing.assert_allclose(slow / fast, factor, rtol=1e-12)


def test_a_large_multiplication_wins_most_of_the_peak_and_never_more():
    size = 2.0 ** np.arange(11, 15)
    for part, rates in s.parts().items():
        time_s = s.gemm_s(
            size,
            n=size,
            k=size,
            part=part,
            form=s.Format.BF16,
            peak_flops_per_s=rates["bf16"],
            memory_bytes_per_s=rates["memory"],
        )
        share = 2 * size**3 / time_s / rates["bf16"]
        assert (share > 0.4).all()
        assert (share < 0.95).all()


def test_more_work_takes_longer():
    octaves = 2.0 ** np.arange(0, 15)
    gemm = s.gemm_s(octaves * 2, n=8192, k=8192, form=s.Format.BF16, **H100)
    attention = s.attention_s(1, seq=octaves, heads=32, kv_heads=8, head_dim=128, **H100)
    decode = s.decode_attention_s(64, keys=octaves * 2, heads=32, kv_heads=8, head_dim=128, **H100)
    for times in (gemm, attention, decode):
        # a measured kernel may win a little where the library changes its algorithm
        assert (np.diff(np.log(times)) > -0.15).all()
        assert times[-1] > 20 * times[0]


def test_tokens_per_expert_make_grouped_products_efficient():
    each = np.array([1.0, 16.0, 256.0, 2048.0])
    time_s = s.grouped_gemm_s(
        each, num_experts=8, hidden=4096, inter=2048, form=s.Format.BF16, **H100
    )
    share = 6 * each * 8 * 4096 * 2048 / time_s / 989.4e12
    assert (np.diff(share) > 0).all()
    assert 0.4 < share[-1] < 0.95


def test_the_edge_holds_and_is_named():
    far = s.gemm_s(2.0**17, n=8192, k=8192, form=s.Format.BF16, **H100)
    edge = s.gemm_s(2.0**15, n=8192, k=8192, form=s.Format.BF16, **H100)
    assert far / edge == pytest.approx(4.0, rel=0.02)
    inside = s.inside(s.Kernel.GEMM, np.array([1, 32_768, 32_769]), 8192, 8192)
    assert inside.tolist() == [True, True, False]


def test_every_measured_gpu_is_its_own_nearest_and_others_find_kin():
    for part in s.parts():
        assert s.nearest(GPUS[part]) == part
        assert s.is_measured(GPUS[part])
    assert s.nearest(GPUS["a100-40gb-sxm"]) == "a100-80gb-sxm"
    assert not s.is_measured(GPUS["laptop-core"])


def test_precisions_have_a_measured_format():
    assert s.format_of(Precision.FP8, blockwise=True) is s.Format.FP8_BLOCK
    assert s.format_of(Precision.FP16) is s.Format.BF16
    assert s.has_surface(s.Kernel.GEMM, part="gb300", form=s.Format.NVFP4)
    assert not s.has_surface(s.Kernel.GEMM, part="h100-sxm", form=s.Format.NVFP4)
    with pytest.raises(ValueError, match="not measured on h100-sxm in nvfp4"):
        s.gemm_s(8, n=8, k=8, form=s.Format.NVFP4, **H100)


def test_nvlink_has_a_latency_and_reaches_most_of_the_link():
    link = 450e9
    for op in s.Collective:
        small, large = s.nvlink_collective_s(
            np.array([512.0, 2.0**29]), op=op, num_ranks=8, part="h100-sxm", link_bytes_per_s=link
        )
        assert 4e-6 < small < 30e-6
        share = s.bus_bytes(op, np.float64(2.0**29), np.float64(8)) / large / link
        assert 0.6 < share < 0.9
    ranks = np.array([2.0, 4.0, 8.0])
    more = s.nvlink_collective_s(
        1024.0, op=s.Collective.ALL_REDUCE, num_ranks=ranks, part="b200-sxm", link_bytes_per_s=9e11
    )
    assert (np.diff(more) > 0).all()


def test_the_source_stands_in_the_file_and_beside_it():
    notice = Path(s.__file__).with_name("NOTICE-surfaces.txt").read_text(encoding="utf-8")
    for name in ("aiconfigurator-core 0.12.0", "Apache-2.0"):
        assert name in notice
        assert name in str(file()["source"])
