"""The step of our own training program on a machine that was measured, piece by piece.

Legend
    t     tokens of a microbatch;  h hidden;  f width of an expert;  V vocabulary;  L layers
    M     microbatches of a rank;  n ranks;  N parameters;  K parameter tensors

The program runs kernel after kernel (no compiler, no overlap that was measured), so its step is
the sum of its pieces: calls times seconds a call, and numbers, FLOPs, bytes times seconds of each.
Nothing is fitted to whole steps; `giga calibrate` measures the pieces, see cost.measured.

    step = M*(L*layer + head + embedding) + (M-1)*adding gradients + gradients + optimizer + step

All calls of python and dispatch are shown together as ``host_s``. A ring of n ranks moves
2(n-1)/n of the gradients; the ranks were measured together, so what they share is shared.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from gigafactory.cost.columns import Bools, Columns, Floats, num_microbatches
from gigafactory.cost.flops import tokens_per_rank
from gigafactory.cost.measured import piece_s
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.step import Breakdown
from gigafactory.describe.job import Job
from gigafactory.describe.layout import Recompute, Sharding
from gigafactory.describe.measured import Measured, Piece, Pieces, Unit
from gigafactory.describe.model import Block, Model

#: Parameter tensors: norms, projections, router, stacked experts of a layer; embedding, last norm.
_TENSORS_A_LAYER, _TENSORS_BESIDE = 12, 2
#: Rows of an expert are rounded up to this many, half of it on average.
_ROW_UNIT = 32
_FP32_BYTES = 4.0

Work = dict[Unit, Floats | float]


@dataclass(frozen=True)
class _Sum:
    """Seconds of pieces, what their calls cost kept apart."""

    work_s: Floats
    calls_s: Floats


def is_measured(model: Model, job: Job, measured: Measured) -> bool:
    """Whether the program's step can be composed: its network, its formats."""
    pieces = measured.formats.get(job.precision, {})
    return model.block is Block.GROK1 and Piece.LINEAR in pieces


def runs_eagerly(columns: Columns) -> Bools:
    """Which layouts can be composed of what was measured: data parallel ones; (num_layouts,)."""
    alone = (columns.tp * columns.pp * columns.cp * columns.ep * columns.etp == 1) & (
        columns.vpp == 1
    )
    return np.asarray(alone & columns.recomputes(Recompute.NONE))


def eager_step(model: Model, job: Job, columns: Columns, *, measured: Measured) -> Breakdown:
    """The step of every layout; ValueError where one of them has other axes."""
    if not np.all(runs_eagerly(columns)):
        raise ValueError("only data parallel layouts are composed of measured pieces; use dp alone")
    in_format = measured.formats[job.precision]
    t = tokens_per_rank(columns, seq_len=job.seq_len)
    count = num_microbatches(columns, global_batch=job.global_batch)
    layers = {
        name: _add(in_format, works, times=count * model.num_layers)
        for name, works in _layer(model, t, seq_len=job.seq_len).items()
    }
    head = _add(in_format, _head(model, t), times=count)
    table = _add(measured.alone, _embedding(model, t), times=count)
    update = _optimizer(model, columns, measured)
    moved = _gradients(model, columns, measured)
    steps = _add(measured.alone, [(Piece.STEP, {Unit.CALL: 1.0})], times=np.ones(len(columns)))
    summed = _accumulation(model, measured, count)
    parts = {
        "gemm_s": layers["gemm_s"].work_s,
        "attention_s": layers["attention_s"].work_s,
        "kernels_s": layers["kernels_s"].work_s + table.work_s + summed,
        "head_s": head.work_s,
        "dp_comm_s": moved,
        "optimizer_s": update.work_s,
        "host_s": sum(
            (part.calls_s for part in (*layers.values(), head, table, update, steps)),
            np.zeros(len(columns)),
        ),
    }
    nothing = np.zeros(len(columns))
    return Breakdown(**{f.name: parts.get(f.name, nothing) for f in fields(Breakdown)})


def _add(pieces: Pieces, works: list[tuple[Piece, Work]], *, times: Floats) -> _Sum:
    calls = sum(
        (piece_s(pieces, piece, {Unit.CALL: work[Unit.CALL]}) for piece, work in works),
        np.zeros(1),
    )
    whole = sum((piece_s(pieces, piece, work) for piece, work in works), np.zeros(1))
    return _Sum(work_s=np.asarray((whole - calls) * times), calls_s=np.asarray(calls * times))


