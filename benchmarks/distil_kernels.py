"""Distil measured kernel timings into the surfaces of cost/surfaces.py.

    pip install 'gigafactory[kernels]'
    python benchmarks/distil_kernels.py [FOLDER OF aiconfigurator_core]

Reads the tables that NVIDIA's aiconfigurator-core (Apache-2.0) carries under systems/data, and
writes src/gigafactory/cost/surfaces.npz, and tests/cost/measured_kernels.csv with points that
the surfaces have NOT seen. Same package, same files. Several serving engines timed each shape:
for a 16-bit GEMM, where all call the same library, the median is taken; for everything else,
where each engine brings kernels of its own, the fastest. A surface is the grid that minimises the
sum of absolute errors at the measured points plus a small penalty on bends, which also fills
nodes nobody measured. The report is the error on a fifth of the shapes left out whole: of GEMMs
every m of an (n, k), of expert layers every token count of a model, of attention every head
count of a (sequence, batch).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy import sparse
from scipy.sparse.linalg import cg

from gigafactory.catalog.tables import catalog_gpus
from gigafactory.cost import surfaces as s
from gigafactory.cost.surface_grid import STEP, Format, Kernel
from gigafactory.describe.cluster import Precision

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src/gigafactory/cost/surfaces.npz"
POINTS = ROOT / "tests/cost/measured_kernels.csv"
#: Folder of the package: the GPU in this project's catalog.
PARTS = {
    "a100_sxm": "a100-80gb-sxm",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "gb200": "gb200",
    "gb300": "gb300",
}
FORMATS = {
    "bfloat16": Format.BF16,
    "fp8": Format.FP8,
    "fp8_block": Format.FP8_BLOCK,
    "nvfp4": Format.NVFP4,
}
OPS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
#: Fewer points make no surface.
_ENOUGH = 300
_WIDTH_BYTES = {"half": 2, "int8": 1}

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """How a kernel's tables are read."""

    table: str
    nodes: tuple[tuple[float, ...], ...]
    sizes: Callable[[Columns], list[np.ndarray]]
    """What the function of cost.surfaces is called with; columns of a point, in its order."""
    spots: Callable[[list[np.ndarray]], list[np.ndarray]]
    """Coordinates on the grid."""
    work: Callable[..., tuple[np.ndarray, np.ndarray]]
    keep: Callable[[Columns, Format], np.ndarray]
    group: Callable[[list[np.ndarray]], list[np.ndarray]]
    """What is left out together."""
    formats: tuple[Format, ...] = (Format.BF16,)
    bend: float = 0.05
    engines: int = 1
    """Shapes that fewer tables hold are left out, where enough remain: one engine may be poor."""


def _octaves(low: int, high: int) -> tuple[float, ...]:
    return tuple(2.0**i for i in range(low, high + 1))


_WIDTHS = (
    32,
    64,
    128,
    256,
    512,
    768,
    1024,
    1536,
    2048,
    2560,
    3072,
    3584,
    4096,
    5120,
    6144,
    7168,
    8192,
    10240,
    12288,
    16384,
    51200,
    65536,
)
_ROWS = (
    1,
    2,
    4,
    8,
    16,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    512,
    768,
    1024,
    1536,
    2048,
    3072,
    4096,
    8192,
    16384,
    32768,
)
_SEQ = (1, 16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)


def _plain(c: Columns) -> np.ndarray:
    window = c.get("window_size", np.zeros(len(c["latency"])))
    return (c["kv_cache_dtype"] == "bfloat16") & (window == 0)


def _attention(c: Columns, form: Format) -> np.ndarray:
    # the portable Triton kernel is the fallback of an engine, not what the GPU can do
    return (
        _plain(c)
        & (c["head_dim"] <= 256)
        & (c["attn_dtype"] == "bfloat16")
        & (np.char.find(c["kernel_source"], "triton") < 0)
    )


def _gemm(c: Columns, form: Format) -> np.ndarray:
    # a block of scales spans 128 numbers: below that only emulations ran
    wide = (c["n"] >= 128) & (c["k"] >= 128) | (form is not Format.FP8_BLOCK)
    return (c["gemm_dtype"] == _named(form)) & wide


def _experts(c: Columns, form: Format) -> np.ndarray:
    """Evenly spread tokens, gated layers: a shape that any engine ran ungated is left out."""
    bare = np.char.find(c["kernel_source"], "nongated") >= 0
    shapes = c["hidden_size"] * 2**20 + c["inter_size"]
    gated = ~np.isin(shapes, np.unique(shapes[bare]))
    return gated & (c["distribution"] == "balanced") & (c["moe_dtype"] == _named(form))


def _named(form: Format) -> str:
    return next(name for name, value in FORMATS.items() if value is form)


