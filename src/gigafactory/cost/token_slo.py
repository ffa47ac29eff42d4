"""The best point of a replica under limits on latency, and what a million tokens cost there.

Legend
    the 99th percentile is the mean times a tail factor, one for TTFT, one for TPOT
    $/Mtok = price of the replica a second / tokens a second * 1e6

A service turns the load up until the first limit is met (MLPerf Inference, server scenario, does
the same); the search runs over the number of requests that decode at once.
"""

from __future__ import annotations

import numpy as np

from gigafactory.cost.columns import Floats
from gigafactory.cost.token_batching import ServingPoint, most_decoding, serving_points
from gigafactory.cost.token_step import Deployment
from gigafactory.describe.serving import Slo, Traffic

_GRID = 192
_MILLION = 1e6


def tail_ttft_s(at: Deployment, point: ServingPoint) -> Floats:
    """99th percentile of the time to the first token."""
    return np.asarray(point.ttft_s * at.constants.ttft_tail)


def tail_tpot_s(at: Deployment, point: ServingPoint) -> Floats:
    """99th percentile of the time per token."""
    return np.asarray(point.tpot_s * at.constants.tpot_tail)


def best_under(at: Deployment, traffic: Traffic, slo: Slo) -> ServingPoint | None:
    """The point with most output tokens a second that keeps ``slo``; None where none does.

    Random arrivals leave a service below the steady stream by ``server_fraction``.
    """
    most = max(most_decoding(at, traffic) * at.constants.server_fraction, 1.0)
    points = serving_points(at, traffic, decoding=np.geomspace(min(0.05, most), most, _GRID))
    kept = np.ones(_GRID, dtype=bool)
    if slo.ttft_s is not None:
        kept &= tail_ttft_s(at, points) <= slo.ttft_s
    if slo.tpot_s is not None:
        kept &= tail_tpot_s(at, points) <= slo.tpot_s
    if not kept.any():
        return None
    rates = np.where(kept, points.output_tokens_per_s, -np.inf)
    return points.take(int(np.argmax(rates)))


def usd_per_million_tokens(
    point: ServingPoint, *, gpu_usd_per_s: float, with_input: bool = False
) -> Floats:
    """Price of a million output tokens (or of input and output alike); shape (num_points,)."""
    tokens = point.output_tokens_per_s + (point.input_tokens_per_s if with_input else 0.0)
    return np.asarray(point.num_gpus * gpu_usd_per_s / tokens * _MILLION)
