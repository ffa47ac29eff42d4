"""How long the kernels of one rank take: GEMM, attention, and what only moves bytes.

Legend
    m n k g   shape and number of the multiplications in one kernel, see cost.flops
    P         peak FLOP/s of the precision;  W  memory bandwidth;  S  number of SMs
    eta       share of what the same kernel reaches when it is timed alone

On a GPU of a kind that was measured, a kernel takes the measured time of its shape (cost.surfaces)
over eta: inside a training step clocks are lower than in a short benchmark, and by more the more
FLOP/s a part has for a watt. On any other processor a GEMM is cut into output tiles that the SMs
take in waves. What it loses: rows and columns that do not fill a tile, SMs idle in the last wave
(less with stream-K, arXiv:2301.03598), filling and draining the pipeline when k is short, and
waiting for memory when it is thin (roofline).

Flash attention: arXiv:2205.14135, arXiv:2307.08691 (2.5 times the products in backward).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost import surfaces
from gigafactory.cost.calibration import Calibration
from gigafactory.cost.columns import Floats
from gigafactory.cost.engine import MODERN, Engine
from gigafactory.cost.flops import Gemm
from gigafactory.cost.surfaces import Format
from gigafactory.describe.cluster import Gpu, Precision
from gigafactory.describe.errors import InputError

#: Output tiles a library chooses from, rows by columns, and the reach of each beside the largest.
_TILES = ((128.0, 256.0, 1.0), (128.0, 128.0, 0.92), (64.0, 64.0, 0.7))
#: A processor whose 16-bit peak differs by more than this factor is not of the measured kind.
_KIN = 4.0


@dataclass(frozen=True)
class Rate:
    """Of large products in one number format, SI."""

    peak_flops_per_s: float
    reached_flops_per_s: float
    """By large products where no kernel was measured."""
    sustained: float
    """eta, where kernels were measured."""
    forms: tuple[Format, ...]
    """Measured formats that engines choose from."""
    input_bytes: float


@dataclass(frozen=True)
class Device:
    """The rates of one GPU for one job, SI."""

    part: str
    """Measured GPU whose kernels stand for this one; empty where none does."""
    job: Rate
    """Linear layers."""
    half: Rate
    """What stays in 16 bits: router, output projection, attention."""
    attention_flops_per_s: float
    attention_backward_flops_per_s: float
    attention_sustained: float
    memory_bytes_per_s: float
    """As streaming kernels reach it."""
    peak_memory_bytes_per_s: float
    num_sms: int
    casts_inputs: bool
    """Inputs are quantised on the way into a linear layer."""


def device(
    gpu: Gpu, precision: Precision, *, constants: Calibration, engine: Engine = MODERN
) -> Device:
    """Rates of ``gpu`` computing in ``precision``; ValueError where it has no such peak."""
    c = constants
    half = _half_precision(gpu, precision)
    per_watt = gpu.peak(half) / gpu.tdp_w / c.power_reference_flops_per_j
    clock = max(per_watt, 1.0) ** -c.dense_power_exponent
    older = c.attention_portable**engine.attention_lag
    kin = _part_of(gpu, half)
    return Device(
        part=kin,
        job=_rate(gpu, precision, clock, blocks=engine.block_scaling, c=c),
        half=_rate(gpu, half, clock, blocks=False, c=c),
        attention_flops_per_s=gpu.peak(half) * c.attention_fraction,
        attention_backward_flops_per_s=gpu.peak(half) * c.attention_backward_fraction,
        attention_sustained=c.attention_sustained * older,
        memory_bytes_per_s=gpu.memory_bandwidth_bytes_per_s * c.bandwidth_fraction,
        peak_memory_bytes_per_s=gpu.memory_bandwidth_bytes_per_s,
        num_sms=gpu.num_sms,
        casts_inputs=precision in (Precision.FP8, Precision.NVFP4),
    )


def _part_of(gpu: Gpu, half: Precision) -> str:
    if gpu.kernels_of:
        if gpu.kernels_of not in surfaces.parts():
            known = ", ".join(surfaces.parts())
            raise InputError(f"{gpu.name}: kernels_of {gpu.kernels_of!r} is none of {known}")
        return gpu.kernels_of
    part = surfaces.nearest(gpu)
    apart = surfaces.parts()[part]["bf16"] / gpu.peak(half)
    return part if 1 / _KIN < apart < _KIN else ""


def _rate(gpu: Gpu, precision: Precision, clock: float, *, blocks: bool, c: Calibration) -> Rate:
    sustained, fraction, width = {
        Precision.FP8: (
            c.sustained_block if blocks else c.sustained_eight_bit,
            c.gemm_fraction_eight_bit,
            c.eight_bit_bytes,
        ),
        Precision.NVFP4: (c.sustained_four_bit, c.gemm_fraction_four_bit, c.eight_bit_bytes),
        Precision.FP32: (clock * c.sustained, c.gemm_fraction, c.thirty_two_bit_bytes),
    }.get(precision, (clock * c.sustained, c.gemm_fraction, c.sixteen_bit_bytes))
    peak = gpu.peak(precision)
    form = surfaces.format_of(precision)
    # libraries take the faster kernel, whichever way the inputs are scaled
    forms = (Format.FP8, Format.FP8_BLOCK) if form is Format.FP8 else (form,)
    return Rate(
        peak_flops_per_s=peak,
        reached_flops_per_s=peak * fraction,
        sustained=sustained,
        forms=forms,
        input_bytes=width,
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
    rate = dev.half if half_precision else dev.job
    forms = [f for f in rate.forms if _measured(dev.part, f)]
    if forms:
        return _as_measured_s(gemm, dev, rate, forms, constants)
    return _by_tiles_s(gemm, dev, rate, constants)


def _measured(part: str, form: Format) -> bool:
    return bool(part) and surfaces.has_surface(surfaces.Kernel.GEMM, part=part, form=form)


def _as_measured_s(
    gemm: Gemm, dev: Device, rate: Rate, forms: list[Format], c: Calibration
) -> Floats:
    """The measured kernel with as many rows; experts lose rows to padding and rate to grouping."""
    grouped = gemm.groups > 1
    rows = gemm.groups * (gemm.m + np.where(grouped, c.expert_rows, 0.0))
    peak, bandwidth = _counted(rate.peak_flops_per_s, dev, c)
    times = [
        surfaces.gemm_s(
            rows, n=gemm.n, k=gemm.k, part=dev.part, form=form,
            peak_flops_per_s=peak, memory_bytes_per_s=bandwidth,
        )
        for form in forms
    ]  # fmt: skip
    fastest = np.min(times, axis=0) / np.where(grouped, c.grouped_fraction, 1.0)
    # of the weights, the kernel above reads one expert's
    others = (gemm.groups - 1) * gemm.k * gemm.n * rate.input_bytes / dev.peak_memory_bytes_per_s
    return np.asarray(np.maximum(fastest, others) / rate.sustained, dtype=np.float64)


def _counted(peak_flops_per_s: float, dev: Device, c: Calibration) -> tuple[float, float]:
    """Peak and bandwidth as surfaces count: two FLOP a multiply-add, two bytes a bf16 number."""
    return (
        peak_flops_per_s * 2.0 / c.multiply_add_flops,
        dev.peak_memory_bytes_per_s * 2.0 / c.sixteen_bit_bytes,
    )


def _by_tiles_s(gemm: Gemm, dev: Device, rate: Rate, c: Calibration) -> Floats:
    fill = gemm.k / (gemm.k + c.small_k)
    best = np.min([_tiled(gemm, dev, tile, lost=c.wave_tail) for tile in _TILES], axis=0)
    compute = c.multiply_add_flops * gemm.k * best / (rate.reached_flops_per_s * fill)
    numbers = gemm.groups * (gemm.m * gemm.k + gemm.k * gemm.n)
    written = gemm.groups * gemm.m * gemm.n * c.sixteen_bit_bytes
    memory = (numbers * rate.input_bytes + written) / dev.memory_bytes_per_s
    return np.asarray(np.maximum(compute, memory), dtype=np.float64)


def _tiled(gemm: Gemm, dev: Device, tile: tuple[float, float, float], *, lost: float) -> Floats:
    """m*n with padding and idle SMs, for one choice of tile."""
    rows, columns, reach = tile
    tiles = gemm.groups * np.ceil(gemm.m / rows) * np.ceil(gemm.n / columns)
    waves = tiles / dev.num_sms
    spent = waves + lost * (np.ceil(waves) - waves)
    return np.asarray(spent * dev.num_sms * rows * columns / reach, dtype=np.float64)


def attention_s(
    products: Floats,
    *,
    keys: Floats,
    head_dim: float,
    dev: Device,
    constants: Calibration,
    num_heads: Floats | float = 64.0,
    queries_per_key: float = 1.0,
) -> tuple[Floats, Floats]:
    """Forward and backward time of flash attention.

    ``products``: multiply-adds of the two products that forward needs; ``keys``: mean keys a
    query sees in one kernel; ``num_heads`` of all sequences in it.
    """
    c = constants
    if dev.part:
        share = attention_share(keys, num_heads, head_dim, queries_per_key, dev=dev, constants=c)
        rate = dev.half.peak_flops_per_s * share * dev.attention_sustained
        forward = c.multiply_add_flops * products / rate
        return np.asarray(forward), np.asarray(2.5 * forward / c.attention_backward_share)
    reach = keys / (keys + c.attention_half_seq) * _head_reach(head_dim, c)
    forward = c.multiply_add_flops * products / (dev.attention_flops_per_s * reach)
    backward = 2.5 * c.multiply_add_flops * products
    return forward, backward / (dev.attention_backward_flops_per_s * reach)


def attention_share(
    keys: Floats,
    num_heads: Floats | float,
    head_dim: float,
    queries_per_key: float,
    *,
    dev: Device,
    constants: Calibration,
) -> Floats:
    """Share of the 16-bit peak that a measured causal kernel of this shape reaches, forward."""
    # a causal kernel over s tokens meets s/2 keys on average
    seq, heads = np.broadcast_arrays(2.0 * keys, np.asarray(num_heads, dtype=np.float64))
    peak, bandwidth = _counted(dev.half.peak_flops_per_s, dev, constants)
    time_s = surfaces.attention_s(
        1.0, seq=seq, heads=heads, kv_heads=heads / queries_per_key, head_dim=head_dim,
        part=dev.part, peak_flops_per_s=peak, memory_bytes_per_s=bandwidth,
    )  # fmt: skip
    return np.asarray(2 * heads * seq**2 * head_dim / (time_s * peak), dtype=np.float64)


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