def _moe_sizes(c: Columns) -> list[np.ndarray]:
    each = c["num_tokens"] * c["topk"] / c["num_experts"]
    return [
        each,
        c["num_experts"] / c["moe_ep_size"],
        c["hidden_size"],
        c["inter_size"] / c["moe_tp_size"],
    ]


SOURCES = {
    Kernel.GEMM: Source(
        "gemm/*/*/gemm_perf",
        (_ROWS, _WIDTHS, _WIDTHS),
        lambda c: [c["m"], c["n"], c["k"]],
        lambda x: x,
        s.gemm_work,
        _gemm,
        lambda x: [x[1], x[2]],
        tuple(Format),
        0.02,
    ),
    Kernel.GROUPED_GEMM: Source(
        "moe/*/*/moe_perf",
        (
            _octaves(-6, 14),
            _octaves(0, 9),
            (1024, 2048, 3072, 4096, 6144, 8192),
            (64, 128, 256, 512, 1024, 2048, 4096, 16384),
        ),
        _moe_sizes,
        lambda x: x,
        s.grouped_gemm_work,
        _experts,
        lambda x: [x[1], x[2], x[3]],
        tuple(Format),
        0.3,
        2,
    ),
    Kernel.ATTENTION: Source(
        "attention/*/*/context_attention_perf",
        (_SEQ, _octaves(0, 14), (64, 128, 192, 256), (1, 4, 16)),
        lambda c: [
            c["batch_size"],
            c["isl"],
            c["num_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
        ],
        lambda x: [x[1], x[0] * x[2], x[4], x[2] / x[3]],
        s.attention_work,
        _attention,
        lambda x: [x[0], x[1]],
        engines=2,
    ),
    Kernel.DECODE_ATTENTION: Source(
        "attention/*/*/generation_attention_perf",
        (_octaves(1, 17), _octaves(0, 14), _octaves(0, 5), (64, 128, 256)),
        lambda c: [
            c["batch_size"],
            c["step"] + 1,
            c["num_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
        ],
        lambda x: [x[1], x[0] * x[3], x[2] / x[3], x[4]],
        s.decode_attention_work,
        _attention,
        lambda x: [x[0], x[1]],
        engines=2,
    ),
    Kernel.MLA_ATTENTION: Source(
        "mla/*/*/context_mla_perf",
        ((*_SEQ, 32768), _octaves(0, 14)),
        lambda c: [c["batch_size"], c["isl"], c["num_heads"]],
        lambda x: [x[1], x[0] * x[2]],
        s.mla_attention_work,
        lambda c, form: (c["kv_cache_dtype"] == "bfloat16") & (c["mla_dtype"] == "bfloat16"),
        lambda x: [x[0], x[1]],
    ),
    Kernel.MLA_DECODE: Source(
        "mla/*/*/generation_mla_perf",
        (_octaves(1, 17), _octaves(0, 10), _octaves(0, 7)),
        lambda c: [c["batch_size"], c["step"] + 1, c["num_heads"]],
        lambda x: [x[1], x[0], x[2]],
        s.mla_decode_work,
        lambda c, form: (c["kv_cache_dtype"] == "bfloat16") & (c["mla_dtype"] == "bfloat16"),
        lambda x: [x[0], x[1]],
    ),
}


def main(folder: Path) -> None:
    gpus, held, rows = catalog_gpus(), {}, ["kernel,part,format,sizes,measured_s"]
    arrays: dict[str, Any] = {
        f"axes.{kernel}": _packed(source.nodes) for kernel, source in SOURCES.items()
    }
    parts = {name: _rates(gpus[name]) for name in PARTS.values()}
    for place, part in PARTS.items():
        for kernel, source in SOURCES.items():
            for form in source.formats:
                sizes, time_s = measured(folder / "systems/data" / place, source, form)
                if len(time_s) < _ENOUGH:
                    continue
                log = np.log(time_s / _roofline(source, sizes, form, parts[part]))
                shown = _fixture(sizes, part)
                held[kernel, part, form] = error = left_out(source, sizes, log)
                logs = fit(source, [x[~shown] for x in sizes], log[~shown])
                arrays[f"{kernel}.{part}.{form}"] = _steps(logs)
                title = f"{kernel},{part},{form}"
                rows += _rows(title, [x[shown] for x in sizes], time_s[shown])
                name = f"| {part} | {kernel} | {form} | {len(log)} "
                print(f"{name}| {error[0]:.1%} | {error[1]:.1%} |", flush=True)
        arrays |= collectives(
            folder / "systems/data" / place, part, gpus[part].scaleup_bandwidth_bytes_per_s
        )
    arrays["nccl.log2_bytes"], arrays["nccl.log2_ranks"] = np.arange(9.0, 30.0), np.arange(1.0, 4.0)
    arrays["source"] = np.array(
        "aiconfigurator-core 0.12.0, NVIDIA, Apache-2.0; see NOTICE-surfaces.txt"
    )
    np.savez_compressed(OUT, parts=np.array(json.dumps(parts)), **arrays)
    POINTS.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _steps(logs: np.ndarray) -> np.ndarray:
    """Differences along the first axis, in steps: they compress better than what they sum to."""
    whole = np.round(logs / STEP).astype(np.int16)
    return np.diff(whole, axis=0, prepend=np.zeros_like(whole[:1]))


def _rates(gpu: Any) -> dict[str, float]:
    peaks = {
        str(p): gpu.peak(p)
        for p in (Precision.BF16, Precision.FP8, Precision.NVFP4)
        if p in gpu.peak_flops_per_s
    }
    return peaks | {"memory": gpu.memory_bandwidth_bytes_per_s}


def _packed(nodes: tuple[tuple[float, ...], ...]) -> np.ndarray:
    table = np.full((len(nodes), max(map(len, nodes))), np.nan)
    for row, axis in zip(table, nodes, strict=True):
        row[: len(axis)] = np.log2(axis)
    return table


def _tables(folder: Path, pattern: str) -> Iterator[Columns]:
    for path in sorted(folder.glob(f"{pattern}.parquet")):
        table = pq.read_table(path)
        yield {name: np.array(table[name].to_pylist()) for name in table.column_names}


def measured(folder: Path, source: Source, form: Format) -> tuple[list[np.ndarray], np.ndarray]:
    """Distinct shapes and the time of each: for a bf16 GEMM the engines' median, else the least."""
    shapes, times, tables = [], [], []
    for number, columns in enumerate(_tables(folder, source.table)):
        keep = source.keep(columns, form)
        numbers = {n: c[keep].astype(float) for n, c in columns.items() if c.dtype.kind in "if"}
        if keep.any():
            shapes.append(np.stack(source.sizes(numbers), axis=1))
            times.append(numbers["latency"] * 1e-3)
            tables.append(np.full(keep.sum(), number))
    if not times:
        return [], np.zeros(0)
    points, index = np.unique(np.concatenate(shapes), axis=0, return_inverse=True)
    every, index = np.concatenate(times), index.ravel()
    order = np.lexsort((every, index))
    starts = np.searchsorted(index[order], np.arange(len(points) + 1))
    middle = source.work is s.gemm_work and form is Format.BF16
    pick = starts[:-1] + ((starts[1:] - starts[:-1] - 1) // 2 if middle else 0)
    seen = np.unique(np.stack([index, np.concatenate(tables)]), axis=1)[0]
    enough = np.bincount(seen) >= source.engines
    if enough.sum() < _ENOUGH:
        enough[:] = True
    return list(points[enough].T), every[order][pick][enough]


def _roofline(
    source: Source, sizes: list[np.ndarray], form: Format, rates: dict[str, float]
) -> np.ndarray:
    grouped = source.work in (s.gemm_work, s.grouped_gemm_work)
    flops, moved = source.work(*sizes, form=form) if grouped else source.work(*sizes)
    peak = rates["fp8" if form is Format.FP8_BLOCK else str(form)]
    return np.hypot(flops / peak, moved / rates["memory"])


def fit(source: Source, sizes: list[np.ndarray], log: np.ndarray) -> np.ndarray:
    """The grid whose interpolation meets ``log``, with the least bends between the points."""
    axes = [np.log2(np.array(axis)) for axis in source.nodes]
    weights = _weights(axes, source.spots(sizes))
    bends = source.bend * _bends([len(axis) for axis in axes])
    grid = np.full(weights.shape[1], np.median(log))
    for _ in range(3):
        # weights 1/|error| turn squares into absolute errors, so that a bad timing pulls little
        trust = sparse.diags(1 / np.maximum(np.abs(weights @ grid - log), 0.03))
        matrix = weights.T @ trust @ weights + bends + 1e-7 * sparse.eye(weights.shape[1])
        scale = sparse.diags(1 / matrix.diagonal())
        grid, _ = cg(matrix, weights.T @ trust @ log, x0=grid, rtol=1e-4, maxiter=300, M=scale)
    return grid.reshape([len(axis) for axis in axes])


def _weights(axes: list[np.ndarray], spots: list[np.ndarray]) -> sparse.csr_matrix:
    """Interpolation as a matrix: rows points, columns nodes."""
    shape, points = [len(axis) for axis in axes], np.arange(len(spots[0]))
    columns, values = np.zeros((1, len(points)), dtype=int), np.ones((1, len(points)))
    for axis, spot, length in zip(axes, spots, shape, strict=True):
        log = np.clip(np.log2(spot), axis[0], axis[-1])
        node = np.clip(np.searchsorted(axis, log, side="right") - 1, 0, length - 2)
        share = (log - axis[node]) / (axis[node + 1] - axis[node])
        columns = np.concatenate([columns * length + node, columns * length + node + 1])
        values = np.concatenate([values * (1 - share), values * share])
    at = np.broadcast_to(points, columns.shape).ravel()
    return sparse.csr_matrix(
        (values.ravel(), (at, columns.ravel())), (len(points), int(np.prod(shape)))
    )


def _bends(shape: list[int]) -> sparse.csr_matrix:
    """Sum over axes of the squared second differences, and a little of the first."""
    total = sparse.csr_matrix((int(np.prod(shape)),) * 2)
    for axis, length in enumerate(shape):
        first = sparse.diags([-1.0, 1.0], [0, 1], (length - 1, length))
        second = (
            sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], (length - 2, length)) if length > 2 else first
        )
        both = second.T @ second + 0.02 * first.T @ first
        before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
        total = total + sparse.kron(sparse.kron(sparse.eye(before), both), sparse.eye(after))
    return sparse.csr_matrix(total)


def left_out(source: Source, sizes: list[np.ndarray], log: np.ndarray) -> tuple[float, float]:
    """Median and 90th percentile of the error on a fifth of the shapes, left out whole."""
    keys = np.stack(source.group(sizes), axis=1)
    _, index = np.unique(keys, axis=0, return_inverse=True)
    out = np.random.default_rng(1).random(index.max() + 1)[index.ravel()] < 0.2
    grid = fit(source, [x[~out] for x in sizes], log[~out])
    axes = [np.log2(np.array(axis)) for axis in source.nodes]
    guess = _weights(axes, source.spots([x[out] for x in sizes])) @ grid.ravel()
    error = np.abs(np.expm1(guess - log[out]))
    return float(np.median(error)), float(np.percentile(error, 90))


def _fixture(sizes: list[np.ndarray], part: str) -> np.ndarray:
    """Eight points per surface, for the tests; never in a fit."""
    chosen = np.random.default_rng(len(sizes[0]) + len(part)).choice(
        len(sizes[0]), 8, replace=False
    )
    return np.isin(np.arange(len(sizes[0])), chosen)


def _rows(title: str, sizes: list[np.ndarray], time_s: np.ndarray) -> list[str]:
    texts = [" ".join(f"{size:.10g}" for size in point) for point in np.stack(sizes, axis=1)]
    return [f"{title},{text},{t:.6g}" for text, t in zip(texts, time_s, strict=True)]


def collectives(folder: Path, part: str, link: float) -> dict[str, np.ndarray]:
    """Corrections by operation, bytes (512 B to 512 MiB) and ranks (2, 4, 8), and latencies."""
    logs, latency_s = np.full((4, 21, 3), np.nan), np.full((4, 3), np.nan)
    tables = [c for c in _tables(folder, "comm/nccl/*/nccl_perf") if "op_name" in c]
    for row, op in enumerate(s.Collective):
        for column, ranks in enumerate((2, 4, 8)):
            times = _nccl_times(tables, op, ranks)
            if not times:
                continue
            small = latency_s[row, column] = min(times.values())
            for power, time_s in times.items():
                bus = float(s.bus_bytes(op, np.float64(2.0**power), np.float64(ranks)))
                logs[row, power - 9, column] = np.log(time_s / (small + bus / link))
    for column in (1, 2):  # where 8 were not measured, the last number holds
        hole = np.isnan(logs[:, :, column])
        logs[:, :, column][hole] = logs[:, :, column - 1][hole]
        gap = np.isnan(latency_s[:, column])
        latency_s[:, column][gap] = latency_s[:, column - 1][gap]
    return {
        f"nccl.{part}": _steps(logs),
        f"nccl_latency_s.{part}": latency_s,
    }


def _nccl_times(tables: list[Columns], op: s.Collective, ranks: int) -> dict[int, float]:
    """Median time by log2 of bytes, 512 B up; message sizes are in elements."""
    found: dict[int, list[float]] = {}
    for c in tables:
        mine = (c["num_gpus"] == ranks) & np.isin(
            c["op_name"], [k for k, v in OPS.items() if v == op]
        )
        for kind, size, ms in zip(
            c["nccl_dtype"][mine], c["message_size"][mine], c["latency"][mine], strict=True
        ):
            found.setdefault(round(np.log2(size * _WIDTH_BYTES[kind])), []).append(ms * 1e-3)
    return {
        power: float(np.median(times)) for power, times in sorted(found.items()) if 9 <= power <= 29
    }


def _installed() -> Path:
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "aiconfigurator-core is not installed: give its folder, "
            "or pip install 'gigafactory[kernels]'"
        )
    return Path(spec.origin).parent


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _installed())
