"""Kernel times from measured efficiency: GEMM, grouped GEMM, attention, decoding, NVLink.

Legend
    P W       peak FLOP/s and memory bandwidth of the GPU asked about
    t0        sqrt((FLOPs/P)^2 + (bytes/W)^2), a roofline without a corner
    exp(r)    measured time over t0, interpolated in the logs of the sizes: see cost.surface_grid

time = t0 exp(r). Timings: aiconfigurator-core (NVIDIA, Apache-2.0), tables in NOTICE-surfaces.txt.
All sizes broadcast; results have their common shape. ``part`` comes from ``nearest(gpu)``. Forward
kernels only: no backward attention was measured, so none is given.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.columns import Floats
from gigafactory.cost.surface_grid import (
    Format,
    Kernel,
    Surface,
    file,
    format_of,
    has_surface,
    inside,
    is_measured,
    nearest,
    over_roofline,
    parts,
    surface,
    unpacked,
)

__all__ = [
    "Collective",
    "Format",
    "Kernel",
    "Surface",
    "attention_s",
    "decode_attention_s",
    "format_of",
    "gemm_s",
    "grouped_gemm_s",
    "has_surface",
    "inside",
    "is_measured",
    "mla_attention_s",
    "mla_decode_s",
    "nearest",
    "nvlink_collective_s",
    "parts",
]

#: Bytes of one number with its scales: nvfp4 has an 8-bit scale per 16, fp8 blocks a float per 128.
FORMAT_BYTES = {
    Format.BF16: 2.0,
    Format.FP8: 1.0,
    Format.FP8_BLOCK: 1.03125,
    Format.NVFP4: 0.5625,
}
_OUT_BYTES = 2.0
#: DeepSeek's latent attention: sizes of a key (with its rotary part), a value and the latent row.
_MLA_KEY, _MLA_VALUE, _MLA_ROW, _MLA_LATENT = 192.0, 128.0, 576.0, 512.0


class Collective(StrEnum):
    """Operations timed over NVLink."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"


def gemm_s(
    m: ArrayLike,
    *,
    n: ArrayLike,
    k: ArrayLike,
    part: str,
    form: Format,
    peak_flops_per_s: float,
    memory_bytes_per_s: float,
) -> Floats:
    """(m, k) times (k, n) into 16 bits. fp8 and nvfp4 include quantising the (m, k) input."""
    work = gemm_work(m, n, k, form=form)
    grid = surface(Kernel.GEMM, part=part, form=form)
    return _t0(work, peak_flops_per_s, memory_bytes_per_s) * over_roofline(grid, m, n, k)


def gemm_work(m: ArrayLike, n: ArrayLike, k: ArrayLike, *, form: Format) -> tuple[Floats, Floats]:
    """FLOPs and bytes of one multiplication."""
    m, n, k = _floats(m, n, k)
    moved = (m * k + k * n) * FORMAT_BYTES[form] + m * n * _OUT_BYTES
    return 2 * m * n * k, moved


def grouped_gemm_s(
    tokens_per_expert: ArrayLike,
    *,
    num_experts: ArrayLike,
    hidden: ArrayLike,
    inter: ArrayLike,
    part: str,
    form: Format,
    peak_flops_per_s: float,
    memory_bytes_per_s: float,
) -> Floats:
    """A gated expert layer, forward, on one GPU: both products, activation, permutation.

    ``num_experts`` on this GPU, each with ``tokens_per_expert`` tokens (evenly, may be below 1);
    ``inter`` of one expert after tensor parallelism. Router and all-to-all are not in it.
    """
    work = grouped_gemm_work(tokens_per_expert, num_experts, hidden, inter, form=form)
    grid = surface(Kernel.GROUPED_GEMM, part=part, form=form)
    reach = over_roofline(grid, tokens_per_expert, num_experts, hidden, inter)
    return _t0(work, peak_flops_per_s, memory_bytes_per_s) * reach


def grouped_gemm_work(
    tokens_per_expert: ArrayLike,
    num_experts: ArrayLike,
    hidden: ArrayLike,
    inter: ArrayLike,
    *,
    form: Format,
) -> tuple[Floats, Floats]:
    """FLOPs and bytes of the three matrices of every expert that has a token."""
    each, experts, h, f = _floats(tokens_per_expert, num_experts, hidden, inter)
    tokens = each * experts
    weights = 3 * np.minimum(experts, tokens) * h * f * FORMAT_BYTES[form]
    return 6 * tokens * h * f, weights + tokens * (2 * h + 3 * f) * _OUT_BYTES


def attention_s(
    batch: ArrayLike,
    *,
    seq: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    part: str,
    peak_flops_per_s: float,
    memory_bytes_per_s: float,
) -> Floats:
    """Causal flash attention, forward, in bf16; ``peak_flops_per_s`` is the 16-bit one."""
    work = attention_work(batch, seq, heads, kv_heads, head_dim)
    grid = surface(Kernel.ATTENTION, part=part)
    b, n, g = _floats(batch, heads, kv_heads)
    return _t0(work, peak_flops_per_s, memory_bytes_per_s) * over_roofline(
        grid, seq, b * n, head_dim, n / g
    )


def attention_work(
    batch: ArrayLike, seq: ArrayLike, heads: ArrayLike, kv_heads: ArrayLike, head_dim: ArrayLike
) -> tuple[Floats, Floats]:
    """FLOPs below the diagonal and bytes of queries, keys, values and outputs."""
    b, s, n, g, d = _floats(batch, seq, heads, kv_heads, head_dim)
    return 2 * b * n * s * s * d, 2 * b * s * (n + g) * d * _OUT_BYTES


