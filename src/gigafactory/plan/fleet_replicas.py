"""What one replica of a fleet bears within its limits: both kinds of work, or one of the two.

Legend
    S  time of a prompt on an idle prefill replica, m its mean and s its standard deviation
    rho  share of the time it computes;  W = rho m (1 + (s/m)^2) / (2 (1 - rho))  mean wait (M/G/1)
    TTFT = W + S + the transfer of the cache, of variance W^2 + s^2; its 99th percentile as that of
    a lognormal with this mean and variance
    kept  share of the conversations whose last turn is still in the cache:
    1 - exp(-survival/pause), survival = room for keys and values / tokens that come in a second

Replicas that do both are loaded as `cost.token_slo.best_under` finds, whose tails are fitted on
published services. A decode replica takes the most requests whose 99th percentile keeps the limit
by the same tail. A prefill replica is a queue with one server (Pollaczek 1930); prompts that enter
a step together make the real one faster.

Tensor parallelism stays within the scale-up domain. Where no replica on one domain keeps the
limits, larger ones are tried: stages of whole layers, each filling a domain; or experts spread over
several domains, whose ranks attend in groups (dp) for requests of their own. Requests are taken to
be even over the groups, and a prompt lies in one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gigafactory.cost.calibration import published
from gigafactory.cost.collectives import network
from gigafactory.cost.token_batching import (
    ServingPoint,
    fill_share,
    host_first_token_s,
    steps_decoded,
)
from gigafactory.cost.token_constants import published_serving
from gigafactory.cost.token_memory import kept_bytes, kv_room_bytes, most_requests, weight_bytes
from gigafactory.cost.token_slo import best_under, tail_tpot_s, tail_ttft_s
from gigafactory.cost.token_step import Deployment, Work, deployment, token_step
from gigafactory.describe.serve import FleetStudy, Role, Serve
from gigafactory.describe.serving import Replica, Traffic

Floats = NDArray[np.float64]
#: Tokens of a step that are tried: short steps keep TPOT, long ones compute prompts faster.
_STEP_TOKENS = (512, 1024, 2048, 4096, 8192)
_MOST_RUNNING = 512
#: Scale-up domains over which the experts of one replica are spread.
_MOST_DOMAINS = 32
_HALVINGS = 40
#: The load decides how long a cache survives, and that the load; so often in turn.
_ROUNDS = 4
#: Of the standard normal law: the 99th percentile, and the middles of 64 equal shares.
_P99 = NormalDist().inv_cdf(0.99)
_SHARES = np.array([NormalDist().inv_cdf((n + 0.5) / 64) for n in range(64)])


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
    cached_share: float | None
    """Of the prompt tokens, those found in its cache; None for decode replicas."""

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
    gpu, net = study.cluster.host.gpu, network(study.cluster, constants=published())
    return deployment(study.model, gpu, replica, constants=published_serving(), network=net)


def replicas(study: FleetStudy) -> Iterator[Replica]:
    """Every way to lay a replica on a scale-up domain that is tried, or the one that is told."""
    if study.serve.replica is not None:
        yield study.serve.replica
        return
    for tp in _widths(study):
        for ep in _eps(study, tp):
            yield from _with_steps(study, tp=tp, ep=ep)


def wide_replicas(study: FleetStudy) -> Iterator[Replica]:
    """Every way to lay one on several domains: in stages, or with experts over all of them."""
    if study.serve.replica is None:
        yield from _staged(study)
        yield from _spread(study)


def _staged(study: FleetStudy) -> Iterator[Replica]:
    tp = _widths(study)[-1]
    for ep in _eps(study, tp):
        for pp in _holding(study, Replica(tp=tp, ep=ep)):
            yield from _with_steps(study, tp=tp, ep=ep, pp=pp)


def _spread(study: FleetStudy) -> Iterator[Replica]:
    experts, domain = study.model.num_experts, study.cluster.host.scaleup_domain_gpus
    for tp in _widths(study):
        for dp in _holding_groups(study, tp) if experts and domain % tp == 0 else []:
            yield from _with_steps(study, tp=tp, ep=math.gcd(experts, tp * dp), dp=dp)


def _widths(study: FleetStudy) -> list[int]:
    most = min(study.cluster.host.scaleup_domain_gpus, study.model.num_heads)
    return [2**n for n in range(most.bit_length()) if study.model.num_heads % 2**n == 0]


def _eps(study: FleetStudy, tp: int) -> list[int]:
    spread = study.model.num_experts and study.model.num_experts % tp == 0
    return sorted({1, tp}) if spread else [1]


def _with_steps(study: FleetStudy, **layout: int) -> Iterator[Replica]:
    serve = study.serve
    for tokens in _STEP_TOKENS:
        yield Replica(
            **layout,
            precision=serve.precision,
            kv_precision=serve.precision,
            max_num_tokens=tokens,
            max_batch=min(tokens, _MOST_RUNNING),
            runtime=serve.runtime,
        )


def _holding(study: FleetStudy, replica: Replica) -> list[int]:
    """The fewest stages that hold the weights, and the next two numbers that divide the layers."""
    layers = study.model.num_layers
    numbers = [n for n in range(2, layers + 1) if layers % n == 0]
    return [n for n in numbers if _holds(study, replica.model_copy(update={"pp": n}))][:3]


def _holding_groups(study: FleetStudy, tp: int) -> list[int]:
    """Groups that attend for different requests, on whole domains: the fewest that hold the
    weights, and up to four times as many."""
    domain = study.cluster.host.scaleup_domain_gpus
    numbers = [2**n * domain // tp for n in range(1, _MOST_DOMAINS.bit_length())]
    return [dp for dp in numbers if _holds(study, Replica(tp=tp, dp=dp))][:3]


def _holds(study: FleetStudy, replica: Replica) -> bool:
    told = replica.model_copy(update={"precision": study.serve.precision})
    held = weight_bytes(study.model, told, constants=published_serving())
    fits = told.num_gpus <= study.cluster.num_gpus
    return fits and held < told.num_gpus * study.cluster.host.gpu.memory_bytes


def whole_replica(study: FleetStudy, replica: Replica) -> ReplicaPlan | None:
    """Prompts and answers; None where no load keeps the limits. ValueError where it cannot be."""
    at, serve = deployed(study, replica), study.serve
    kept, point, traffic = 1.0, None, serve.traffic()
    room = _room_tokens(study, replica)
    for _ in range(_ROUNDS):
        traffic = serve.traffic(kept)
        point = best_under(at, traffic, serve.slo)
        if point is None:
            return None
        busy = float(point.concurrency[0]) * (traffic.input_tokens + traffic.output_tokens / 2)
        kept = _kept_share(serve, traffic, rate=float(point.requests_per_s[0]), room=room - busy)
    assert point is not None
    return ReplicaPlan(
        role=Role.WHOLE,
        replica=replica,
        requests_per_s=float(point.requests_per_s[0]),
        max_running=_most_at_once(study, at),
        num_blocks=int(room / serve.block_tokens),
        at_once=float(point.concurrency[0]),
        step_s=float(point.step_s[0]),
        ttft_p99_s=float(tail_ttft_s(at, point)[0]),
        tpot_p99_s=float(tail_tpot_s(at, point)[0]),
        prompt_share=_prompt_share(at, traffic, point),
        cached_share=traffic.cached_share,
    )


def decode_replica(study: FleetStudy, replica: Replica) -> ReplicaPlan | None:
    """Answers alone, whose prompts were computed elsewhere; None where not one keeps the limit."""
    at, traffic = deployed(study, replica), study.serve.traffic()
    c, limit = at.constants, study.serve.slo.tpot_s or math.inf
    most = most_requests(at.model, at.gpu, replica, traffic, constants=c) * c.server_fraction
    requests = np.geomspace(1, max(most, 1.0), 128)
    step = _decode_step_s(at, requests, traffic)
    kept = np.flatnonzero(step * c.tpot_tail <= limit)
    if not len(kept):
        return None
    best = int(kept[-1])
    return ReplicaPlan(
        role=Role.DECODE,
        replica=replica,
        requests_per_s=float(requests[best] / (steps_decoded(traffic) * step[best])),
        max_running=_most_at_once(study, at),
        num_blocks=int(_room_tokens(study, replica) / study.serve.block_tokens),
        at_once=float(requests[best]),
        step_s=float(step[best]),
        ttft_p99_s=None,
        tpot_p99_s=float(step[best]) * c.tpot_tail,
        prompt_share=0.0,
        cached_share=None,
    )


def prefill_replica(study: FleetStudy, replica: Replica) -> ReplicaPlan | None:
    """Prompts alone; None where even without a queue the limit is broken."""
    at, serve = deployed(study, replica), study.serve
    limit, room = serve.slo.ttft_s or math.inf, _room_tokens(study, replica)
    moved = transfer_s(study, replica, tokens=serve.conversation.mean_prompt_tokens)
    kept, busy, served, traffic = 1.0, 0.0, np.zeros(1), serve.traffic()
    fixed = 0.0
    for _ in range(_ROUNDS):
        traffic = serve.traffic(kept)
        served = _prompt_s(at, fresh_tokens(serve, kept), traffic)
        # the next prompt follows while this one passes the later stages
        filled = fill_share(replica) * float(served.mean())
        fixed = host_first_token_s(at) + moved + filled
        busy = _most_busy(served, fixed_s=fixed, limit_s=limit)
        if busy <= 0:
            return None
        rate = replica.dp * busy / float(served.mean())
        kept = _kept_share(serve, traffic, rate=rate, room=room)
    mean = float(served.mean())
    return ReplicaPlan(
        role=Role.PREFILL,
        replica=replica,
        requests_per_s=replica.dp * busy / mean,
        max_running=_most_running(replica),
        num_blocks=int(room / serve.block_tokens),
        at_once=replica.dp * (busy + busy / mean * _wait_s(busy, served)),
        step_s=mean,
        ttft_p99_s=_tail_s(busy, served, fixed_s=fixed),
        tpot_p99_s=None,
        prompt_share=1.0,
        cached_share=traffic.cached_share,
    )


def fresh_tokens(serve: Serve, kept_share: float) -> Floats:
    """Tokens of a prompt that must be computed: 64 equally likely values of a lognormal.

    Its mean and variance are those of first turns, of later ones whose conversation is in the cache
    (a question and the answer before it), and of later ones that are computed from the system's
    part on.
    """
    talk, again = serve.conversation, 1 - 1 / serve.conversation.mean_turns
    q, a, turns = talk.question.mean_tokens, talk.answer.mean_tokens, talk.mean_turns
    vq, va = q**2 * talk.question.squared_variation, a**2 * talk.answer.squared_variation
    more = turns**2 - turns
    cases = [
        (1 - again, q, vq),
        (again * kept_share, q + a, vq + va),
        (
            again * (1 - kept_share),
            (turns + 1) * q + turns * a,
            more * (q + a) ** 2 + (turns + 1) * vq + turns * va,
        ),
    ]
    mean = math.fsum(share * m for share, m, _ in cases)
    square = math.fsum(share * (m**2 + v) for share, m, v in cases)
    mean_whole = mean + serve.block_tokens / 2
    sigma = math.sqrt(math.log(square / mean**2))
    return np.asarray(mean_whole * np.exp(sigma * _SHARES - sigma**2 / 2))


def transfer_s(study: FleetStudy, replica: Replica, *, tokens: float) -> float:
    """Time to move the cache of ``tokens`` from one replica to another, over its share of NICs."""
    host = study.cluster.host
    kept = kept_bytes(study.model, replica, tokens=tokens, constants=published_serving())
    nics = host.num_nics * replica.num_gpus / host.num_gpus
    return float(kept) / (nics * host.nic_bandwidth_bytes_per_s * study.serve.transfer_share)


def _kept_share(serve: Serve, traffic: Traffic, *, rate: float, room: float) -> float:
    """Of the conversations, those not yet pushed out of the cache when their next turn comes."""
    fresh = traffic.input_tokens * (1 - traffic.cached_share)
    survival_s = max(0.0, room) / (rate * fresh)
    return 1 - math.exp(-survival_s / serve.conversation.think_s)


def _most_running(replica: Replica) -> int:
    return min(replica.max_batch, replica.max_num_tokens) * replica.dp * replica.pp


def step_tokens(plan: ReplicaPlan) -> int:
    """Tokens of a step of all its groups and stages together."""
    told = plan.replica
    return max(told.max_num_tokens * told.dp * told.pp, plan.max_running)


def _most_at_once(study: FleetStudy, at: Deployment) -> int:
    """Requests whose common step still keeps TPOT, without the tail: the scheduler's limit."""
    limit, replica = study.serve.slo.tpot_s or math.inf, at.replica
    counts = np.arange(1, _most_running(replica) + 1, dtype=np.float64)
    kept = np.flatnonzero(_decode_step_s(at, counts, study.serve.traffic()) <= limit)
    return int(counts[kept[-1]]) if len(kept) else 1


