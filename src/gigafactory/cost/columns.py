"""Layouts as columns: one integer array per axis, so that a search is one call.

Legend (the letters used in the bodies of cost/)::

    tp pp vpp cp dp ep etp   sizes of the axes of the mesh, see describe.layout
    b                        micro_batch, sequences in a microbatch of a data-parallel rank
    recompute, sharding      codes: the position in ``list(Recompute)``, ``list(Sharding)``
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Layout, Recompute, Sharding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RECOMPUTES = list(Recompute)
SHARDINGS = list(Sharding)


@dataclass(frozen=True)
class Columns:
    """Layouts of one study side by side; every field has shape (num_layouts,)."""

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

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def num_gpus(self) -> Ints:
        """Ranks in each mesh."""
        return self.tp * self.pp * self.cp * self.dp

    def take(self, chosen: Ints | Bools | slice) -> Columns:
        """The layouts that ``chosen`` (indices, a mask or a slice) points at."""
        return Columns(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def recomputes(self, kind: Recompute) -> Bools:
        """Which layouts recompute activations in this way."""
        return np.asarray(self.recompute == RECOMPUTES.index(kind))

    def shards(self, kind: Sharding) -> Bools:
        """Which layouts share state out in this way."""
        return np.asarray(self.sharding == SHARDINGS.index(kind))

    def layout(self, index: int, *, precision: Precision) -> Layout:
        """Row ``index`` as the specification."""
        sizes = {f.name: int(getattr(self, f.name)[index]) for f in fields(self)}
        return Layout.model_validate(
            sizes
            | {
                "recompute": RECOMPUTES[sizes["recompute"]],
                "sharding": SHARDINGS[sizes["sharding"]],
                "precision": precision,
            }
        )


def columns_of(*layouts: Layout) -> Columns:
    """Specifications as columns, in the order given."""

    def column(name: str) -> Ints:
        return np.array([getattr(layout, name) for layout in layouts], dtype=np.int64)

    sizes = {f.name: column(f.name) for f in fields(Columns)[:8]}
    return Columns(
        **sizes,
        recompute=np.array([RECOMPUTES.index(x.recompute) for x in layouts], dtype=np.int64),
        sharding=np.array([SHARDINGS.index(x.sharding) for x in layouts], dtype=np.int64),
    )


def num_microbatches(columns: Columns, *, global_batch: int) -> Floats:
    """Microbatches of one data-parallel rank in a step; shape (num_layouts,)."""
    return np.asarray(global_batch / (columns.dp * columns.micro_batch), dtype=np.float64)
