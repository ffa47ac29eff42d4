"""What one mean layer, and the output projection, cost one rank in a microbatch.

Legend
    t     tokens of a microbatch on a rank before tp;  h hidden;  f width of a feed-forward
    D H   time of the device and of the host for one layer and direction

A mean layer is the average over dense layers and layers with experts, weighted by their number, so
that stages of a pipeline can be composed of it.

The host launches one kernel after the other and runs ahead of the device while kernels are long;
where they are short the device waits for it. A layer has stretches of both kinds, so it takes
(D^q + H^q)^(1/q): the longer of the two for large q, their sum for q = 1. Dropless experts let the
host wait for the number of tokens each got, after which it is no longer ahead: their q is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.columns import Columns, Floats
from gigafactory.cost.engine import Graphs
from gigafactory.cost.exposed import Exposed, exposed_s
from gigafactory.cost.flops import (
    Gemm,
    LayerGemms,
    attended_keys,
    attention_width,
    backward,
    layer_gemms,
    routed_tokens,
    tokens_per_rank,
)
from gigafactory.cost.kernels import attention_s, gemm_s, score_matrix_s, streaming_s
from gigafactory.cost.setting import Setting


@dataclass(frozen=True)
class Pass:
    """Seconds of one mean layer in one direction; shapes (num_layouts,)."""

    gemm_s: Floats
    attention_s: Floats
    kernels_s: Floats
    host_s: Floats
    """Waiting for the host to launch."""
    tp_comm_s: Floats
    cp_comm_s: Floats
    ep_comm_s: Floats

    @property
    def compute_s(self) -> Floats:
        """Without communication."""
        return self.gemm_s + self.attention_s + self.kernels_s + self.host_s

    @property
    def all_s(self) -> Floats:
        """With what communication is exposed."""
        return self.compute_s + self.tp_comm_s + self.cp_comm_s + self.ep_comm_s


@dataclass(frozen=True)
class Layer:
    """A mean layer: forward, backward, and the share of forward that selective repeats."""

    forward: Pass
    backward: Pass
    selective_s: Floats


def mean_layer(setting: Setting, columns: Columns) -> Layer:
    """Cost of one layer and microbatch on one rank."""
    x, c = setting, setting.constants
    imbalance = c.expert_imbalance if x.model.num_moe_layers else 1.0
    gemms = layer_gemms(x.model, columns, seq_len=x.seq_len, imbalance=imbalance)
    products = gemm_times(x, gemms)
    attention = _attention_times(x, columns)
    kernels, pointwise = _streaming_times(x, columns, gemms)
    comm = exposed_s(x, columns, attention)
    multiply = [np.asarray(sum(p[i] for p in products.values())) for i in (0, 1)]
    forward, back = (
        _pass(
            x, multiply[i], attention[i], kernels[i], comm[i],
            launches=_num_kernels(x, columns, gemms), is_backward=i == 1,
        )
        for i in (0, 1)
    )  # fmt: skip
    return Layer(
        forward=forward,
        backward=back,
        selective_s=_repeated_s(x, products, attention[0], pointwise),
    )


def head_s(setting: Setting, columns: Columns) -> Floats:
    """Output projection and loss of one microbatch, both directions; on the last stage."""
    x = setting
    gemms = layer_gemms(x.model, columns, seq_len=x.seq_len, imbalance=1.0).head
    products = [g for one in gemms for g in (one, *backward(one))]
    multiply = _sum_s(x, products, half_precision=True)
    logits = tokens_per_rank(columns, seq_len=x.seq_len) * x.model.vocab / columns.tp
    # written by the product, read for the maximum, the sum and the gradient, written, read twice
    moved = 6 * logits * x.constants.sixteen_bit_bytes * _unfused(x)
    return multiply + streaming_s(moved, dev=x.dev)


def weight_gradients_s(setting: Setting, columns: Columns) -> Floats:
    """Of the backward pass of one layer, the gradients of the weights, which can be put off."""
    x, c = setting, setting.constants
    imbalance = c.expert_imbalance if x.model.num_moe_layers else 1.0
    gemms = layer_gemms(x.model, columns, seq_len=x.seq_len, imbalance=imbalance)
    parts = (
        (1.0, gemms.attention + gemms.latent, False),
        (x.dense_share, gemms.dense_ffn, False),
        (x.expert_share, gemms.beside_experts + gemms.experts, False),
        (x.expert_share, gemms.router, True),
    )
    times = [
        w * _sum_s(x, [backward(g)[1] for g in kernels], half_precision=half)
        for w, kernels, half in parts
    ]
    return np.asarray(sum(times))


def _sum_s(x: Setting, gemms: list[Gemm], *, half_precision: bool = False) -> Floats:
    times = [
        gemm_s(g, dev=x.dev, constants=x.constants, half_precision=half_precision) for g in gemms
    ]
    return np.asarray(np.sum(times, axis=0) if times else 0.0)


def gemm_times(x: Setting, gemms: LayerGemms) -> dict[str, tuple[Floats, Floats]]:
    """(forward, backward) of the linear parts of a mean layer, by part."""
    dense, moe = x.dense_share, x.expert_share
    # every second product of a feed-forward leads back to the hidden size
    into, out = slice(0, None, 2), slice(1, None, 2)
    parts: dict[str, list[tuple[float, list[Gemm], bool]]] = {
        "attention": [(1.0, gemms.attention, False)],
        "latent": [(1.0, gemms.latent, False)],
        "ffn_in": [(dense, gemms.dense_ffn[into], False), (moe, gemms.beside_experts[into], False)],
        "ffn_out": [(dense, gemms.dense_ffn[out], False), (moe, gemms.beside_experts[out], False)],
        "experts": [(moe, gemms.experts, False)],
        "router": [(moe, gemms.router, True)],
    }

    def total(chosen: list[tuple[float, list[Gemm], bool]]) -> Floats:
        return np.asarray(sum(w * _sum_s(x, g, half_precision=half) for w, g, half in chosen))

    def back(chosen: list[tuple[float, list[Gemm], bool]]) -> list[tuple[float, list[Gemm], bool]]:
        return [(w, [b for g in kernels for b in backward(g)], half) for w, kernels, half in chosen]

    return {name: (total(chosen), total(back(chosen))) for name, chosen in parts.items()}


def _repeated_s(
    x: Setting, products: dict[str, tuple[Floats, Floats]], attention: Floats, pointwise: Floats
) -> Floats:
    """What selective recompute adds to backward."""
    again = x.engine.repeats
    # without flash attention the score matrix is what selective recompute throws away
    core = again.core_attention if x.engine.flash_attention else 1.0
    return np.asarray(
        again.pointwise * pointwise
        + core * attention
        + again.attention_gemms * products["attention"][0]
        + again.latent_gemms * products["latent"][0]
        + again.ffn_in * products["ffn_in"][0]
        + again.ffn_out * products["ffn_out"][0]
    )


def _attention_times(x: Setting, columns: Columns) -> tuple[Floats, Floats]:
    model = x.model
    keys = attended_keys(model, seq_len=x.seq_len)
    queries = tokens_per_rank(columns, seq_len=x.seq_len) / columns.tp
    products = queries * keys * attention_width(model)
    head_dim = attention_width(model) / model.num_heads / 2
    # round the ring, a rank meets the keys of one other at a time, but most such blocks are whole
    # rectangles, without the idle half of a diagonal that makes short causal kernels slow
    met = np.asarray(keys / np.sqrt(columns.cp), dtype=np.float64)
    times = attention_s(
        products,
        keys=met,
        head_dim=head_dim,
        dev=x.dev,
        constants=x.constants,
        num_heads=columns.micro_batch * model.num_heads / columns.tp,
        queries_per_key=model.num_heads / model.num_kv_heads,
    )
    if x.engine.flash_attention:
        return times
    scores = queries * model.num_heads * x.seq_len
    written = score_matrix_s(scores, dev=x.dev, constants=x.constants)
    return times[0] + written, times[1] + 2 * written


def _unfused(x: Setting) -> float:
    return 1.0 if x.engine.fused_kernels else x.constants.eager_passes


def _streaming_times(
    x: Setting, columns: Columns, gemms: LayerGemms
) -> tuple[tuple[Floats, Floats], Floats]:
    """((forward, backward), norms and activations forward) of kernels that move bytes."""
    model, c = x.model, x.constants
    t = tokens_per_rank(columns, seq_len=x.seq_len)
    whole = t / columns.tp if x.engine.sequence_parallel else t
    norms = 8 * model.hidden * whole
    q_kv = (model.num_heads + model.num_kv_heads) * model.head_dim
    rotary = 2 * q_kv * t / columns.tp
    activation = (3 if model.gated_ffn else 2) * _ffn_width(x) * t / columns.tp
    width = c.sixteen_bit_bytes * _unfused(x)
    plain = (norms + rotary + activation) * width
    routed = routed_tokens(model, columns, seq_len=x.seq_len) if model.num_moe_layers else 0 * t
    permuted = 2 * c.expert_kernel_passes * routed * model.hidden * c.sixteen_bit_bytes
    permuted = permuted * x.expert_share
    cast_in, cast_out = _casts(x, gemms)
    forward = streaming_s(plain + permuted + cast_in, dev=x.dev)
    back = streaming_s(2 * plain + permuted + cast_out + _added_later(x, gemms), dev=x.dev)
    return (forward, back), streaming_s((norms + activation) * width, dev=x.dev)


def _added_later(x: Setting, gemms: LayerGemms) -> Floats:
    """Bytes moved to add 16-bit weight gradients to the sum in fp32, where no kernel does both."""
    c = x.constants
    if x.engine.fused_weight_gradients:
        return np.asarray(0.0)
    parts = (
        (1.0, gemms.attention + gemms.latent),
        (x.dense_share, gemms.dense_ffn),
        (x.expert_share, gemms.beside_experts + gemms.experts),
    )
    weights = sum(w * g.groups * g.n * g.k for w, kernels in parts for g in kernels)
    return np.asarray(weights * (2 * c.sixteen_bit_bytes + 2 * c.thirty_two_bit_bytes))


def _ffn_width(x: Setting) -> float:
    """Hidden units that one token passes in a mean layer."""
    model = x.model
    beside = model.num_shared_experts * model.moe_ffn + model.dense_residual * model.ffn
    return x.dense_share * model.ffn + x.expert_share * (model.topk * model.moe_ffn + beside)


def _casts(x: Setting, gemms: LayerGemms) -> tuple[Floats, Floats]:
    """Bytes moved to quantise inputs (forward) and output gradients (backward)."""
    c = x.constants
    if not x.dev.casts_inputs:
        return np.asarray(0.0), np.asarray(0.0)
    # read in 16 bits, written twice: as it is, and transposed for the other product; where
    # kernels were measured, quantising what they read is in their time
    moved = c.sixteen_bit_bytes + 2 * c.eight_bit_bytes
    moved = moved * (c.cast_share if x.dev.part else 1.0)
    parts = (
        (1.0, gemms.attention + gemms.latent),
        (x.dense_share, gemms.dense_ffn),
        (x.expert_share, gemms.beside_experts + gemms.experts),
    )
    inputs = sum(w * g.groups * g.m * g.k for w, kernels in parts for g in kernels)
    outputs = sum(w * g.groups * g.m * g.n for w, kernels in parts for g in kernels)
    return np.asarray(inputs * moved), np.asarray(outputs * moved)


def _pass(
    x: Setting,
    gemm: Floats,
    attention: Floats,
    kernels: Floats,
    comm: Exposed,
    *,
    launches: tuple[float, float, Floats],
    is_backward: bool,
) -> Pass:
    c = x.constants
    single, routing, in_experts = launches
    direction = 2.0 if is_backward else 1.0
    pointwise = kernels + direction * single * c.kernel_gap_s
    device = gemm + attention + pointwise
    launched = {
        Graphs.NONE: c.layer_launches + routing + in_experts,
        Graphs.OUTSIDE_EXPERTS: in_experts,
        Graphs.WHOLE: 0.0 * in_experts,
    }[x.engine.graphs]
    twice = c.overlap_launches if x.engine.overlap_ep and x.model.num_moe_layers else 1.0
    host = direction * launched * twice * c.host_kernel_s
    waits = x.engine.dropless and x.model.num_moe_layers
    q = c.launch_exponent if waits else c.run_ahead_exponent
    tp, cp, ep = comm
    return Pass(
        gemm_s=gemm,
        attention_s=attention,
        kernels_s=pointwise,
        host_s=np.asarray((device**q + host**q) ** (1 / q) - device),
        tp_comm_s=tp,
        cp_comm_s=cp,
        ep_comm_s=ep,
    )


def _num_kernels(x: Setting, columns: Columns, gemms: LayerGemms) -> tuple[float, float, Floats]:
    """Launches of a mean layer in forward: outside its experts, and for them."""
    c, moe = x.constants, x.expert_share
    linear = len(gemms.attention) + len(gemms.latent) + x.dense_share * len(gemms.dense_ffn)
    linear += moe * len(gemms.beside_experts)
    pointwise = c.fused_kernels if x.engine.fused_kernels else c.eager_kernels
    casts = 2.0 if x.dev.casts_inputs else 1.0
    # an expert's two products are kernels of their own on the way to the device
    here = np.maximum(x.model.num_experts / columns.ep, 1.0) if moe else np.zeros(len(columns))
    routing = moe * c.expert_kernels * (1.0 if x.engine.dropless else 0.3)
    return linear * casts + pointwise + 1, routing, np.asarray(moe * (2 * casts * here + 10))