def _room_tokens(study: FleetStudy, replica: Replica) -> float:
    c, block = published_serving(), float(study.serve.block_tokens)
    room = kv_room_bytes(study.model, study.cluster.host.gpu, replica, constants=c)
    return room / float(kept_bytes(study.model, replica, tokens=block, constants=c)) * block


def _decode_step_s(at: Deployment, requests: Floats, traffic: Traffic) -> Floats:
    context = traffic.input_tokens + traffic.output_tokens / 2
    none = np.zeros_like(requests)
    return token_step(at, Work(requests, none + context, none, none)).step_s


def _prompt_s(at: Deployment, tokens: Floats, traffic: Traffic) -> Floats:
    """Steps of prompts of which ``tokens`` are to be computed, nothing else being done."""
    most, groups = float(at.replica.max_num_tokens * at.replica.pp), at.replica.dp
    num_full = np.maximum(np.ceil(tokens / most) - 1, 0)
    known = traffic.input_tokens * traffic.cached_share
    none = np.zeros_like(tokens)
    # every group has a prompt of its own
    full = Work(none, none, none + most * groups, known + tokens / 2)
    rest = Work(none, none, (tokens - num_full * most) * groups, known + tokens / 2)
    return np.asarray(num_full * token_step(at, full).step_s + token_step(at, rest).step_s)


