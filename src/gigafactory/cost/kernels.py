"""How long the kernels of one rank take: GEMM, attention, and what only moves bytes.

Legend
    m n k g   shape and number of the multiplications in one kernel, see cost.flops
    P         peak FLOP/s of the precision;  W  memory bandwidth;  S  number of SMs
    eta       share of P that a large, well-shaped multiplication reaches

A GEMM is cut into output tiles that the SMs take in waves. What it loses: rows and columns that
do not fill a tile, SMs idle in the last wave (less with stream-K, arXiv:2301.03598), filling and
draining the pipeline when k is short, and waiting for memory when it is thin (roofline).
Flash attention: arXiv:2205.14135, arXiv:2307.08691 (2.5 times the products in backward).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.columns import Floats
from gigafactory.cost.flops import Gemm
from gigafactory.cost.surfaces import Surface, attention_share, gemm_ratio, surface
from gigafactory.describe.cluster import Gpu, Precision

#: Output tiles a library chooses from, rows by columns, and the reach of each beside the largest.
_TILES = ((128.0, 256.0, 1.0), (128.0, 128.0, 0.92), (64.0, 64.0, 0.7))


@dataclass(frozen=True)
class Device:
    """The rates of one GPU for one job, SI."""

    gemm_flops_per_s: float
    """Of large linear layers in the job's precision."""
    half_flops_per_s: float
    """Of large products in 16 bits: router, output projection."""
    attention_flops_per_s: float
    attention_backward_flops_per_s: float
    memory_bytes_per_s: float
    num_sms: int
    input_bytes: float
    """One number of a linear layer's input."""
    casts_inputs: bool
    """Inputs are quantised on the way into a linear layer."""
    surface: Surface | None
    """Measured kernels of this GPU or the nearest relative; None: tiles and waves alone."""
    format: str
    """Table of the surface for linear layers in the job's precision."""
    peak_flops_per_s: float
    half_peak_flops_per_s: float
    sustained: float
    half_sustained: float
    grouped: float
    expert_rows: float
    raw_memory_bytes_per_s: float
    attention_sustained: float


_SURFACE={'a100':'a100_sxm','h100':'h100_sxm','h200':'h200_sxm','b200':'b200_sxm','b300':'b300_sxm','gb200':'gb200','gb300':'gb300'}

def device(gpu: Gpu, precision: Precision, *, constants: Calibration, block: bool=False, native: bool=True) -> Device:
    """Rates of ``gpu`` computing in ``precision``; ValueError where it has no such peak."""
    c = constants
    half = _half_precision(gpu, precision)
    eta = {Precision.FP8: c.gemm_fraction_eight_bit, Precision.NVFP4: c.gemm_fraction_four_bit}
    power = gpu.peak(half) / gpu.tdp_w / c.power_reference_flops_per_j
    clock = max(power, 1.0) ** -c.dense_power_exponent
    half_peak = gpu.peak(half) * clock
    narrow = precision in eta
    width = {Precision.FP32: c.thirty_two_bit_bytes}.get(precision, c.sixteen_bit_bytes)
    return Device(
        gemm_flops_per_s=gpu.peak(precision) * clock * eta.get(precision, c.gemm_fraction),
        half_flops_per_s=half_peak * c.gemm_fraction,
        attention_flops_per_s=half_peak * c.attention_fraction,
        attention_backward_flops_per_s=half_peak * c.attention_backward_fraction,
        memory_bytes_per_s=gpu.memory_bandwidth_bytes_per_s * c.bandwidth_fraction,
        num_sms=gpu.num_sms,
        input_bytes=c.eight_bit_bytes if narrow else width,
        casts_inputs=narrow,
        surface=surface(_SURFACE[gpu.name.split('-')[0]]) if gpu.name.split('-')[0] in _SURFACE else None,
        format={Precision.FP8: 'fp8_block' if block else 'fp8', Precision.NVFP4:'nvfp4'}.get(precision,'bf16'),
        peak_flops_per_s=gpu.peak(precision),
        half_peak_flops_per_s=gpu.peak(half),
        sustained={Precision.FP8: c.sustained_block if block else c.sustained_eight_bit, Precision.NVFP4: c.sustained_four_bit}.get(precision,clock*c.sustained),
        half_sustained=clock*c.sustained,
        attention_sustained=c.attention_sustained*(1.0 if native else c.attention_portable),
        grouped=c.grouped_fraction,
        expert_rows=c.expert_rows,
        raw_memory_bytes_per_s=gpu.memory_bandwidth_bytes_per_s,
    )


