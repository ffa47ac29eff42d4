"""Kernels: what a shape costs beside the ideal."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.catalog.tables import catalog_gpus
from gigafactory.cost import surfaces
from gigafactory.cost.calibration import published
from gigafactory.cost.engine import Engine
from gigafactory.cost.flops import Gemm
from gigafactory.cost.kernels import attention_s, device, gemm_s, streaming_s
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError

C = published()
H100 = catalog_gpus()["h100-sxm"]
#: A processor that nobody measured: tiles and waves.
OTHER = catalog_gpus()["laptop-core"].model_copy(
    update={"num_sms": 132, "peak_flops_per_s": {Precision.BF16: 1e13, Precision.FP32: 1e12}}
)
GPUS = pytest.mark.parametrize("gpu", [H100, OTHER], ids=["measured", "tiles"])


def gemm(m, n, k, groups=1):
    return Gemm(*(np.array([float(x)]) for x in (m, n, k, groups)))


def rate(shape, *, gpu=H100, precision=Precision.BF16):
    dev = device(gpu, precision, constants=C)
    flops = float((2 * shape.m * shape.n * shape.k * shape.groups)[0])
    return flops / float(gemm_s(shape, dev=dev, constants=C)[0])


def test_which_gpus_stand_on_measured_kernels():
    assert device(H100, Precision.BF16, constants=C).part == "h100-sxm"
    assert device(OTHER, Precision.BF16, constants=C).part == ""
    cousin = H100.model_copy(update={"name": "h800", "kernels_of": ""})
    assert device(cousin, Precision.BF16, constants=C).part == "h100-sxm"


def test_an_unknown_relative_is_refused_with_the_known_ones():
    odd = H100.model_copy(update={"kernels_of": "v100"})
    with pytest.raises(InputError, match="kernels_of 'v100' is none of a100-80gb-sxm"):
        device(odd, Precision.BF16, constants=C)


def test_a_large_gemm_nears_the_fitted_share_of_the_unmeasured_and_never_passes_it():
    reach = device(OTHER, Precision.BF16, constants=C).job.reached_flops_per_s
    assert 0.9 * reach < rate(gemm(16384, 16384, 16384), gpu=OTHER) <= reach
    assert reach <= C.gemm_fraction * OTHER.peak(Precision.BF16)


def test_a_measured_gemm_takes_the_measured_time_over_what_a_step_sustains():
    dev = device(H100, Precision.BF16, constants=C)
    alone = surfaces.gemm_s(
        8192.0, n=8192.0, k=8192.0, part="h100-sxm", form=surfaces.Format.BF16,
        peak_flops_per_s=H100.peak(Precision.BF16),
        memory_bytes_per_s=H100.memory_bandwidth_bytes_per_s,
    )  # fmt: skip
    time_s = gemm_s(gemm(8192, 8192, 8192), dev=dev, constants=C)[0]
    assert time_s == pytest.approx(float(alone) / dev.job.sustained)


def test_clocks_drop_where_a_watt_must_carry_more_flops():
    gpus = catalog_gpus()
    sustained = [
        device(gpus[name], Precision.BF16, constants=C).job.sustained
        for name in ("a100-80gb-sxm", "h100-sxm", "gb300", "gb200", "b200-sxm")
    ]
    assert sustained[0] == pytest.approx(C.sustained)
    assert sustained == sorted(sustained, reverse=True)


@GPUS
@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (gemm(8192, 8192, 128), gemm(8192, 8192, 8192)),  # short inner dimension
        (gemm(16, 8192, 8192), gemm(8192, 8192, 8192)),  # thin: memory-bound
        (gemm(64, 8192, 8192, 64), gemm(4096, 8192, 8192, 1)),  # few tokens an expert
    ],
)
def test_badly_shaped_gemms_are_slower(worse, better, gpu):
    assert rate(worse, gpu=gpu) < rate(better, gpu=gpu)


def test_one_row_more_than_full_tiles_costs_a_wave_of_the_unmeasured():
    assert rate(gemm(8193, 8192, 8192), gpu=OTHER) < rate(gemm(8192, 8192, 8192), gpu=OTHER)


def test_a_thin_gemm_runs_at_the_speed_of_memory():
    shape = gemm(1, 8192, 8192)
    dev = device(OTHER, Precision.BF16, constants=C)
    bytes_read = 2 * (8192 * 8192 + 2 * 8192)
    expected = bytes_read / (OTHER.memory_bandwidth_bytes_per_s * C.bandwidth_fraction)
    assert float(gemm_s(shape, dev=dev, constants=C)[0]) == pytest.approx(expected)


def test_fp8_is_about_twice_as_fast():
    shape = gemm(8192, 8192, 8192)
    # a little more than the peaks say, as clocks hold better
    assert 1.5 < rate(shape, precision=Precision.FP8) / rate(shape) < 2.3


def test_a_gpu_without_the_format_is_refused():
    with pytest.raises(ValueError, match="fp8"):
        device(catalog_gpus()["a100-80gb-sxm"], Precision.FP8, constants=C)


@pytest.mark.parametrize(
    ("gpu", "forward_over_backward"),
    [
        (H100, C.attention_backward_share),
        (OTHER, C.attention_backward_fraction / C.attention_fraction),
    ],
)
def test_backward_attention_has_five_products_for_two(gpu, forward_over_backward):
    dev = device(gpu, Precision.BF16, constants=C)
    keys = np.array([4096.0])
    forward, back = attention_s(np.array([1e12]), keys=keys, head_dim=128, dev=dev, constants=C)
    assert (back / forward)[0] == pytest.approx(2.5 / forward_over_backward)


def test_an_attention_kernel_of_an_earlier_generation_is_slower():
    def forward_s(engine):
        dev = device(H100, Precision.BF16, constants=C, engine=engine)
        keys = np.array([4096.0])
        return attention_s(np.array([1e12]), keys=keys, head_dim=128, dev=dev, constants=C)[0]

    portable = forward_s(Engine(attention_lag=1))
    assert portable == pytest.approx(forward_s(Engine()) / C.attention_portable)


@GPUS
@pytest.mark.parametrize(("keys", "head_dim"), [(512.0, 128), (4096.0, 64)])
def test_short_sequences_and_narrow_heads_cost_more(keys, head_dim, gpu):
    dev = device(gpu, Precision.BF16, constants=C)
    work = np.array([1e12])
    worse, _ = attention_s(work, keys=np.array([keys]), head_dim=head_dim, dev=dev, constants=C)
    better, _ = attention_s(work, keys=np.array([4096.0]), head_dim=128, dev=dev, constants=C)
    assert worse[0] > better[0]


def test_streaming_is_bytes_over_bandwidth():
    dev = device(H100, Precision.BF16, constants=C)
    assert streaming_s(np.array([3.35e12 * C.bandwidth_fraction]), dev=dev)[0] == pytest.approx(1)
