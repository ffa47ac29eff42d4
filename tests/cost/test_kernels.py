"""Kernels: what a shape costs beside the ideal."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.catalog.tables import catalog_gpus
from gigafactory.cost.calibration import published
from gigafactory.cost.flops import Gemm
from gigafactory.cost.kernels import attention_s, device, gemm_s, streaming_s
from gigafactory.describe.cluster import Precision

C = published()
H100 = catalog_gpus()["h100-sxm"]


def gemm(m, n, k, groups=1):
    return Gemm(*(np.array([float(x)]) for x in (m, n, k, groups)))


def rate(shape, *, precision=Precision.BF16):
    dev = device(H100, precision, constants=C)
    flops = float((2 * shape.m * shape.n * shape.k * shape.groups)[0])
    return flops / float(gemm_s(shape, dev=dev, constants=C)[0])


def test_a_large_gemm_nears_the_fitted_share_and_never_passes_it():
    reach = device(H100, Precision.BF16, constants=C).gemm_flops_per_s
    assert 0.9 * reach < rate(gemm(16384, 16384, 16384)) <= reach
    assert reach <= C.gemm_fraction * H100.peak(Precision.BF16)


def test_clocks_drop_where_a_watt_must_carry_more_flops():
    gpus = catalog_gpus()
    shares = [
        device(gpus[name], Precision.BF16, constants=C).gemm_flops_per_s
        / gpus[name].peak(Precision.BF16)
        for name in ("a100-80gb-sxm", "h100-sxm", "gb300", "gb200", "b200-sxm")
    ]
    assert shares[0] == pytest.approx(C.gemm_fraction)
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (gemm(8192, 8192, 128), gemm(8192, 8192, 8192)),  # short inner dimension
        (gemm(8193, 8192, 8192), gemm(8192, 8192, 8192)),  # one row more than full tiles
        (gemm(16, 8192, 8192), gemm(8192, 8192, 8192)),  # thin: memory-bound
        (gemm(64, 8192, 8192, 64), gemm(4096, 8192, 8192, 1)),  # few tokens an expert
    ],
)
def test_badly_shaped_gemms_are_slower(worse, better):
    assert rate(worse) < rate(better)


def test_a_thin_gemm_runs_at_the_speed_of_memory():
    shape = gemm(1, 8192, 8192)
    dev = device(H100, Precision.BF16, constants=C)
    bytes_read = 2 * (8192 * 8192 + 2 * 8192)
    expected = bytes_read / (H100.memory_bandwidth_bytes_per_s * C.bandwidth_fraction)
    measured = float(gemm_s(shape, dev=dev, constants=C)[0]) - C.kernel_gap_s
    assert measured == pytest.approx(expected)


def test_fp8_is_faster_by_less_than_its_peak():
    shape = gemm(8192, 8192, 8192)
    ratio = rate(shape, precision=Precision.FP8) / rate(shape)
    assert 1.3 < ratio <= 2.0 * C.gemm_fraction_eight_bit / C.gemm_fraction


def test_a_gpu_without_the_format_is_refused():
    with pytest.raises(ValueError, match="fp8"):
        device(catalog_gpus()["a100-80gb-sxm"], Precision.FP8, constants=C)


def test_backward_attention_has_five_products_for_two():
    dev = device(H100, Precision.BF16, constants=C)
    keys = np.array([4096.0])
    forward, back = attention_s(np.array([1e12]), keys=keys, head_dim=128, dev=dev, constants=C)
    ratio = (back - C.kernel_gap_s) / (forward - C.kernel_gap_s)
    expected = 2.5 * C.attention_fraction / C.attention_backward_fraction
    assert ratio[0] == pytest.approx(expected)


@pytest.mark.parametrize(("keys", "head_dim"), [(512.0, 128), (4096.0, 64)])
def test_short_sequences_and_narrow_heads_cost_more(keys, head_dim):
    dev = device(H100, Precision.BF16, constants=C)
    work = np.array([1e12])
    worse, _ = attention_s(work, keys=np.array([keys]), head_dim=head_dim, dev=dev, constants=C)
    better, _ = attention_s(work, keys=np.array([4096.0]), head_dim=128, dev=dev, constants=C)
    assert worse[0] > better[0]


def test_streaming_is_bytes_over_bandwidth():
    dev = device(H100, Precision.BF16, constants=C)
    assert streaming_s(np.array([3.35e12 * C.bandwidth_fraction]), dev=dev)[0] == pytest.approx(1)