def _half_precision(gpu: Gpu, precision: Precision) -> Precision:
    """The format of what stays out of the narrow formats: 16 bits, or fp32 where a job says so."""
    if precision in (Precision.FP32, Precision.FP16, Precision.BF16):
        return precision
    return Precision.BF16 if Precision.BF16 in gpu.peak_flops_per_s else Precision.FP16


def gemm_s(
    gemm: Gemm, *, dev: Device, constants: Calibration, half_precision: bool = False
) -> Floats:
    """Time of one kernel; shape (num_layouts,). ``half_precision``: stays in 16 bits."""
    c = constants
    if dev.surface is not None:
        return _measured_s(gemm, dev, half_precision)
    rate = dev.half_flops_per_s if half_precision else dev.gemm_flops_per_s
    fill = gemm.k / (gemm.k + c.small_k)
    best = np.min([_tiled(gemm, dev, tile, lost=c.wave_tail) for tile in _TILES], axis=0)
    compute = c.multiply_add_flops * gemm.k * best / (rate * fill)
    numbers = gemm.groups * (gemm.m * gemm.k + gemm.k * gemm.n)
    written = gemm.groups * gemm.m * gemm.n * c.sixteen_bit_bytes
    width = c.sixteen_bit_bytes if half_precision else dev.input_bytes
    memory = (numbers * width + written) / dev.memory_bytes_per_s
    return np.asarray(np.maximum(compute, memory), dtype=np.float64)


def _measured_s(gemm, dev, half):
    table = dev.surface.gemm['bf16' if half else dev.format]
    peak = dev.half_peak_flops_per_s if half else dev.peak_flops_per_s
    w = 2.0 if half or dev.format=='bf16' else (1.0 if dev.format!='nvfp4' else 0.5625)
    many = gemm.groups > 1
    rows = gemm.m*gemm.groups
    ratio = gemm_ratio(table, rows, gemm.n, gemm.k)
    flops = 2*rows*gemm.n*gemm.k
    lost = np.where(many, (gemm.m+dev.expert_rows)/gemm.m/dev.grouped, 1.0)
    bytes_ = (gemm.groups*(gemm.m*gemm.k+gemm.k*gemm.n))*w+2*rows*gemm.n
    ideal = np.maximum(flops*lost/peak, bytes_/dev.raw_memory_bytes_per_s)
    return np.asarray(ideal*ratio/(dev.half_sustained if half else dev.sustained))


def _tiled(gemm: Gemm, dev: Device, tile: tuple[float, float, float], *, lost: float) -> Floats:
    """m*n with padding and idle SMs, for one choice of tile."""
    rows, columns, reach = tile
    tiles = gemm.groups * np.ceil(gemm.m / rows) * np.ceil(gemm.n / columns)
    waves = tiles / dev.num_sms
    spent = waves + lost * (np.ceil(waves) - waves)
    return np.asarray(spent * dev.num_sms * rows * columns / reach, dtype=np.float64)


def attention_s(
    products: Floats, *, keys: Floats, head_dim: float, dev: Device, constants: Calibration
) -> tuple[Floats, Floats]:
    """Forward and backward time of flash attention.

    ``products``: multiply-adds of the two products that forward needs; ``keys``: mean keys a
    query sees in one kernel.
    """
    c = constants
    if dev.surface is not None:
        share = attention_share(dev.surface, seq_len=2*keys, head_dim=head_dim)
        f = c.multiply_add_flops * products / (dev.half_peak_flops_per_s * share * dev.attention_sustained)
        return f, 2.5 * f / c.attention_backward_share
    reach = keys / (keys + c.attention_half_seq) * _head_reach(head_dim, c)
    forward = c.multiply_add_flops * products / (dev.attention_flops_per_s * reach)
    backward = 2.5 * c.multiply_add_flops * products
    return forward, backward / (dev.attention_backward_flops_per_s * reach)


def _head_reach(head_dim: float, c: Calibration) -> float:
    """1 at head size 128, less for narrow heads, whose softmax weighs more."""
    full = 128 / (128 + c.attention_half_head)
    return min(head_dim / (head_dim + c.attention_half_head) / full, 1.0)


def score_matrix_s(scores: Floats, *, dev: Device, constants: Calibration) -> Floats:
    """Forward time that an attention spends on writing and reading its score matrix."""
    c = constants
    moved = scores * c.score_passes * c.sixteen_bit_bytes
    return streaming_s(moved, dev=dev)


def streaming_s(moved_bytes: Floats, *, dev: Device) -> Floats:
    """Time of kernels that only move bytes."""
    return np.asarray(moved_bytes / dev.memory_bytes_per_s, dtype=np.float64)
