"""Serving at one point: a model on GPUs under a load, and the cheapest load under limits.

Legend
    a replica is tp * dp * pp GPUs;  loads are per replica
    disaggregated: x replicas fill caches, y decode; the slower side sets the rate, x R_p = y R_d

The door to the equations of serving: `token_step` (one step), `token_batching` (steady states),
`token_slo` (limits), `token_memory` (what fits). Disaggregation: arXiv:2401.09670 and
arXiv:2311.18677.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.token_batching import (
    ServingPoint,
    at_concurrency,
    at_rate,
    prompts_only,
    saturated,
    serving_points,
)
from gigafactory.cost.token_constants import ServingCalibration, published_serving
from gigafactory.cost.token_memory import kept_bytes, most_requests
from gigafactory.cost.token_slo import best_under, usd_per_million_tokens
from gigafactory.cost.token_step import Deployment, Work, deployment, token_step
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Slo, Traffic


def serve_point(
    model: Model,
    *,
    gpu: Gpu,
    replica: Replica,
    traffic: Traffic,
    concurrency: float | None = None,
    requests_per_s: float | None = None,
    constants: ServingCalibration | None = None,
) -> ServingPoint:
    """The steady state of one replica, shapes (1,).

    Under ``concurrency`` clients in a closed loop, or under ``requests_per_s`` arriving at random;
    with neither, everything queued. ValueError where the model does not fit or both are given.
    """
    if concurrency is not None and requests_per_s is not None:
        raise ValueError("give concurrency or requests_per_s, not both")
    at = deployment(model, gpu, replica, constants=constants or published_serving())
    if concurrency is not None:
        return at_concurrency(at, traffic, concurrency=concurrency)
    if requests_per_s is not None:
        return at_rate(at, traffic, requests_per_s=requests_per_s)
    return saturated(at, traffic)


def best_point(
    model: Model,
    *,
    gpu: Gpu,
    replica: Replica,
    traffic: Traffic,
    slo: Slo,
    constants: ServingCalibration | None = None,
) -> ServingPoint | None:
    """The load with most tokens a second that keeps ``slo``; None where no load does."""
    at = deployment(model, gpu, replica, constants=constants or published_serving())
    return best_under(at, traffic, slo)


def cost_usd_per_million_tokens(
    model: Model,
    *,
    gpu: Gpu,
    replica: Replica,
    traffic: Traffic,
    slo: Slo,
    gpu_usd_per_s: float,
    constants: ServingCalibration | None = None,
) -> float:
    """Price of a million output tokens at the best load under ``slo``; infinite if none does."""
    found = best_point(
        model, gpu=gpu, replica=replica, traffic=traffic, slo=slo, constants=constants
    )
    if found is None:
        return float("inf")
    return float(usd_per_million_tokens(found, gpu_usd_per_s=gpu_usd_per_s)[0])


@dataclass(frozen=True)
class Disaggregated:
    """Replicas that only fill caches beside replicas that only decode."""

    prefill_share: float
    """Share of the GPUs that fills caches, such that both sides keep up."""
    requests_per_s_per_gpu: float
    output_tokens_per_s_per_gpu: float
    ttft_s: float
    """A prompt's time and the transfer of its cache, without queueing."""
    tpot_s: float


def disaggregated(
    model: Model,
    *,
    gpu: Gpu,
    prefill: Replica,
    decode: Replica,
    traffic: Traffic,
    transfer_bytes_per_s: float,
    decoding: float | None = None,
    constants: ServingCalibration | None = None,
) -> Disaggregated:
    """Balance of the two sides. ``decoding``: requests at once on a decode replica, default all
    that fit; ``transfer_bytes_per_s``: rate at which a cache moves from one side to the other."""
    c = constants or published_serving()
    filling = prompts_only(deployment(model, gpu, prefill, constants=c), traffic)
    at = deployment(model, gpu, decode, constants=c)
    b = decoding or most_requests(model, gpu, decode, traffic, constants=c)
    context = traffic.input_tokens + traffic.output_tokens / 2
    none = np.zeros(1)
    verified = 1.0 + traffic.num_draft_tokens
    work = Work(none + b, none + context, none, none, verified=verified)
    drafting = 1 + traffic.num_draft_tokens * traffic.draft_share
    step = float(token_step(at, work).step_s[0]) * drafting
    tpot = step / traffic.tokens_per_step
    decoded = b / (tpot * max(traffic.output_tokens - 1, 1.0)) / decode.num_gpus
    filled = float(filling.requests_per_s[0]) / prefill.num_gpus
    share = decoded / (decoded + filled)
    rate = share * filled
    moved = kept_bytes(model, decode, tokens=traffic.input_tokens, constants=c)
    return Disaggregated(
        prefill_share=share,
        requests_per_s_per_gpu=rate,
        output_tokens_per_s_per_gpu=rate * traffic.output_tokens,
        ttft_s=float(filling.ttft_s[0]) + float(moved) / transfer_bytes_per_s,
        tpot_s=tpot,
    )


__all__ = [
    "Deployment",
    "Disaggregated",
    "ServingPoint",
    "best_point",
    "cost_usd_per_million_tokens",
    "disaggregated",
    "serve_point",
    "serving_points",
]
