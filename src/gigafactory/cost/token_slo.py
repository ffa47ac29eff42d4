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
from gigafactory.cost.token_batching import (
    ServingPoint,
    at_pace,
    most_decoding,
    prompts_only,
    serving_points,
    steps_decoded,
)
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


def tail_ttft_of_loop_s(at: Deployment, traffic: Traffic, point: ServingPoint) -> Floats:
    """99th percentile of the time to the first token of a closed loop that starts all at once.

    The clients of the first round queue with all their prompts; later ones come one by one.
    """
    filled = prompts_only(at, traffic).requests_per_s
    first = at.constants.first_round_share * point.concurrency / filled
    return np.asarray(np.maximum(tail_ttft_s(at, point), first))


def loaded_under(
    at: Deployment, traffic: Traffic, slo: Slo, *, requests_per_s: float
) -> ServingPoint:
    """A service turned up to its limits that answers ``requests_per_s``.

    As many requests at once as random arrivals let the memory hold, unless TPOT, which follows
    from that number and the rate by Little's law, would then break its limit.
    """
    c = at.constants
    decoding = most_decoding(at, traffic) * c.server_fraction
    if slo.tpot_s is not None:
        step = slo.tpot_s / c.tpot_tail * traffic.tokens_per_step
        decoding = min(decoding, steps_decoded(traffic) * requests_per_s * step)
    return at_pace(at, traffic, requests_per_s=requests_per_s, decoding=decoding)


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