def decode_attention_s(
    batch: ArrayLike,
    *,
    keys: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    part: str,
    peak_flops_per_s: float,
    memory_bytes_per_s: float,
) -> Floats:
    """One new token per sequence against ``keys`` cached ones, all in bf16."""
    work = decode_attention_work(batch, keys, heads, kv_heads, head_dim)
    grid = surface(Kernel.DECODE_ATTENTION, part=part)
    b, n, g = _floats(batch, heads, kv_heads)
    return _t0(work, peak_flops_per_s, memory_bytes_per_s) * over_roofline(
        grid, keys, b * g, n / g, head_dim
    )


def decode_attention_work(
    batch: ArrayLike, keys: ArrayLike, heads: ArrayLike, kv_heads: ArrayLike, head_dim: ArrayLike
) -> tuple[Floats, Floats]:
    """FLOPs and bytes; the cache dominates the bytes."""
    b, s, n, g, d = _floats(batch, keys, heads, kv_heads, head_dim)
    return 4 * b * n * s * d, 2 * b * (s * g + n) * d * _OUT_BYTES


def mla_attention_s(
    batch: ArrayLike,
    *,
    seq: ArrayLike,
    heads: ArrayLike,
    part: str,
    peak_flops_per_s: float,
    memory_bytes_per_s: float,
) -> Floats:
    """Latent attention, forward over whole sequences: keys of 192, values of 128, causal, bf16."""
    work = mla_attention_work(batch, seq, heads)
    grid = surface(Kernel.MLA_ATTENTION, part=part)
    b, n = _floats(batch, heads)
    return _t0(work, peak_flops_per_s, memory_bytes_per_s) * over_roofline(grid, seq, b * n)


def mla_attention_work(batch: ArrayLike, seq: ArrayLike, heads: ArrayLike) -> tuple[Floats, Floats]:
    """FLOPs below the diagonal, bytes of what goes in and out."""
    b, s, n = _floats(batch, seq, heads)
    both = _MLA_KEY + _MLA_VALUE
    return b * n * s * s * both, 2 * b * s * n * both * _OUT_BYTES


def mla_decode_s(
    batch: ArrayLike,
    *,
    keys: ArrayLike,
    heads: ArrayLike,
    part: str,
    peak_flops_per_s: float,
    memory_bytes_per_s: float,
) -> Floats:
    """One new token per sequence in the latent space (absorbed projections), bf16."""
    work = mla_decode_work(batch, keys, heads)
    grid = surface(Kernel.MLA_DECODE, part=part)
    return _t0(work, peak_flops_per_s, memory_bytes_per_s) * over_roofline(grid, keys, batch, heads)


def mla_decode_work(batch: ArrayLike, keys: ArrayLike, heads: ArrayLike) -> tuple[Floats, Floats]:
    """FLOPs and bytes: every head reads the one latent row of a key."""
    b, s, n = _floats(batch, keys, heads)
    row = _MLA_ROW + _MLA_LATENT
    return 2 * b * n * s * row, b * (s * _MLA_ROW + n * row) * _OUT_BYTES


def nvlink_collective_s(
    total_bytes: ArrayLike,
    *,
    op: Collective,
    num_ranks: ArrayLike,
    part: str,
    link_bytes_per_s: float,
) -> Floats:
    """NCCL inside one NVLink domain; ``total_bytes`` of the whole (unsharded) buffer of a rank.

    latency + bus bytes / link, times the measured correction by size. The latency is the
    measured one in seconds. Measured on 2, 4 and 8 GPUs (NVL72 parts: 2 and 4); beyond, the last.
    """
    size, ranks = np.broadcast_arrays(*_floats(total_bytes, num_ranks))
    row = list(Collective).index(op)
    grids, latencies_s = _nccl(part)
    latency = np.interp(np.log2(ranks), grids[row].axes[1], latencies_s[row])
    bus = bus_bytes(op, size, ranks)
    least_s: Floats = latency + bus / link_bytes_per_s
    return least_s * over_roofline(grids[row], size, ranks)


@cache
def _nccl(part: str) -> tuple[list[Surface], Floats]:
    """Per operation its grid [bytes, ranks]; and latencies, shape (operations, ranks)."""
    axes = file()["nccl.log2_bytes"], file()["nccl.log2_ranks"]
    grids = [Surface(axes, logs) for logs in unpacked(file()[f"nccl.{part}"])]
    return grids, np.asarray(file()[f"nccl_latency_s.{part}"], dtype=np.float64)


def bus_bytes(op: Collective, total_bytes: Floats, ranks: Floats) -> Floats:
    """What each GPU sends over its link in a ring, the definition of nccl-tests' busbw."""
    turns = 2.0 if op is Collective.ALL_REDUCE else 1.0
    return np.asarray(turns * (ranks - 1) / ranks * total_bytes, dtype=np.float64)


def _t0(work: tuple[Floats, Floats], peak: float, bandwidth: float) -> Floats:
    return np.asarray(np.hypot(work[0] / peak, work[1] / bandwidth), dtype=np.float64)


def _floats(*sizes: ArrayLike) -> tuple[Floats, ...]:
    return tuple(np.asarray(size, dtype=np.float64) for size in sizes)