def _prompt_share(at: Deployment, traffic: Traffic, point: ServingPoint) -> float:
    """Of a mixed replica's time: what steps are longer for the prompts in them."""
    known = traffic.input_tokens * traffic.cached_share
    fresh = traffic.input_tokens - known
    b, one = point.decoding, np.ones(1)
    context = (traffic.input_tokens + traffic.output_tokens / 2) * one
    bare = token_step(at, Work(b, context, 0 * one, 0 * one)).step_s
    full = token_step(at, Work(b, context, fresh * one, (known + fresh / 2) * one)).step_s
    return min(1.0, float((full - bare)[0] * point.requests_per_s[0]))


def _wait_s(busy: float, served: Floats) -> float:
    mean, variance = float(served.mean()), float(served.var())
    return busy * mean * (1 + variance / mean**2) / (2 * (1 - busy))


def _tail_s(busy: float, served: Floats, *, fixed_s: float) -> float:
    """The time to the first token that one request in a hundred exceeds."""
    wait = _wait_s(busy, served)
    mean, variance = wait + float(served.mean()), wait**2 + float(served.var())
    sigma = math.sqrt(math.log1p(variance / mean**2))
    return fixed_s + mean * math.exp(_P99 * sigma - sigma**2 / 2)


def _most_busy(served: Floats, *, fixed_s: float, limit_s: float) -> float:
    """The load at which the tail is at the limit; 0 where it is beyond without any load."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        busy = (low + high) / 2
        fits = _tail_s(busy, served, fixed_s=fixed_s) <= limit_s
        low, high = (busy, high) if fits else (low, busy)
    return low if low > 1e-6 else 0.0
