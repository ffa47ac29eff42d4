"""One step of a serving replica: prompt tokens and decoding requests through all layers at once.

Legend
    B  requests that decode;  c  tokens that each attends to;  P  prompt tokens in the step
    m = (B v + P) / dp / pp  tokens on a rank, v = tokens verified a request (1 without a draft)
    t  ranks of tensor parallelism;  E k  experts, experts a token

A step is the sum of kernels of all layers, all_reduces or all_to_alls between ranks, the output
projection, and what the host cannot hide. With pp stages, pp microbatches are under way, each with
its share of the requests, so a token takes all layers at 1/pp of the batch. Where the stages stand
on different hosts, hidden states pass from each to the next, and the token back to the first; where
experts do, tokens are sent to them once a host (arXiv:2412.19437 section 3.2.2).
Sources: arXiv:2309.06180 (continuous batching), arXiv:2403.02310 (prompts in chunks beside
decoding), arXiv:2405.04434 appendix (absorbed projections of latent attention).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.collectives import Network, all_to_all_s, group, send_s
from gigafactory.cost.columns import Floats
from gigafactory.cost.flops import attention_width
from gigafactory.cost.token_constants import ServingCalibration
from gigafactory.cost.token_kernels import (
    Chip,
    all_reduce_s,
    cache_attention_s,
    chip,
    distinct_experts,
    exchange_s,
    grouped_s,
    linear_s,
    prompt_attention_s,
)
from gigafactory.cost.token_memory import (
    attention_is_quantised,
    kept_bytes,
)
from gigafactory.describe.cluster import Gpu, Precision
from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Runtime

_YEAR = 2026.0
#: Two norms with their residuals: read both, write both.
_WHOLE_PASSES = 8.0


@dataclass(frozen=True)
class Work:
    """What a step has to do, on the whole replica; shapes broadcast together."""

    requests: Floats
    """That decode."""
    context: Floats
    """Tokens that each of them attends to."""
    prompt_tokens: Floats
    prompt_keys: Floats
    """Mean keys that a prompt token attends to."""
    verified: float = 1.0
    """Tokens verified a request and step."""


@dataclass(frozen=True)
class TokenStep:
    """Seconds of one step by part; shapes (num_points,)."""

    linear_s: Floats
    experts_s: Floats
    attention_s: Floats
    kernels_s: Floats
    """Norms, activations, quantising, and the gaps between kernels."""
    comm_s: Floats
    head_s: Floats
    host_s: Floats
    """What of the host's work the device waits for."""

    def parts(self) -> dict[str, Floats]:
        """The parts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def step_s(self) -> Floats:
        """All parts."""
        return np.asarray(np.sum(list(self.parts().values()), axis=0))


@dataclass(frozen=True)
class Deployment:
    """A replica on its hardware: what every step of it shares."""

    model: Model
    gpu: Gpu
    replica: Replica
    constants: ServingCalibration
    on: Chip
    network: Network | None = None
    """Between its hosts; None: all ranks share a scale-up domain, and what stages send to each
    other is not counted."""


def deployment(
    model: Model,
    gpu: Gpu,
    replica: Replica,
    *,
    constants: ServingCalibration,
    network: Network | None = None,
) -> Deployment:
    """Puts them together; ValueError where the GPU lacks the precision."""
    on = chip(gpu, replica, constants=constants)
    return Deployment(
        model=model, gpu=gpu, replica=replica, constants=constants, on=on, network=network
    )


def token_step(at: Deployment, work: Work) -> TokenStep:
    """Time of one step of the whole replica; every request that decodes gains its tokens."""
    model, replica, c = at.model, at.replica, at.constants
    split = replica.dp * replica.pp
    decoding = np.asarray(work.requests, np.float64) * work.verified / split
    prompt = np.asarray(work.prompt_tokens, np.float64) / split
    m = decoding + prompt
    age = np.exp(-c.serving_gain_per_year * (replica.year - _YEAR))
    dense = model.num_layers - model.num_moe_layers
    linear = _attention_linears_s(at, m) * model.num_layers
    linear = linear + _ffn_s(at, m, model.ffn) * dense
    parts = {
        "linear_s": linear + _beside_experts_s(at, m),
        "experts_s": _experts_s(at, m) * model.num_moe_layers,
        "attention_s": _attention_s(at, work) * model.num_layers,
        "kernels_s": _kernels_s(at, m),
        "comm_s": _comm_s(at, m) + _stages_s(at, m),
        "head_s": _head_s(at, np.asarray(work.requests, np.float64) * work.verified / split),
    }
    parts = {name: value * age for name, value in parts.items()}
    device = np.sum(list(parts.values()), axis=0)
    parts["host_s"] = _host_s(at, work, device)
    return TokenStep(**{name: np.asarray(value) for name, value in parts.items()})


def _attention_linears_s(at: Deployment, m: Floats) -> Floats:
    model, tp, on = at.model, at.replica.tp, at.on
    half = not attention_is_quantised(model, at.replica.precision)
    h, mla = model.hidden, model.mla
    if mla is None:
        q = model.num_heads * model.head_dim / tp
        kv = max(model.num_kv_heads / tp, 1.0) * model.head_dim
        shapes = [(q + 2 * kv, h), (h, q)]
    else:
        heads = model.num_heads / tp
        nope, rope, r = mla.qk_nope_head_dim, mla.qk_rope_head_dim, mla.kv_lora_rank
        shapes = [
            (mla.q_lora_rank + r + rope, h),
            (heads * (nope + rope), mla.q_lora_rank or h),
            (heads * (nope + mla.v_head_dim), r),
            (h, heads * mla.v_head_dim),
        ]
    return _sum([linear_s(m, n=n, k=k, on=on, half=half) for n, k in shapes])


def _sum(times: list[Floats]) -> Floats:
    return np.asarray(np.sum(times, axis=0))


def _ffn_s(at: Deployment, m: Floats, width: float) -> Floats:
    if not width:
        return np.zeros_like(m)
    into = (2 if at.model.gated_ffn else 1) * width / at.replica.tp
    h = at.model.hidden
    up = linear_s(m, n=into, k=h, on=at.on)
    return np.asarray(up + linear_s(m, n=h, k=width / at.replica.tp, on=at.on))


def _beside_experts_s(at: Deployment, m: Floats) -> Floats:
    model = at.model
    if not model.num_moe_layers:
        return np.zeros_like(m)
    shared = _ffn_s(at, m, model.num_shared_experts * model.moe_ffn)
    residual = _ffn_s(at, m, model.ffn if model.dense_residual else 0)
    router = linear_s(m, n=model.num_experts, k=model.hidden, on=at.on, half=True)
    return np.asarray((shared + residual + router) * model.num_moe_layers)


def _experts_s(at: Deployment, m: Floats) -> Floats:
    """Routed experts of one layer, on the tokens of all dp groups."""
    model, replica = at.model, at.replica
    if not model.num_moe_layers:
        return np.zeros_like(m)
    everyone = m * replica.dp
    touched = distinct_experts(everyone, num_experts=model.num_experts, topk=model.topk)
    here, copies = touched / replica.ep, everyone * model.topk / replica.ep
    cut = replica.tp * replica.dp / replica.ep
    into = (2 if model.gated_ffn else 1) * model.moe_ffn / cut
    up = grouped_s(copies, experts=here, n=into, k=model.hidden, on=at.on)
    down = grouped_s(copies, experts=here, n=model.hidden, k=model.moe_ffn / cut, on=at.on)
    return np.asarray(up + down)


def _attention_s(at: Deployment, work: Work) -> Floats:
    """Attention of one mean layer: over the cache for decoding, flash for prompts."""
    model, replica = at.model, at.replica
    split = replica.dp * replica.pp
    requests = np.asarray(work.requests, np.float64) / split
    one = kept_bytes(model, replica, tokens=work.context, constants=at.constants)
    # kept bytes are those of all layers and all ranks of a dp group
    read = requests * one / model.num_layers / replica.tp
    keys = _seen(model, work.context)
    width = _absorbed_width(model) if model.mla is not None else attention_width(model)
    products = requests * work.verified * keys * width / replica.tp
    decode = cache_attention_s(read, products=products, on=at.on)
    prompt = np.asarray(work.prompt_tokens, np.float64) / split
    met = _seen(model, work.prompt_keys)
    flash = prompt_attention_s(prompt * met * attention_width(model) / replica.tp, on=at.on)
    return np.asarray(decode + flash)


def _absorbed_width(model: Model) -> float:
    """Multiply-adds per head, query and key when attention runs on the latent vectors."""
    mla = model.mla
    assert mla is not None
    return float(model.num_heads * (2 * mla.kv_lora_rank + mla.qk_rope_head_dim))


def _seen(model: Model, keys: ArrayLike) -> Floats:
    """Keys seen by a mean layer."""
    all_keys = np.asarray(keys, np.float64)
    share = model.window_share
    return np.asarray(share * np.minimum(all_keys, model.window) + (1 - share) * all_keys)


def _kernels_s(at: Deployment, m: Floats) -> Floats:
    model, c = at.model, at.constants
    routed = model.topk * model.num_moe_layers / model.num_layers
    narrow = at.replica.precision is Precision.NVFP4
    inner = c.serving_pointwise_passes + c.four_bit_passes * narrow
    # every rank norms and adds whole vectors; rotary, activation, casts are on its own share
    passes = _WHOLE_PASSES + inner / at.replica.tp + c.expert_passes * routed / at.replica.tp
    moved = m * model.hidden * passes * at.on.half_bytes
    gaps = c.layer_latency_s * model.num_layers + c.expert_latency_s * model.num_moe_layers
    return np.asarray(moved / at.on.weights_bytes_per_s * model.num_layers + gaps)


def _comm_s(at: Deployment, m: Floats) -> Floats:
    """Two all_reduces a layer over tp; with dp groups, tokens go to experts and back."""
    model, replica, on = at.model, at.replica, at.on
    one = all_reduce_s(m * model.hidden * on.half_bytes, ranks=replica.tp, on=on)
    if not model.num_moe_layers or replica.dp == 1:
        return np.asarray(2 * model.num_layers * one)
    dense = model.num_layers - model.num_moe_layers
    reduced = (model.num_layers + dense) * one
    net, ranks = at.network, replica.tp * replica.dp
    if net is not None and ranks > net.domain_gpus:
        return np.asarray(reduced + model.num_moe_layers * _dispatch_s(at, m, net))
    # every rank gathers the tokens of all, keeps those of its experts, and scatters the sums
    out = m / replica.tp * model.hidden * replica.ep
    sent = exchange_s(out * on.input_bytes, ranks=ranks, on=on)
    back = exchange_s(out * on.half_bytes, ranks=ranks, on=on)
    return np.asarray(reduced + model.num_moe_layers * (sent + back))


def _dispatch_s(at: Deployment, m: Floats, net: Network) -> Floats:
    """Tokens to their experts on other hosts, and the sums back; of one layer."""
    replica, ranks = at.replica, at.replica.tp * at.replica.dp
    # an expert that several ranks cut is sent to each of them
    copies = float(min(at.model.topk * ranks // replica.ep, ranks))
    sent = m / replica.tp * at.model.hidden * copies
    members = group(ranks, stride=1, net=net)
    there, back = (
        all_to_all_s(sent * width, members=members, net=net, copies=copies, sparse=True)
        for width in (at.on.input_bytes, at.on.half_bytes)
    )
    return np.asarray(there + back)


def _stages_s(at: Deployment, m: Floats) -> Floats:
    """Hidden states from stage to stage, each rank sending its share of them."""
    replica = at.replica
    if at.network is None or replica.pp == 1:
        return np.zeros_like(m)
    sent = m * at.model.hidden * at.on.half_bytes / replica.tp
    stride = float(replica.tp * replica.dp)
    return np.asarray(replica.pp * send_s(sent, stride=stride, net=at.network))


def _head_s(at: Deployment, rows: Floats) -> Floats:
    """Output projection in 16 bits, and reading the logits once more to choose."""
    n = at.model.vocab / at.replica.tp
    product = linear_s(rows, n=n, k=at.model.hidden, on=at.on, half=True)
    return np.asarray(product + rows * n * 2 * at.on.half_bytes / at.on.weights_bytes_per_s)


def _host_s(at: Deployment, work: Work, device: Floats) -> Floats:
    """Scheduling, sampling and detokenising each request; launching a step with prompts."""
    replica, c = at.replica, at.constants
    each = {
        Runtime.NATIVE: c.host_request_native_s,
        Runtime.TUNED: c.host_request_tuned_s,
        Runtime.PORTABLE: c.host_request_portable_s,
    }[replica.runtime]
    requests = np.asarray(work.requests, np.float64) / (replica.dp * replica.pp)
    mixed = np.asarray(work.prompt_tokens, np.float64) > 0
    # CUDA graphs replay steps of decoding alone; native engines need no graph
    launching = 0.0 if replica.runtime is Runtime.NATIVE else c.host_layer_s
    busy = c.host_step_s + each * requests + mixed * launching * at.model.num_layers
    busy = busy * (c.arm_host_slowdown if replica.arm_host else 1.0)
    waited = np.maximum(busy - device, 0.0)
    return np.asarray(waited + c.exposed_host * np.minimum(busy, device))
