"""Layouts as columns: one integer array per axis, so that a search is one call.

Legend (the letters used in the bodies of cost/)::

    tp pp vpp cp dp ep etp   sizes of the axes of the mesh, see describe.layout
    b                        micro_batch, sequences in a microbatch of a data-parallel rank
    recompute, sharding, schedule   codes: the position in ``list(Recompute)``, ...
    shard                    ranks of dp*cp that share state under hsdp; 0 = all
    recompute_layers         layers of a virtual stage that full recompute repeats; 0 = all
    offload                  1 where optimizer state and step live on the host

Most of what a layout costs depends on a few of its columns. ``distinct`` finds the rows that differ
in those, so that an equation is evaluated once for each and gathered for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Layout, Recompute, Schedule, Sharding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RECOMPUTES = list(Recompute)
SHARDINGS = list(Sharding)
SCHEDULES = list(Schedule)


#: Columns with a code instead of a size, and what the codes stand for.
_CODES: Mapping[str, Sequence[StrEnum]] = {
    "recompute": RECOMPUTES,
    "sharding": SHARDINGS,
    "schedule": SCHEDULES,
}


@dataclass(frozen=True)
class Columns:
    """Layouts of one study side by side; every field has shape (num_layouts,).

    The last four may be left out: plain 1F1B, state shared by all, every layer, on the GPU.
    """

    tp: Ints
    pp: Ints
    vpp: Ints
    cp: Ints
    dp: Ints
    ep: Ints
    etp: Ints
    micro_batch: Ints
    recompute: Ints
    sharding: Ints
    schedule: Ints = field(default_factory=lambda: _LEFT_OUT)
    shard: Ints = field(default_factory=lambda: _LEFT_OUT)
    recompute_layers: Ints = field(default_factory=lambda: _LEFT_OUT)
    offload: Ints = field(default_factory=lambda: _LEFT_OUT)

    def __post_init__(self) -> None:
        for name in ("schedule", "shard", "recompute_layers", "offload"):
            if getattr(self, name) is _LEFT_OUT:
                object.__setattr__(self, name, np.zeros(len(self), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def num_gpus(self) -> Ints:
        """Ranks in each mesh."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def sharing(self) -> Ints:
        """Ranks that share one copy of the dense state, where the sharding shares any."""
        replicas = self.dp * self.cp
        return np.where(self.shard > 0, self.shard, replicas)

    def take(self, chosen: Ints | Bools | slice) -> Columns:
        """The layouts that ``chosen`` (indices, a mask or a slice) points at."""
        return Columns(**{name: getattr(self, name)[chosen] for name in AXES})

    def recomputes(self, kind: Recompute) -> Bools:
        """Which layouts recompute activations in this way."""
        return np.asarray(self.recompute == RECOMPUTES.index(kind))

    def shards(self, *kinds: Sharding) -> Bools:
        """Which layouts share state out in one of these ways."""
        return _among(self.sharding, [SHARDINGS.index(kind) for kind in kinds])

    def runs(self, *kinds: Schedule) -> Bools:
        """Which layouts run one of these schedules."""
        return _among(self.schedule, [SCHEDULES.index(kind) for kind in kinds])

    def layout(self, index: int, *, precision: Precision) -> Layout:
        """Row ``index`` as the specification."""
        sizes = {name: int(getattr(self, name)[index]) for name in AXES}
        named = {name: kinds[sizes[name]] for name, kinds in _CODES.items()}
        offload = bool(sizes["offload"])
        return Layout.model_validate(sizes | named | {"offload": offload, "precision": precision})


_LEFT_OUT: Ints = np.zeros(0, dtype=np.int64)
#: Names of all columns, in order.
AXES = tuple(f.name for f in fields(Columns))


def _among(column: Ints, codes: list[int]) -> Bools:
    found = column == codes[0]
    for code in codes[1:]:
        found = found | (column == code)
    return np.asarray(found)


def columns_of(*layouts: Layout) -> Columns:
    """Specifications as columns, in the order given."""

    def column(name: str) -> Ints:
        values = [getattr(layout, name) for layout in layouts]
        if name in _CODES:
            values = [_CODES[name].index(value) for value in values]
        return np.array(values, dtype=np.int64)

    return Columns(**{name: column(name) for name in AXES})


def num_microbatches(columns: Columns, *, global_batch: int) -> Floats:
    """Microbatches of one data-parallel rank in a step; shape (num_layouts,)."""
    return np.asarray(global_batch / (columns.dp * columns.micro_batch), dtype=np.float64)


def distinct(columns: Columns, *, names: tuple[str, ...]) -> tuple[Columns, Ints]:
    """(one row for each combination of the columns ``names``, which of them each row is).

    ``f(columns)`` equals ``f(rows)[which]`` for every f that reads no other columns. Neighbours
    that agree are merged before anything is sorted, so rows in a sensible order cost one pass.
    """
    if not len(columns):
        return columns, np.zeros(0, dtype=np.int64)
    keys = [getattr(columns, name) for name in names]
    begins = np.zeros(len(columns), dtype=np.bool_)
    begins[0] = True
    for key in keys:
        begins[1:] |= key[1:] != key[:-1]
    heads = np.flatnonzero(begins)
    run = np.cumsum(begins) - 1
    table = np.stack([key[heads] for key in keys], axis=1).astype(np.int64)
    code = np.zeros(len(heads), dtype=np.int64)
    for key in table.T:
        _, place = np.unique(key, return_inverse=True)
        # renumbered after each column, so that the code never overflows
        _, code = np.unique(code * (int(place.max()) + 1) + place, return_inverse=True)
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return columns.take(heads[first]), which.astype(np.int64)[run]
