"""The pipeline: how layers fall on stages, the bubble, and microbatches in flight.

Legend: p stages, v virtual stages a rank, M microbatches, L layers, T time of a microbatch
(forward and backward) on a mean stage.

1F1B idles (p-1)*T a step; interleaving v virtual stages divides that by v (arXiv:2104.04473
sections 2.2.1 and 2.2.2). The first stage keeps min(p, M) microbatches alive, with interleaving
p*(1 + (p-1)/(p*v)) of them.
"""

from __future__ import annotations

import numpy as np

from gigafactory.cost.columns import Columns, Floats


def bubble_s(microbatch_s: Floats, *, columns: Columns) -> Floats:
    """Idle time of a step; shape (num_layouts,)."""
    return microbatch_s * (columns.pp - 1) / columns.vpp


def layers_of_fullest_stage(columns: Columns, *, num_layers: int) -> Floats:
    """Layers on the rank with most of them; whole layers a virtual stage."""
    stages = columns.pp * columns.vpp
    return np.asarray(np.ceil(num_layers / stages) * columns.vpp, dtype=np.float64)


def layers_of_last_stage(columns: Columns, *, num_layers: int) -> Floats:
    """Layers beside the output projection: one less than the fullest where the count is uneven."""
    most = layers_of_fullest_stage(columns, num_layers=num_layers)
    missing = most * columns.pp - num_layers
    return np.asarray(most - np.minimum(missing, 1), dtype=np.float64)


def slowest_stage_s(
    layer_s: Floats, *, head_s: Floats, columns: Columns, num_layers: int
) -> Floats:
    """Time of a microbatch on the slowest stage: a full one, or the last with the projection."""
    full = layers_of_fullest_stage(columns, num_layers=num_layers) * layer_s
    last = layers_of_last_stage(columns, num_layers=num_layers) * layer_s + head_s
    return np.maximum(full, last)


def microbatches_in_flight(columns: Columns, *, microbatches: Floats) -> Floats:
    """Microbatches whose activations the first stage holds at once, in units of all its layers."""
    p, v = columns.pp, columns.vpp
    alive = np.where(v > 1, p + (p - 1) / v, p)
    return np.asarray(np.minimum(alive, microbatches), dtype=np.float64)
