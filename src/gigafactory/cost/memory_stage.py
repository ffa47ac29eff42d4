"""What lies on the two ranks of a pipeline that can be the fullest: the first and the last.

Legend
    p v   stages, virtual stages a rank;  L layers, D of them leading dense ones
    k     layers of a virtual stage, ceil(L / (p*v)); chunk j of rank r begins at layer (j*p + r)*k
    M     microbatches of a data-parallel rank

The first rank holds the input table and most microbatches, the last the output projection and the
logits. A tied table lies on both: engines keep a copy and reduce its gradients (arXiv:1909.08053).

Under DualPipe every rank has two stages of L/p layers, i and p-1-i, under DualPipeV two of L/(2p),
i and 2p-1-i: both ends of the network meet on rank 0, and the "last" rank here is an inner one with
neither table. A microbatch passes one of DualPipe's two stages, so half of its layers count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.columns import Bools, Columns, Floats
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.pipeline import (
    layers_of_fullest_stage,
    layers_of_last_stage,
    microbatches_in_flight,
    parameter_copies,
)
from gigafactory.describe.layout import Schedule
from gigafactory.describe.model import Model

#: Ranks of a pipeline that hold a table.
_ENDS = 2


@dataclass(frozen=True)
class Stage:
    """One rank of the pipeline; every field has shape (num_layouts,)."""

    dense_layers: Floats
    moe_layers: Floats
    """Layers that lie here; under DualPipe those of both stages."""
    table_parameters: Floats
    """Input table, output projection and final norm here, before tensor parallelism."""
    in_flight: Floats
    """Microbatches alive at once, in units of all its layers."""
    has_head: Bools

    @property
    def layers(self) -> Floats:
        """All layers of the rank."""
        return self.dense_layers + self.moe_layers


def first_stage(
    model: Model, columns: Columns, *, microbatches: Floats, by_cost: bool = False
) -> Stage:
    """Rank 0 of the pipeline; with one stage, or a dual schedule, it has the head as well.

    Where layers are missing to an even split, the last stage has one less, then the first: the
    tables take their place (Llama 3, arXiv:2407.21783 section 3.3.2).
    """
    p = count_parameters(model)
    most = layers_of_fullest_stage(columns, num_layers=model.num_layers)
    missing = most * columns.pp - model.num_layers
    dual = _dual(columns)
    copies = parameter_copies(columns)
    layers = np.where(dual, copies * most - np.minimum(missing, _ENDS), most - (missing >= _ENDS))
    if by_cost:
        layers = np.where(dual, layers, _layers_by_cost(model, columns))
    both = dual | (columns.pp == 1)
    tables = p.embedding + np.where(both, p.head + p.final_norm, 0)
    alive = microbatches_in_flight(columns, microbatches=microbatches)
    return _stage(
        model, columns, layers, rank=np.zeros(len(columns)), tables=tables,
        in_flight=alive / copies, has_head=both,
    )  # fmt: skip


def second_stage(model: Model, columns: Columns, *, microbatches: Floats) -> Stage:
    """Rank 1: no table, and fewer microbatches, but all the layers that a rank can have."""
    layers = layers_of_fullest_stage(columns, num_layers=model.num_layers)
    p, v = columns.pp, columns.vpp
    alive = np.where(v > 1, p + (p - 3) / v, p - 1)
    alive = np.where(columns.runs(Schedule.ZERO_BUBBLE), _all_in_flight(columns), alive)
    # under a dual schedule the inner ranks are told by ``last_stage``
    middle = (p > _ENDS) & ~_dual(columns)
    return _stage(
        model, columns, np.where(middle, layers, 0.0), rank=np.ones(len(columns)),
        tables=np.zeros(len(columns)),
        in_flight=np.minimum(np.maximum(alive, 1.0), microbatches),
        has_head=np.zeros(len(columns), dtype=np.bool_),
    )  # fmt: skip


def last_stage(
    model: Model, columns: Columns, *, microbatches: Floats, by_cost: bool = False
) -> Stage:
    """Rank p-1; the same rank as the first where there is one stage.

    Zero bubble puts gradients of weights off until every rank holds as many microbatches as the
    first (ZB-H1, arXiv:2401.10241 section 2.3).
    """
    p = count_parameters(model)
    layers = layers_of_last_stage(columns, num_layers=model.num_layers)
    if by_cost:
        before = (columns.pp - 1) * _layers_by_cost(model, columns)
        layers = np.maximum(model.num_layers - before, 0.0)
    head = p.head or p.embedding
    tables = np.where(columns.pp == 1, p.embedding + p.head, head) + p.final_norm
    # before its first backward, the last rank has gone through all its chunks but one (p+1 of them)
    alive = np.where(columns.vpp > 1, columns.pp * (columns.vpp - 1) + 1, 1) / columns.vpp
    alive = np.where(columns.runs(Schedule.ZERO_BUBBLE), _all_in_flight(columns), alive)
    in_flight = np.minimum(np.maximum(alive, 1.0), np.maximum(microbatches, 1.0))
    dual = _dual(columns)
    if dual.any():
        copies = parameter_copies(columns)
        most = layers_of_fullest_stage(columns, num_layers=model.num_layers)
        # of two ranks under DualPipe both are ends, and the first tells what they hold
        inner = (columns.pp > _ENDS) | ~columns.runs(Schedule.DUAL)
        layers = np.where(dual, inner * copies * most, layers)
        tables = np.where(dual, 0.0, tables)
        alive = microbatches_in_flight(columns, microbatches=microbatches)
        in_flight = np.where(dual, alive / copies, in_flight)
    return _stage(
        model, columns, layers, rank=np.where(dual, 1.0, columns.pp - 1.0), tables=tables,
        in_flight=in_flight, has_head=~dual,
    )  # fmt: skip


def _dual(columns: Columns) -> Bools:
    return columns.runs(Schedule.DUAL, Schedule.DUAL_V)


def _all_in_flight(columns: Columns) -> Floats:
    return microbatches_in_flight(columns, microbatches=np.full(len(columns), np.inf))


def _stage(
    model: Model,
    columns: Columns,
    layers: Floats,
    *,
    rank: Floats,
    tables: Floats | float,
    in_flight: Floats,
    has_head: Bools,
) -> Stage:
    dense = _leading_dense(model, columns, layers, rank=rank)
    return Stage(
        dense_layers=dense,
        moe_layers=layers - dense,
        table_parameters=np.asarray(tables, dtype=np.float64),
        in_flight=in_flight,
        has_head=has_head,
    )


def _layers_by_cost(model: Model, columns: Columns) -> Floats:
    """Layers of a rank before the last where the output projection counts as its parameters do."""
    p = count_parameters(model)
    head = p.embedding / ((p.dense_total - p.embedding - p.head) / model.num_layers)
    each = np.ceil((model.num_layers + head) / columns.pp)
    return np.asarray(np.where(columns.pp == 1, model.num_layers, each), dtype=np.float64)


def _leading_dense(model: Model, columns: Columns, layers: Floats, *, rank: Floats) -> Floats:
    """How many of the rank's ``layers`` are among the model's D leading dense ones."""
    if not model.num_moe_layers:
        return layers
    if not model.num_dense_layers:
        return np.zeros(len(columns))
    pieces = np.where(columns.runs(Schedule.DUAL_V), 2, columns.vpp)
    chunk = np.ceil(model.num_layers / (columns.pp * pieces))
    rounds, rest = np.divmod(model.num_dense_layers, columns.pp * chunk)
    here = rounds * chunk + np.clip(rest - rank * chunk, 0.0, chunk)
    return np.asarray(np.minimum(here, layers), dtype=np.float64)