def _layer(model: Model, t: Floats, *, seq_len: int) -> dict[str, list[tuple[Piece, Work]]]:
    """One layer and microbatch, both directions, by part of the breakdown."""
    h, d, heads, kv = model.hidden, model.head_dim, model.num_heads, model.num_kv_heads
    rows = t * model.topk + model.num_experts * _ROW_UNIT / 2
    scores = t * heads * seq_len
    rotated: list[Work] = [{Unit.CALL: 1.0, Unit.ELEMENT: t * count * d} for count in (heads, kv)]
    return {
        "gemm_s": [
            *((Piece.LINEAR, _linear(t, n, k)) for n, k in _projections(model)),
            *((Piece.GROUPED, _grouped(model, rows)) for _ in range(3)),
        ],
        "attention_s": [
            (
                Piece.ATTENTION,
                {Unit.CALL: 1.0, Unit.ELEMENT: scores, Unit.SCORE_WIDTH: scores * 2 * d},
            ),
            *((Piece.ROTARY, work) for work in rotated),
        ],
        "kernels_s": [
            # before and behind each half
            (Piece.NORMS, {Unit.CALL: 2.0, Unit.ELEMENT: 2 * t * h}),
            (Piece.GATE, {Unit.CALL: 1.0, Unit.ELEMENT: rows * model.moe_ffn}),
            (Piece.ROUTE, {Unit.CALL: 1.0, Unit.ELEMENT: t * model.topk * h}),
        ],
    }


def _projections(model: Model) -> list[tuple[int, int]]:
    """(n, k) of query, key, value and output."""
    h, q, kv = model.hidden, model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    return [(q, h), (kv, h), (kv, h), (h, q)]


def _linear(m: Floats, n: int, k: int) -> Work:
    return {
        Unit.CALL: 1.0,
        Unit.FLOP: 6.0 * m * n * k,
        Unit.ELEMENT: m * (n + k),
        Unit.WEIGHT: float(n * k),
    }


def _grouped(model: Model, rows: Floats) -> Work:
    n, k = model.moe_ffn, model.hidden
    return {
        Unit.CALL: 1.0,
        Unit.GROUP: float(model.num_experts),
        Unit.FLOP: 6.0 * rows * n * k,
        Unit.WEIGHT: float(model.num_experts * n * k),
    }


def _head(model: Model, t: Floats) -> list[tuple[Piece, Work]]:
    return [
        # the last norm has no second and no residual
        (Piece.NORMS, {Unit.CALL: 0.5, Unit.ELEMENT: t * model.hidden / 2}),
        (Piece.LINEAR, _linear(t, model.vocab, model.hidden)),
        (Piece.LOSS, {Unit.CALL: 1.0, Unit.ELEMENT: t * model.vocab}),
    ]


def _embedding(model: Model, t: Floats) -> list[tuple[Piece, Work]]:
    touched = (t + model.vocab) * model.hidden
    return [(Piece.EMBEDDING, {Unit.CALL: 1.0, Unit.ELEMENT: touched})]


def num_tensors(model: Model) -> int:
    """Parameter tensors of the network, which the optimizer and the gradients go through."""
    return model.num_layers * _TENSORS_A_LAYER + _TENSORS_BESIDE


def _optimizer(model: Model, columns: Columns, measured: Measured) -> _Sum:
    """Every rank updates all parameters, or its share of them."""
    shared = ~columns.shards(Sharding.NONE)
    share = np.where(shared, 1.0 / columns.dp, 1.0)
    work: Work = {
        Unit.CALL: num_tensors(model) * share,
        Unit.WEIGHT: count_parameters(model).total * share,
    }
    return _add(measured.alone, [(Piece.OPTIMIZER, work)], times=np.ones(len(columns)))


def _accumulation(model: Model, measured: Measured, count: Floats) -> Floats:
    """Adding the gradients of a microbatch to those before it: two reads and a write."""
    moved = 3 * _FP32_BYTES * count_parameters(model).total
    once = piece_s(measured.alone, Piece.STREAM, {Unit.BYTE: moved})
    return np.asarray((count - 1) * once)


def _gradients(model: Model, columns: Columns, measured: Measured) -> Floats:
    """Summing gradients, and what ZeRO-1 and FSDP send besides; zero for one rank."""
    if not measured.together:
        return np.zeros(len(columns))
    n = columns.dp.astype(np.float64)
    total = count_parameters(model).total
    alike = piece_s(
        measured.together,
        Piece.GRADIENTS,
        {Unit.CALL: float(num_tensors(model)), Unit.WEIGHT: 2 * (n - 1) / n * total},
    )
    through = (n - 1) / n * total * _FP32_BYTES
    gather = piece_s(measured.together, Piece.ALL_GATHER, {Unit.BYTE: through, Unit.HOP: n - 1})
    scatter = piece_s(
        measured.together, Piece.REDUCE_SCATTER, {Unit.BYTE: through, Unit.HOP: n - 1}
    )
    sharded = np.where(columns.shards(Sharding.FSDP), 2 * gather + scatter, alike)
    sent = np.where(columns.shards(Sharding.ZERO1), alike + gather, sharded)
    return np.where(n > 1, sent, 0.0)
