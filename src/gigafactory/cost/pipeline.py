"""The pipeline: how layers fall on stages, the bubble, and microbatches in flight.

Legend: p ranks, v virtual stages a rank, M microbatches, L layers. F, B, W are times of a
microbatch on the layers of a mean rank: forward, whole backward, and of that the gradients of the
weights. T = F + B; F&B = a forward and a backward of two microbatches beside each other.

    schedule        bubble                          parameters   microbatches alive
    1f1b            (p-1)/v T                       1            p, interleaved p + (p-1)/v
    zero_bubble     (p-1)/v (F + B - 2W)            1            as 1f1b
    dual            (p/2-1) (F&B + B - 3W)          2            p + 1
    dual_v          (p-1)/2 (F&B + B - 3W)          1            p + 1/2

1F1B and interleaving: arXiv:2104.04473 sections 2.2.1 and 2.2.2. Zero bubble: ZB-H1 of
arXiv:2401.10241 table 1, whose T_B is our B - W; each of its (p-1) bubbles is T_F + T_B - T_W.
DualPipe: arXiv:2412.19437 table 2. DualPipeV (github.com/deepseek-ai/DualPipe) is DualPipe over
2p stages on p ranks, so a chunk is half of a rank's layers. With v > 1, zero bubble is interleaved
(what PyTorch runs). No bubble is shorter than nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.columns import Columns, Floats
from gigafactory.describe.layout import Schedule


@dataclass(frozen=True)
class Passes:
    """One microbatch on a mean rank, in seconds; shapes (num_layouts,)."""

    forward_s: Floats
    backward_s: Floats
    """Whole: gradients of inputs and of weights, and what is recomputed."""
    weight_s: Floats
    """Of backward, the gradients of the weights, which may be put off."""

    @property
    def all_s(self) -> Floats:
        """Both directions."""
        return self.forward_s + self.backward_s


def bubble_s(passes: Passes, *, columns: Columns) -> Floats:
    """Idle time of a step; shape (num_layouts,)."""
    p, v = columns.pp, columns.vpp
    whole = passes.all_s
    late = np.where(columns.runs(Schedule.ZERO_BUBBLE), 2 * passes.weight_s, 0.0)
    plain = (p - 1) / v * np.maximum(whole - late, 0.0)
    if not columns.runs(Schedule.DUAL, Schedule.DUAL_V).any():
        return np.asarray(plain)
    unit = np.maximum(whole + passes.backward_s - 3 * passes.weight_s, 0.0)
    dual = np.where(columns.runs(Schedule.DUAL), np.maximum(p / 2 - 1, 0.0), (p - 1) / 2) * unit
    return np.where(columns.runs(Schedule.DUAL, Schedule.DUAL_V), dual, plain)


def parameter_copies(columns: Columns) -> Floats:
    """How often a rank holds its share of the layers: twice under DualPipe."""
    return np.where(columns.runs(Schedule.DUAL), 2.0, 1.0)


def chunks_a_rank(columns: Columns) -> Floats:
    """Pieces of the network on a rank: virtual stages, or the two arms of a dual pipeline."""
    return np.where(columns.runs(Schedule.DUAL, Schedule.DUAL_V), 2.0, columns.vpp)


def layers_of_fullest_stage(columns: Columns, *, num_layers: int) -> Floats:
    """Layers that a microbatch passes on the rank with most of them; whole layers a piece."""
    # DualPipe holds two stages of L/p layers; a microbatch passes one of them
    pieces = np.where(columns.runs(Schedule.DUAL_V), 2, columns.vpp)
    return np.asarray(np.ceil(num_layers / (columns.pp * pieces)) * pieces, dtype=np.float64)


def layers_of_last_stage(columns: Columns, *, num_layers: int) -> Floats:
    """Layers beside the output projection: one less than the fullest where the count is uneven."""
    most = layers_of_fullest_stage(columns, num_layers=num_layers)
    missing = most * columns.pp - num_layers
    return np.asarray(most - np.minimum(missing, 1), dtype=np.float64)


def recomputed_share(columns: Columns, *, num_layers: int) -> Floats:
    """Share of a rank's layers that full recompute repeats, where it is chosen."""
    # each of DualPipe's two stages on a rank has L/p layers
    pieces = np.where(columns.runs(Schedule.DUAL), 1.0, chunks_a_rank(columns))
    here = np.ceil(num_layers / (columns.pp * pieces))
    layers = np.where(columns.recompute_layers > 0, columns.recompute_layers, here)
    return np.asarray(np.minimum(layers / here, 1.0), dtype=np.float64)


def slowest_stage_s(
    layer_s: Floats,
    *,
    head_s: Floats,
    columns: Columns,
    num_layers: int,
    embedding_s: Floats | float = 0.0,
) -> Floats:
    """Time of a microbatch on the slowest rank.

    The last one has the output projection, the first one the input table; under DualPipeV one
    rank has both, under DualPipe the two outer ranks have both, each for half of the microbatches.
    """
    full = layers_of_fullest_stage(columns, num_layers=num_layers) * layer_s
    last = layers_of_last_stage(columns, num_layers=num_layers) * layer_s
    tables = head_s + embedding_s
    ends = np.maximum(full + embedding_s, last + head_s)
    ends = np.where(columns.runs(Schedule.DUAL), np.maximum(full, last + tables / 2), ends)
    both = columns.runs(Schedule.DUAL_V) | (columns.pp == 1)
    return np.where(both, np.maximum(full, last + tables), ends)


def microbatches_in_flight(columns: Columns, *, microbatches: Floats) -> Floats:
    """Microbatches whose activations a rank holds at once, in units of all its layers."""
    p, v = columns.pp, columns.vpp
    alive = np.where(v > 1, p + (p - 1) / v, p)
    if columns.runs(Schedule.DUAL, Schedule.DUAL_V).any():
        alive = np.where(columns.runs(Schedule.DUAL), p + 1, alive)
        alive = np.where(columns.runs(Schedule.DUAL_V), p + 0.5, alive)
    return np.asarray(np.minimum(alive, microbatches), dtype=np.float64)
