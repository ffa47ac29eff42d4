"""Kernels of serving: thin matrix multiplications, experts, attention over a KV cache, all_reduce.

Legend
    m n k g  shape and number of the multiplications in one kernel; m counts tokens
    P W      peak FLOP/s of the precision, memory bandwidth;  w  bytes of one weight
    p        sharpness of the roofline: (compute^p + memory^p)^(1/p), between their sum and maximum

Decoding reads every weight for a few tokens, so a kernel is bound by memory until m reaches
about P w / (2 W) (arXiv:2302.14017 section 3). A grouped multiplication of experts reads
only the experts that some token chose, each on rows padded to a tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.columns import Floats
from gigafactory.cost.token_constants import ServingCalibration
from gigafactory.describe.cluster import Gpu, Precision
from gigafactory.describe.serving import Replica, Runtime


@dataclass(frozen=True)
class Chip:
    """The rates that one replica's ranks reach, SI."""

    gemm_flops_per_s: float
    half_flops_per_s: float
    """Of products that stay in 16 bits."""
    attention_flops_per_s: float
    weights_bytes_per_s: float
    kv_bytes_per_s: float
    scaleup_bytes_per_s: float
    weight_bytes: float
    """One weight of a quantised layer."""
    kv_bytes: float
    """One number of the KV cache."""
    input_bytes: float
    """One number of a quantised layer's input, which takes 8 bits or more."""
    half_bytes: float
    multiply_add_flops: float
    sharpness: float
    expert_rows: float
    all_reduce_latency_s: float
    expert_slowdown: float


def chip(gpu: Gpu, replica: Replica, *, constants: ServingCalibration) -> Chip:
    """Rates of ``gpu`` under ``replica``; ValueError where it lacks the precision."""
    c = constants
    half = Precision.BF16 if Precision.BF16 in gpu.peak_flops_per_s else Precision.FP16
    share = {
        Precision.FP8: c.serving_gemm_eight_bit,
        Precision.NVFP4: c.serving_gemm_four_bit,
    }.get(replica.precision, c.serving_gemm_sixteen_bit)
    portable = replica.runtime is Runtime.PORTABLE
    return Chip(
        gemm_flops_per_s=gpu.peak(replica.precision) * share,
        half_flops_per_s=gpu.peak(half) * c.serving_gemm_sixteen_bit,
        attention_flops_per_s=gpu.peak(half) * c.prefill_attention_fraction,
        weights_bytes_per_s=gpu.memory_bandwidth_bytes_per_s * c.weight_stream_fraction,
        kv_bytes_per_s=gpu.memory_bandwidth_bytes_per_s * c.kv_stream_fraction,
        scaleup_bytes_per_s=gpu.scaleup_bandwidth_bytes_per_s * c.serving_scaleup_fraction,
        weight_bytes=number_bytes(replica.precision, constants=c),
        kv_bytes=number_bytes(replica.kv_precision, constants=c),
        input_bytes=max(number_bytes(replica.precision, constants=c), c.eight_bit_bytes),
        half_bytes=c.sixteen_bit_bytes,
        multiply_add_flops=c.multiply_add_flops,
        sharpness=c.roofline_sharpness,
        expert_rows=c.expert_rows,
        all_reduce_latency_s=c.all_reduce_latency_s,
        expert_slowdown=c.portable_expert_slowdown if portable else 1.0,
    )


def number_bytes(precision: Precision, *, constants: ServingCalibration) -> float:
    """Bytes of one stored number, scales of its block included."""
    c = constants
    known = {
        Precision.FP32: c.thirty_two_bit_bytes,
        Precision.FP8: c.eight_bit_bytes,
        Precision.NVFP4: c.four_bit_bytes,
    }
    return known.get(precision, c.sixteen_bit_bytes)


