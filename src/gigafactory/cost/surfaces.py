"""How measured kernels compare with the roofline, by shape: tables distilled from timings.

Legend
    m n k   a GEMM multiplies (m, k) by (k, n);  P peak FLOP/s;  W memory bandwidth
    T0      roofline time, max(2mnk/P, bytes/W);  ratio = measured time / T0

The tables hold log(ratio) over log2(m), log2(n), log2(k), one for each measured GPU and number
format, and the share of the 16-bit peak that causal flash attention reaches by sequence length.
Timings: aiconfigurator-core 0.12.0 (Apache-2.0), distilled by benchmarks/distil_kernels.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from gigafactory.cost.columns import Floats

_LOWEST = (0.0, 5.0, 5.0)
_FIRST_SEQ = 7.0


@dataclass(frozen=True)
class Surface:
    """The tables of one measured GPU."""

    gemm: dict[str, NDArray[np.float64]]
    attention: dict[int, NDArray[np.float64]]


def gemm_ratio(table: NDArray[np.float64], m: Floats, n: Floats, k: Floats) -> Floats:
    """Measured over roofline time, multilinear between shapes, constant outside; as m."""
    places = [
        np.clip(np.log2(np.maximum(x, 1.0)) - low, 0.0, size - 1.0)
        for x, low, size in zip((m, n, k), _LOWEST, table.shape, strict=True)
    ]
    low = [np.minimum(p.astype(np.int64), s - 2) for p, s in zip(places, table.shape, strict=True)]
    left = [p - i for p, i in zip(places, low, strict=True)]
    flat = table.reshape(-1)
    _, rows, width = table.shape
    base = (low[0] * rows + low[1]) * width + low[2]

    def along_k(at: NDArray[np.int64]) -> Floats:
        return np.asarray(flat[at] * (1 - left[2]) + flat[at + 1] * left[2])

    def along_n(at: NDArray[np.int64]) -> Floats:
        return np.asarray(along_k(at) * (1 - left[1]) + along_k(at + width) * left[1])

    found = along_n(base) * (1 - left[0]) + along_n(base + rows * width) * left[0]
    return np.asarray(np.exp(found))


def attention_share(surface: Surface, *, seq_len: Floats, head_dim: float) -> Floats:
    """Share of the 16-bit peak of a causal forward over ``seq_len`` keys; as seq_len."""
    sizes = sorted(surface.attention)
    place = np.log2(np.maximum(seq_len, 1.0)) - _FIRST_SEQ
    at = [np.interp(place, np.arange(len(surface.attention[d])), surface.attention[d]) for d in sizes]
    if len(sizes) == 1 or head_dim <= sizes[0]:
        # products of a narrow head wait for its softmax; half the width costs a tenth there
        return np.asarray(at[0] * min(head_dim / sizes[0], 1.0) ** 0.15)
    weight = min((np.log2(head_dim) - np.log2(sizes[0])) / np.log2(sizes[1] / sizes[0]), 1.0)
    return np.asarray(np.exp((1 - weight) * np.log(at[0]) + weight * np.log(at[1])))


@cache
def surface(name: str) -> Surface:
    """The tables of the measured GPU called ``name`` in the file; KeyError where there is none."""
    found = {k.split("/", 1)[1]: v for k, v in _tables().items() if k.split("/")[0] == name}
    if not found:
        raise KeyError(name)
    gemm = {k[5:]: v for k, v in found.items() if k.startswith("gemm/")}
    attention = {int(k[10:]): v for k, v in found.items() if k.startswith("attention/")}
    return Surface(gemm=gemm, attention=attention)


@cache
def measured_gpus() -> tuple[str, ...]:
    """Names of the GPUs in the file."""
    return tuple(sorted({key.split("/")[0] for key in _tables()}))


@cache
def _tables() -> dict[str, NDArray[np.float64]]:
    file = resources.files("gigafactory.cost").joinpath("surfaces.npz")
    with file.open("rb") as opened, np.load(opened) as archive:
        return {key: archive[key].astype(np.float64) for key in archive.files}
