"""Continuous batching in its steady state: from how many decode at once to rates and latencies.

Legend
    B   requests that decode in a step;  I  prompt tokens that must be computed;  O  output tokens
    n   steps a request decodes, (O - 1)/v, v tokens gained a step
    P = B I / n   prompt tokens that must enter in a mean step, so that as many begin as end
    C   prompt tokens of a step that has any (a chunk);  q = P/C  share of such steps
    T   time of a step

Every step decodes all B requests; a share q of the steps carries C prompt tokens beside them
(arXiv:2309.06180, arXiv:2403.02310). So step = (1 - q) T(B, 0) + q T(B, C), tokens a second are
B v/step, requests a second B/(n step). A step holds at most ``max_num_tokens``, hence
B <= budget/(v + I/n).
The first token waits for half a step, then for its chunks, and, in the share of time spent in
steps with prompts, for the rest of the chunk that is under way, which all that wait then follow.
Little's law joins concurrency, rate and latency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.columns import Floats
from gigafactory.cost.token_memory import most_requests
from gigafactory.cost.token_step import Deployment, Work, token_step
from gigafactory.describe.serving import Replica, Traffic

_GRID = 96


@dataclass(frozen=True)
class ServingPoint:
    """Steady states of one replica; shapes (num_points,)."""

    num_gpus: int
    decoding: Floats
    """Requests that decode at once."""
    concurrency: Floats
    """Requests inside, those included whose prompt waits."""
    step_s: Floats
    ttft_s: Floats
    """Mean time to the first token."""
    tpot_s: Floats
    """Mean time per further token."""
    e2e_s: Floats
    """Mean time of a whole request."""
    requests_per_s: Floats
    input_tokens_per_s: Floats
    """Cached tokens included."""
    output_tokens_per_s: Floats

    @property
    def output_tokens_per_s_per_gpu(self) -> Floats:
        """Output tokens a second over the GPUs of the replica."""
        return self.output_tokens_per_s / self.num_gpus

    def take(self, index: int) -> ServingPoint:
        """One of the points, shapes (1,)."""
        arrays = {k: v[index : index + 1] for k, v in vars(self).items() if k != "num_gpus"}
        return ServingPoint(num_gpus=self.num_gpus, **arrays)


def most_decoding(at: Deployment, traffic: Traffic) -> float:
    """The largest B: by cache, max_batch and tokens of a step; ValueError if none fits."""
    fitting = most_requests(at.model, at.gpu, at.replica, traffic, constants=at.constants)
    fresh, steps = _fresh(traffic), steps_decoded(traffic)
    budget = _budget(at, traffic)
    return min(fitting, budget / (_verified(traffic) + fresh / steps))


def _fresh(traffic: Traffic) -> float:
    return traffic.input_tokens * (1 - traffic.cached_share)


def _verified(traffic: Traffic) -> float:
    return 1.0 + traffic.num_draft_tokens


def steps_decoded(traffic: Traffic) -> float:
    """Steps that a request decodes, n."""
    return max(traffic.output_tokens - 1, 1.0) / traffic.tokens_per_step


def _budget(at: Deployment, traffic: Traffic) -> float:
    """Tokens of a step; without chunks a whole prompt must fit, whatever the setting."""
    replica = at.replica
    told = float(replica.max_num_tokens * replica.dp * replica.pp)
    return told if replica.chunked_prefill else max(told, _fresh(traffic) + _verified(traffic))


def serving_points(at: Deployment, traffic: Traffic, *, decoding: ArrayLike) -> ServingPoint:
    """Steady states in which ``decoding`` requests decode at once."""
    b = np.atleast_1d(np.asarray(decoding, np.float64))
    fresh, steps = _fresh(traffic), steps_decoded(traffic)
    wanted = b * fresh / steps
    space = np.maximum(_budget(at, traffic) - b * _verified(traffic), 1.0)
    # a prompt lies on one dp group; the chunk counts the tokens of all of them
    chunk = np.minimum(np.maximum(fresh * at.replica.dp, wanted), space)
    share = _waiting_share(at, np.minimum(wanted / chunk, 1.0))
    plain, mixed = _step_pair_s(at, traffic, b, chunk)
    step = (1 - share) * plain + share * mixed
    rate = b / (steps * step)
    ttft = _ttft_s(at, fresh * at.replica.dp / chunk, share=share, mixed=mixed, step=step)
    return _point(
        traffic, num_gpus=at.replica.num_gpus, decoding=b, step=step, ttft=ttft, rate=rate
    )


def _point(
    traffic: Traffic, *, num_gpus: int, decoding: Floats, step: Floats, ttft: Floats, rate: Floats
) -> ServingPoint:
    """What follows from the step, the first token and the requests a second."""
    tpot = step / traffic.tokens_per_step
    e2e = ttft + tpot * (traffic.output_tokens - 1)
    return ServingPoint(
        num_gpus=num_gpus,
        decoding=decoding,
        concurrency=rate * e2e,
        step_s=step,
        ttft_s=ttft,
        tpot_s=tpot,
        e2e_s=e2e,
        requests_per_s=rate,
        input_tokens_per_s=rate * traffic.input_tokens,
        output_tokens_per_s=rate * traffic.output_tokens,
    )


def _waiting_share(at: Deployment, share: Floats) -> Floats:
    """Share of the steps that take as long as one with prompts.

    dp groups step together: where prompts come to them at different times, all wait for each.
    """
    apart = 1 - (1 - share) ** at.replica.dp
    return np.asarray(share + at.constants.dp_stall * (apart - share))


def _step_pair_s(
    at: Deployment, traffic: Traffic, b: Floats, chunk: Floats
) -> tuple[Floats, Floats]:
    """Seconds of a step without and with a chunk of prompt tokens, drafting included."""
    context = traffic.input_tokens + traffic.output_tokens / 2
    keys = traffic.input_tokens - _fresh(traffic) / 2
    none = np.zeros_like(b)
    both = Work(
        requests=np.concatenate([b, b]),
        context=np.full(2 * b.size, context),
        prompt_tokens=np.concatenate([none, chunk]),
        prompt_keys=np.full(2 * b.size, keys),
        verified=_verified(traffic),
    )
    times = token_step(at, both).step_s
    times = times * (1 + traffic.num_draft_tokens * traffic.draft_share)
    return times[: b.size], times[b.size :]


def _ttft_s(
    at: Deployment, chunks: Floats, *, share: Floats, mixed: Floats, step: Floats
) -> Floats:
    c = at.constants
    busy = np.minimum(share * mixed / step, 1.0)
    served = np.maximum(chunks, 1.0) * mixed
    # the parts of a prompt enter the pp stages one behind the other, while others follow
    filled = fill_share(at.replica) * mixed
    # prompts that wait enter the next chunk together: half a service passes before it, no more
    queue = c.queue_burst * busy / 2 * served
    together = c.dp_wait_steps * step if at.replica.dp > 1 else 0.0
    return np.asarray(step / 2 + together + served + filled + queue + host_first_token_s(at))


def fill_share(replica: Replica) -> float:
    """Of a step: by how much later than the first the last of pp microbatches is done."""
    return 1 - 1 / replica.pp


def host_first_token_s(at: Deployment) -> float:
    """Host time of a first token, whatever the load."""
    c = at.constants
    return c.host_first_token_s * (c.arm_host_slowdown if at.replica.arm_host else 1.0)


def saturated(at: Deployment, traffic: Traffic) -> ServingPoint:
    """All requests queued from the start: as many at once as fit, over the length of a run."""
    most = most_decoding(at, traffic) * at.constants.batch_fill
    return serving_points(at, traffic, decoding=max(most, 1.0))


def _range(at: Deployment, traffic: Traffic) -> ServingPoint:
    most = max(most_decoding(at, traffic), 1.0)
    return serving_points(at, traffic, decoding=np.geomspace(min(0.05, most), most, _GRID))


def at_concurrency(at: Deployment, traffic: Traffic, *, concurrency: float) -> ServingPoint:
    """A closed loop of ``concurrency`` clients, each sending when it has its answer."""
    points = _range(at, traffic)
    inside = np.maximum.accumulate(points.concurrency)
    decoding = np.interp(concurrency, inside, points.decoding)
    return serving_points(at, traffic, decoding=decoding)


def at_rate(at: Deployment, traffic: Traffic, *, requests_per_s: float) -> ServingPoint:
    """Requests that arrive at random; a rate above what is possible gives the fullest point."""
    points = _range(at, traffic)
    rates = np.maximum.accumulate(points.requests_per_s)
    decoding = np.interp(requests_per_s, rates, points.decoding)
    return serving_points(at, traffic, decoding=decoding)


def at_pace(
    at: Deployment, traffic: Traffic, *, requests_per_s: float, decoding: float
) -> ServingPoint:
    """``decoding`` requests at once that are known to end at ``requests_per_s``.

    Little's law gives their time per token, decoding/(n rate); all times of a step stretch to it.
    """
    point = serving_points(at, traffic, decoding=max(decoding, 1.0))
    step = point.decoding / (steps_decoded(traffic) * requests_per_s)
    stretch = step / point.step_s
    host = host_first_token_s(at)
    ttft = (point.ttft_s - host) * stretch + host
    rate = np.full_like(step, requests_per_s)
    return _point(
        traffic,
        num_gpus=point.num_gpus,
        decoding=point.decoding,
        step=step,
        ttft=ttft,
        rate=rate,
    )


def prompts_only(at: Deployment, traffic: Traffic) -> ServingPoint:
    """A replica that only fills caches (the prefill side of a disaggregated pair), always busy."""
    fresh, cached = _fresh(traffic), traffic.input_tokens - _fresh(traffic)
    # with whole requests queued, steps are full
    chunk = np.atleast_1d(max(_budget(at, traffic), 1.0))
    none = np.zeros_like(chunk)
    keys = cached + fresh / 2
    work = Work(requests=none, context=none, prompt_tokens=chunk, prompt_keys=none + keys)
    step = token_step(at, work).step_s
    rate = chunk / fresh / step
    served = step * np.maximum(fresh / chunk, 1.0)
    return ServingPoint(
        num_gpus=at.replica.num_gpus,
        decoding=none,
        concurrency=rate * served,
        step_s=step,
        ttft_s=served,
        tpot_s=none,
        e2e_s=served,
        requests_per_s=rate,
        input_tokens_per_s=rate * traffic.input_tokens,
        output_tokens_per_s=rate,
    )
