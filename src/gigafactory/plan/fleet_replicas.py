"""What one replica of a fleet bears within its limits: both kinds of work, or one of the two.

Legend
    S  time of a mean prompt on an idle prefill replica;  v  squared variation of that time
    rho  share of the time it computes;  W = rho S (1 + v) / (2 (1 - rho))  mean wait (M/G/1)
    P(wait > t) = rho exp(-rho t / W)

Replicas that do both are loaded as `cost.token_slo.best_under` finds, whose tails are fitted on
published services. A decode replica takes the most requests whose 99th percentile keeps the limit by
the same tail. A prefill replica is a queue with one server (Pollaczek 1930 for the mean wait, its
tail taken as exponential, Kingman 1962); prompts that enter a step together would make it faster.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gigafactory.control.scaling import Role
from gigafactory.cost.token_batching import ServingPoint, host_first_token_s, steps_decoded
from gigafactory.cost.token_constants import published_serving
from gigafactory.cost.token_memory import kept_bytes, kv_room_bytes, most_requests
from gigafactory.cost.token_slo import best_under, tail_tpot_s, tail_ttft_s
from gigafactory.cost.token_step import Deployment, Work, deployment, token_step
from gigafactory.describe.serve import Conversation, FleetStudy
from gigafactory.describe.serving import Replica

#: Tokens of a step that are tried: short steps keep TPOT, long ones compute prompts faster.
_STEP_TOKENS = (512, 1024, 2048, 4096, 8192)
_TAIL = 0.01
_MOST_RUNNING = 512
_HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class ReplicaPlan:
    """One replica of a role, loaded up to its limits."""

    role: Role
    replica: Replica
    requests_per_s: float
    max_running: int
    """Requests at once that its scheduler lets in."""
    num_blocks: int
    """Of keys and values."""
    at_once: float
    """Requests inside at ``requests_per_s``."""
    step_s: float
    ttft_p99_s: float | None
    """None for decode replicas."""
    tpot_p99_s: float | None
    """None for prefill replicas."""
    prompt_share: float
    """Of its computing time, what prompts take."""

    @property
    def num_gpus(self) -> int:
        """GPUs of the replica."""
        return self.replica.num_gpus

    @property
    def gpus_per_request_per_s(self) -> float:
        """GPUs that a request a second costs."""
        return self.num_gpus / self.requests_per_s


def deployed(study: FleetStudy, replica: Replica) -> Deployment:
    """``replica`` on the study's GPUs, by the published constants."""
    gpu = study.cluster.host.gpu
    return deployment(study.model, gpu, replica, constants=published_serving())


def replicas(study: FleetStudy) -> Iterator[Replica]:
    """Every way to lay a replica that is tried; tensor parallel within the scale-up domain."""
    if study.serve.replica is not None:
        yield study.serve.replica
        return
    serve, model = study.serve, study.model
    most = min(study.cluster.host.scaleup_domain_gpus, model.num_heads)
    widths = [2**n for n in range(most.bit_length()) if model.num_heads % 2**n == 0]
    for tp, tokens in itertools.product(widths, _STEP_TOKENS):
        for ep in {1, tp} if model.num_experts and model.num_experts % tp == 0 else {1}:
            yield Replica(
                tp=tp,
                ep=ep,
                precision=serve.precision,
                kv_precision=serve.precision,
                max_num_tokens=tokens,
                max_batch=min(tokens, _MOST_RUNNING),
                runtime=serve.runtime,
                arm_host=study.cluster.host.scaleup_domain_gpus > study.cluster.host.num_gpus,
            )


def whole_replica(study: FleetStudy, replica: Replica) -> ReplicaPlan | None:
    """Prompts and answers; None where no load keeps the limits. ValueError where it cannot be."""
    at, traffic = deployed(study, replica), study.serve.traffic
    point = best_under(at, traffic, study.serve.slo)
    if point is None or float(point.requests_per_s[0]) <= 0:
        return None
    return ReplicaPlan(
        role=Role.WHOLE,
        replica=replica,
        requests_per_s=float(point.requests_per_s[0]),
        max_running=_most_at_once(study, at),
        num_blocks=_num_blocks(study, replica),
        at_once=float(point.concurrency[0]),
        step_s=float(point.step_s[0]),
        ttft_p99_s=float(tail_ttft_s(at, point)[0]),
        tpot_p99_s=float(tail_tpot_s(at, point)[0]),
        prompt_share=_prompt_share(at, study, point),
    )


def decode_replica(study: FleetStudy, replica: Replica) -> ReplicaPlan | None:
    """Answers alone, whose prompts were computed elsewhere; None where not one keeps the limit."""
    at, traffic = deployed(study, replica), study.serve.traffic
    c, limit = at.constants, study.serve.slo.tpot_s or math.inf
    most = most_requests(at.model, at.gpu, replica, traffic, constants=c) * c.server_fraction
    requests = np.geomspace(1, max(most, 1.0), 128)
    step = _decode_step_s(at, requests, study.serve.conversation)
    kept = np.flatnonzero(step * c.tpot_tail <= limit)
    if not len(kept):
        return None
    best = int(kept[-1])
    return ReplicaPlan(
        role=Role.DECODE,
        replica=replica,
        requests_per_s=float(requests[best] / (steps_decoded(traffic) * step[best])),
        max_running=_most_at_once(study, at),
        num_blocks=_num_blocks(study, replica),
        at_once=float(requests[best]),
        step_s=float(step[best]),
        ttft_p99_s=None,
        tpot_p99_s=float(step[best]) * c.tpot_tail,
        prompt_share=0.0,
    )