def roofline_s(compute_s: ArrayLike, memory_s: ArrayLike, *, sharpness: float) -> Floats:
    """Time of a kernel that computes and reads at once; shape of the arguments."""
    a, b = np.asarray(compute_s, np.float64), np.asarray(memory_s, np.float64)
    long, short = np.maximum(a, b), np.minimum(a, b)
    ratio = np.divide(short, long, out=np.zeros_like(long), where=long > 0)
    return np.asarray(long * (1 + ratio**sharpness) ** (1 / sharpness))


def linear_s(m: ArrayLike, *, n: float, k: float, on: Chip, half: bool = False) -> Floats:
    """One linear layer of n x k weights on m tokens. ``half``: it stays in 16 bits."""
    rows = np.asarray(m, np.float64)
    rate = on.half_flops_per_s if half else on.gemm_flops_per_s
    width, read = (on.half_bytes, on.half_bytes) if half else (on.weight_bytes, on.input_bytes)
    moved = n * k * width + rows * (k * read + n * on.half_bytes)
    compute = on.multiply_add_flops * rows * n * k / rate
    return roofline_s(compute, moved / on.weights_bytes_per_s, sharpness=on.sharpness)


def distinct_experts(m: ArrayLike, *, num_experts: int, topk: int) -> Floats:
    """Expected experts that at least one of m tokens chose, routing being even."""
    tokens = np.asarray(m, np.float64)
    return np.asarray(num_experts * (1 - (1 - topk / num_experts) ** tokens))


def grouped_s(copies: ArrayLike, *, experts: ArrayLike, n: float, k: float, on: Chip) -> Floats:
    """One grouped multiplication: ``copies`` token rows over ``experts`` matrices of n x k."""
    rows, groups = np.asarray(copies, np.float64), np.asarray(experts, np.float64)
    padded = rows + groups * on.expert_rows
    # portable kernels read as fast, and multiply slower
    reached = on.gemm_flops_per_s / on.expert_slowdown
    compute = on.multiply_add_flops * padded * n * k / reached
    moved = groups * n * k * on.weight_bytes
    moved = moved + rows * (k * on.input_bytes + n * on.half_bytes)
    memory = moved / on.weights_bytes_per_s
    return roofline_s(compute, memory, sharpness=on.sharpness)


def cache_attention_s(
    read_bytes: ArrayLike, *, products: ArrayLike, on: Chip
) -> Floats:  # fmt: skip
    """Attention of decoding: ``read_bytes`` of the KV cache and ``products`` multiply-adds."""
    memory = np.asarray(read_bytes, np.float64) / on.kv_bytes_per_s
    compute = on.multiply_add_flops * np.asarray(products, np.float64) / on.attention_flops_per_s
    return roofline_s(compute, memory, sharpness=on.sharpness)


def prompt_attention_s(products: ArrayLike, *, on: Chip) -> Floats:
    """Flash attention of a prompt."""
    return np.asarray(on.multiply_add_flops * np.asarray(products) / on.attention_flops_per_s)


def all_reduce_s(whole_bytes: ArrayLike, *, ranks: int, on: Chip) -> Floats:
    """all_reduce inside the scale-up domain; 0 for one rank."""
    if ranks == 1:
        return np.zeros_like(np.asarray(whole_bytes, np.float64))
    moved = 2 * (ranks - 1) / ranks * np.asarray(whole_bytes, np.float64)
    return np.asarray(on.all_reduce_latency_s + moved / on.scaleup_bytes_per_s)


def exchange_s(sent_bytes: ArrayLike, *, ranks: int, on: Chip) -> Floats:
    """all_to_all inside the scale-up domain, ``sent_bytes`` a rank; 0 for one rank."""
    if ranks == 1:
        return np.zeros_like(np.asarray(sent_bytes, np.float64))
    moved = (ranks - 1) / ranks * np.asarray(sent_bytes, np.float64)
    return np.asarray(on.all_reduce_latency_s + moved / on.scaleup_bytes_per_s)
