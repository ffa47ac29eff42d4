"""Measured efficiency on regular grids: the file, its reading, and interpolation.

Legend
    t0        roofline time of a kernel at the peaks of the GPU asked about
    r         log of measured time over t0, on a grid of log2 of the kernel's sizes

The file ``surfaces.npz`` beside this module is written by benchmarks/distil_kernels.py from timings
that NVIDIA publishes in aiconfigurator-core (Apache-2.0); NOTICE-surfaces.txt names package,
version and tables. What is stored is free of units, so one surface serves every GPU of its kind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.columns import Floats
from gigafactory.describe.cluster import Gpu, Precision

#: Steps of the stored logarithm, 2 % each: half a per cent of error on average.
STEP = 0.02


class Kernel(StrEnum):
    """What was timed; the sizes that span its grid stand in brackets."""

    GEMM = "gemm"
    """[m, n, k]"""
    GROUPED_GEMM = "grouped_gemm"
    """[tokens per expert, experts on this GPU, hidden, inter]"""
    ATTENTION = "attention"
    """[sequence, batch times heads, head size, query heads per key-value head]"""
    DECODE_ATTENTION = "decode_attention"
    """[keys, batch times key-value heads, query heads per key-value head, head size]"""
    MLA_ATTENTION = "mla_attention"
    """[sequence, batch times heads]"""
    MLA_DECODE = "mla_decode"
    """[keys, batch, heads]"""


class Format(StrEnum):
    """Number format of the inputs of a measured kernel."""

    BF16 = "bf16"
    FP8 = "fp8"
    """One scale per tensor or row."""
    FP8_BLOCK = "fp8_block"
    """One scale per 128 numbers (weights: 128 x 128), as DeepSeek-V3 trains."""
    NVFP4 = "nvfp4"


@dataclass(frozen=True)
class Surface:
    """``r`` of one kernel on one GPU: float grid, and log2 of the nodes along each axis."""

    axes: tuple[Floats, ...]
    logs: Floats


def format_of(precision: Precision, *, blockwise: bool = False) -> Format:
    """The measured format that stands for ``precision``; fp16 and fp32 count as bf16."""
    if precision is Precision.NVFP4:
        return Format.NVFP4
    if precision is Precision.FP8:
        return Format.FP8_BLOCK if blockwise else Format.FP8
    return Format.BF16


@cache
def parts() -> dict[str, dict[str, float]]:
    """Measured GPUs by name, with the peaks and the bandwidth their timings were divided by."""
    found: dict[str, dict[str, float]] = json.loads(str(file()["parts"]))
    return found


def nearest(gpu: Gpu) -> str:
    """The measured GPU whose surfaces serve ``gpu``: nearest in peaks, formats and bandwidth."""
    return min(parts(), key=lambda part: _distance(gpu, part))


def is_measured(gpu: Gpu) -> bool:
    """True where ``gpu`` is, within a tenth of each rate, a GPU that was measured."""
    return _distance(gpu, nearest(gpu)) < 0.15


def _distance(gpu: Gpu, part: str) -> float:
    """Root of the squared differences in log2; a format that only one has counts as 2."""
    asked = {str(p): v for p, v in gpu.peak_flops_per_s.items() if p not in _UNMEASURED}
    asked["memory"] = gpu.memory_bandwidth_bytes_per_s
    have = parts()[part]
    apart = [
        np.log2(asked[key] / have[key]) if key in asked and key in have else 2.0
        for key in asked.keys() | have.keys()
    ]
    return float(np.sqrt(np.square(apart).sum()))


_UNMEASURED = (Precision.FP32, Precision.FP16)


def has_surface(kernel: Kernel, *, part: str, form: Format = Format.BF16) -> bool:
    """True where ``kernel`` was timed on ``part`` in this format."""
    return f"{kernel}.{part}.{form}" in file()


@cache
def surface(kernel: Kernel, *, part: str, form: Format = Format.BF16) -> Surface:
    """One surface; ValueError where nothing was measured."""
    if not has_surface(kernel, part=part, form=form):
        have = [key.split(".", 1)[1] for key in file() if key.startswith(f"{kernel}.")]
        raise ValueError(f"{kernel} was not measured on {part} in {form}; measured: {have}")
    return Surface(axes=_axes(kernel), logs=unpacked(file()[f"{kernel}.{part}.{form}"]))


def unpacked(steps: np.ndarray) -> Floats:
    """The logarithms of a stored array: differences along its first axis, in steps."""
    return np.asarray(np.cumsum(steps, axis=0, dtype=np.int64) * STEP, dtype=np.float64)


@cache
def _axes(kernel: Kernel) -> tuple[Floats, ...]:
    packed = file()[f"axes.{kernel}"]
    return tuple(row[~np.isnan(row)] for row in packed)


@cache
def file() -> Any:
    """The open file: a mapping whose arrays are read when asked for."""
    packed = resources.files(__package__).joinpath("surfaces.npz").read_bytes()
    return np.load(BytesIO(packed), allow_pickle=False)


def inside(kernel: Kernel, *sizes: ArrayLike) -> np.ndarray:
    """Where the sizes, in the order of ``Kernel``, lie in the measured range: booleans."""
    axes = _axes(kernel)
    within = [
        (np.asarray(size) >= 2.0 ** (axis[0] - 1e-9))
        & (np.asarray(size) <= 2.0 ** (axis[-1] + 1e-9))
        for axis, size in zip(axes, sizes, strict=True)
    ]
    return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*within)))


def over_roofline(grid: Surface, *sizes: ArrayLike) -> Floats:
    """exp(r) at ``sizes``, multilinear between nodes in log2; beyond the grid its edge holds."""
    spots = np.broadcast_arrays(*[np.asarray(size, dtype=np.float64) for size in sizes])
    places = [_place(axis, spot) for axis, spot in zip(grid.axes, spots, strict=True)]
    strides = np.cumprod((1, *grid.logs.shape[:0:-1]))[::-1]
    base = np.zeros(spots[0].shape, dtype=np.intp)
    for (node, _), stride in zip(places, strides, strict=True):
        base = base + node * int(stride)
    flat, total = grid.logs.ravel(), np.zeros(spots[0].shape)
    for corner in range(2 ** len(places)):
        index, weight = base, np.ones(spots[0].shape)
        for bit, ((_, part), stride) in enumerate(zip(places, strides, strict=True)):
            upper = corner >> bit & 1
            index = index + int(stride) * upper
            weight = weight * (part if upper else 1.0 - part)
        total += weight * flat[index]
    return np.asarray(np.exp(total), dtype=np.float64)


def _place(axis: Floats, size: Floats) -> tuple[np.ndarray, Floats]:
    """The node below ``size`` and the share of the way to the next."""
    log = np.clip(np.log2(np.maximum(size, 2.0**-30)), axis[0], axis[-1])
    node = np.clip(np.searchsorted(axis, log, side="right") - 1, 0, len(axis) - 2)
    return node, (log - axis[node]) / (axis[node + 1] - axis[node])