def prefill_replica(study: FleetStudy, replica: Replica) -> ReplicaPlan | None:
    """Prompts alone; None where even without a queue the limit is broken."""
    at, serve = deployed(study, replica), study.serve
    talk, limit = serve.conversation, serve.slo.ttft_s or math.inf
    mean, variation = fresh_tokens(talk)
    served = _prompt_s(at, mean, talk)
    fixed = host_first_token_s(at) + transfer_s(study, replica, tokens=talk.mean_prompt_tokens)
    long = _prompt_s(at, mean * _long_factor(variation), talk) + fixed
    slope = max(0.0, 1 - _prompt_s(at, 1.0, talk) / served)
    spread = variation * slope**2
    busy = _most_busy(served, spread, room_s=limit - fixed - served, mean_room_s=limit - long)
    if busy <= 0:
        return None
    return ReplicaPlan(
        role=Role.PREFILL,
        replica=replica,
        requests_per_s=busy / served,
        max_running=min(replica.max_batch, replica.max_num_tokens),
        num_blocks=_num_blocks(study, replica),
        at_once=busy + busy / served * _wait_s(busy, served, spread),
        step_s=served,
        ttft_p99_s=fixed + served + _tail_s(busy, served, spread),
        tpot_p99_s=None,
        prompt_share=1.0,
    )


def fresh_tokens(talk: Conversation) -> tuple[float, float]:
    """(mean, squared variation) of the tokens of a prompt that no turn before has computed."""
    again = 1 - 1 / talk.mean_turns
    asked, said = talk.question, talk.answer
    mean = asked.mean_tokens + again * said.mean_tokens
    variance = asked.mean_tokens**2 * asked.squared_variation
    variance += again * said.mean_tokens**2 * (said.squared_variation + 1 - again)
    return mean, variance / mean**2


def transfer_s(study: FleetStudy, replica: Replica, *, tokens: float) -> float:
    """Time to move the cache of ``tokens`` from one replica to another, over its share of NICs."""
    host = study.cluster.host
    kept = kept_bytes(study.model, replica, tokens=tokens, constants=published_serving())
    nics = host.num_nics * replica.num_gpus / host.num_gpus
    return float(kept) / (nics * host.nic_bandwidth_bytes_per_s * study.serve.transfer_share)


def _most_at_once(study: FleetStudy, at: Deployment) -> int:
    """Requests whose common step still keeps TPOT, without the tail: the scheduler's limit."""
    limit, replica = study.serve.slo.tpot_s or math.inf, at.replica
    counts = np.arange(1, min(replica.max_batch, replica.max_num_tokens) + 1, dtype=np.float64)
    kept = np.flatnonzero(_decode_step_s(at, counts, study.serve.conversation) <= limit)
    return int(counts[kept[-1]]) if len(kept) else 1


def _num_blocks(study: FleetStudy, replica: Replica) -> int:
    c, block = published_serving(), float(study.serve.block_tokens)
    room = kv_room_bytes(study.model, study.cluster.host.gpu, replica, constants=c)
    return int(room / float(kept_bytes(study.model, replica, tokens=block, constants=c)))


def _decode_step_s(at: Deployment, requests: np.ndarray, talk: Conversation) -> np.ndarray:
    context = talk.mean_prompt_tokens + talk.answer.mean_tokens / 2
    none = np.zeros_like(requests)
    return token_step(at, Work(requests, none + context, none, none)).step_s


def _prompt_s(at: Deployment, tokens: float, talk: Conversation) -> float:
    """Steps of a prompt of which ``tokens`` are to be computed, nothing else being done."""
    one, keys = np.ones(1), talk.mean_known_tokens + tokens / 2
    chunk = min(tokens, float(at.replica.max_num_tokens))
    work = Work(0 * one, 0 * one, chunk * one, keys * one)
    return float(token_step(at, work).step_s[0]) * tokens / chunk


def _prompt_share(at: Deployment, study: FleetStudy, point: ServingPoint) -> float:
    """Of a mixed replica's time: what steps are longer for the prompts in them."""
    talk = study.serve.conversation
    fresh, keys = fresh_tokens(talk)[0], talk.mean_known_tokens
    b, one = point.decoding, np.ones(1)
    context = (talk.mean_prompt_tokens + talk.answer.mean_tokens / 2) * one
    bare = token_step(at, Work(b, context, 0 * one, 0 * one)).step_s
    full = token_step(at, Work(b, context, fresh * one, (keys + fresh / 2) * one)).step_s
    return min(1.0, float((full - bare)[0] * point.requests_per_s[0]))


def _long_factor(variation: float) -> float:
    """A long prompt, the 99th percentile, over the mean one: that of a lognormal."""
    sigma = math.sqrt(math.log1p(variation))
    return math.exp(2.326 * sigma - sigma**2 / 2)


def _wait_s(busy: float, served_s: float, variation: float) -> float:
    return busy * served_s * (1 + variation) / (2 * (1 - busy))


def _tail_s(busy: float, served_s: float, variation: float) -> float:
    """The wait that one request in a hundred exceeds."""
    if busy <= _TAIL:
        return 0.0
    return _wait_s(busy, served_s, variation) / busy * math.log(busy / _TAIL)


def _most_busy(
    served_s: float, variation: float, *, room_s: float, mean_room_s: float
) -> float:  # fmt: skip
    """The load at which the wait's tail fits into ``room_s``, its mean into ``mean_room_s``."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        busy = (low + high) / 2
        fits = _tail_s(busy, served_s, variation) <= room_s
        fits = fits and _wait_s(busy, served_s, variation) <= mean_room_s
        low, high = (busy, high) if fits else (low, busy)
    return low if min(room_s, mean_room_s) > 0 else 0.0
