"""What one mean layer, and the output projection, cost one rank in a microbatch.

Legend
    t     tokens of a microbatch on a rank before tp;  h hidden;  f width of a feed-forward
    w     share of the layers that are dense, with experts

A mean layer is the average over dense layers and layers with experts, weighted by their number, so
that stages of a pipeline can be composed of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.collectives import (
    Network,
    all_gather_s,
    all_to_all_s,
    group,
    send_s,
)
from gigafactory.cost.columns import Columns, Floats
from gigafactory.cost.engine import Engine
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
from gigafactory.cost.kernels import (
    Device,
    attention_s,
    gemm_s,
    score_matrix_s,
    streaming_s,
)
from gigafactory.describe.model import Model

#: Kernels of one layer in forward beside its GEMMs and attention: norms, rotary, residual, ...
_POINTWISE_KERNELS, _EAGER_KERNELS, _EXPERT_KERNELS = 8, 20, 40


@dataclass(frozen=True)
class Setting:
    """Everything about one study that does not depend on the layout."""

    model: Model
    seq_len: int
    dev: Device
    net: Network
    engine: Engine
    constants: Calibration


@dataclass(frozen=True)
class Pass:
    """Seconds of one mean layer in one direction; shapes (num_layouts,)."""

    gemm_s: Floats
    attention_s: Floats
    kernels_s: Floats
    host_s: Floats
    """Waiting for the host to launch, where it is slower than the device."""
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
    gemm = _gemm_times(x, gemms)
    attention = _attention_times(x, columns)
    kernels, selective = _streaming_times(x, columns, gemms)
    comm = _communication(x, columns, attention)
    forward, back = (
        _pass(x, gemm[i], attention[i], kernels[i], comm[i], launches=gemms, is_backward=i == 1)
        for i in (0, 1)
    )
    repeated = selective if x.engine.flash_attention else selective + attention[0]
    return Layer(forward=forward, backward=back, selective_s=repeated)


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
    dense, moe = _weights(x.model)
    parts = (
        (1.0, gemms.attention, False),
        (dense, gemms.dense_ffn, False),
        (moe, gemms.beside_experts + gemms.experts, False),
        (moe, gemms.router, True),
    )
    times = [
        w * _sum_s(x, [backward(g)[1] for g in kernels], half_precision=half)
        for w, kernels, half in parts
    ]
    return np.asarray(sum(times))


def _weights(model: Model) -> tuple[float, float]:
    moe = model.num_moe_layers / model.num_layers
    return 1 - moe, moe


def _sum_s(x: Setting, gemms: list[Gemm], *, half_precision: bool = False) -> Floats:
    times = [
        gemm_s(g, dev=x.dev, constants=x.constants, half_precision=half_precision) for g in gemms
    ]
    return np.asarray(np.sum(times, axis=0) if times else 0.0)


def _gemm_times(x: Setting, gemms: LayerGemms) -> tuple[Floats, Floats]:
    dense, moe = _weights(x.model)
    parts = (
        (1.0, gemms.attention, False),
        (dense, gemms.dense_ffn, False),
        (moe, gemms.beside_experts + gemms.experts, False),
        (moe, gemms.router, True),
    )

    def total(chosen: list[tuple[float, list[Gemm], bool]]) -> Floats:
        return np.asarray(sum(w * _sum_s(x, g, half_precision=half) for w, g, half in chosen))

    back = [(w, [b for g in kernels for b in backward(g)], half) for w, kernels, half in parts]
    return total(list(parts)), total(back)


def _attention_times(x: Setting, columns: Columns) -> tuple[Floats, Floats]:
    model = x.model
    keys = attended_keys(model, seq_len=x.seq_len)
    queries = tokens_per_rank(columns, seq_len=x.seq_len) / columns.tp
    products = queries * keys * attention_width(model)
    head_dim = attention_width(model) / model.num_heads / 2
    # round the ring, every rank meets the keys of one other rank at a time
    met = np.asarray(keys / columns.cp, dtype=np.float64)
    times = attention_s(products, keys=met, head_dim=head_dim, dev=x.dev, constants=x.constants)
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
    """((forward, backward), what selective recompute repeats) of kernels that move bytes."""
    model, c = x.model, x.constants
    t = tokens_per_rank(columns, seq_len=x.seq_len)
    whole = t / columns.tp if x.engine.sequence_parallel else t
    norms = 8 * model.hidden * whole
    q_kv = (model.num_heads + model.num_kv_heads) * model.head_dim
    rotary = 2 * q_kv * t / columns.tp
    activation = (3 if model.gated_ffn else 2) * _ffn_width(model) * t / columns.tp
    width = c.sixteen_bit_bytes * _unfused(x)
    plain = (norms + rotary + activation) * width
    routed = routed_tokens(model, columns, seq_len=x.seq_len) if model.num_moe_layers else 0 * t
    permuted = 2 * c.expert_kernel_passes * routed * model.hidden * c.sixteen_bit_bytes
    permuted = permuted * _weights(model)[1]
    cast_in, cast_out = _casts(x, gemms)
    forward = streaming_s(plain + permuted + cast_in, dev=x.dev)
    back = streaming_s(2 * plain + permuted + cast_out, dev=x.dev)
    selective = streaming_s((norms + activation) * width, dev=x.dev)
    return (forward, back), selective


def _ffn_width(model: Model) -> float:
    """Hidden units that one token passes in a mean layer."""
    dense, moe = _weights(model)
    beside = model.num_shared_experts * model.moe_ffn + model.dense_residual * model.ffn
    return dense * model.ffn + moe * (model.topk * model.moe_ffn + beside)


def _casts(x: Setting, gemms: LayerGemms) -> tuple[Floats, Floats]:
    """Bytes moved to quantise inputs (forward) and output gradients (backward)."""
    c = x.constants
    if not x.dev.casts_inputs:
        return np.asarray(0.0), np.asarray(0.0)
    dense, moe = _weights(x.model)
    # read in 16 bits, written twice: as it is, and transposed for the other product
    moved = c.sixteen_bit_bytes + 2 * c.eight_bit_bytes
    parts = (
        (1.0, gemms.attention),
        (dense, gemms.dense_ffn),
        (moe, gemms.beside_experts + gemms.experts),
    )
    inputs = sum(w * g.groups * g.m * g.k for w, kernels in parts for g in kernels)
    outputs = sum(w * g.groups * g.m * g.n for w, kernels in parts for g in kernels)
    return np.asarray(inputs * moved), np.asarray(outputs * moved)


def _communication(
    x: Setting, columns: Columns, attention: tuple[Floats, Floats]
) -> tuple[tuple[Floats, Floats, Floats], tuple[Floats, Floats, Floats]]:
    """Exposed (tp, cp, ep) seconds of a layer, forward and backward."""
    c, engine = x.constants, x.engine
    tp = _tensor_parallel_s(x, columns)
    ring = _ring_s(x, columns)
    ep = _expert_parallel_s(x, columns)
    tp_shown = 1 - c.hidden_tp * engine.overlap_tp
    ep_shown = 1 - c.hidden_ep * engine.overlap_ep
    ways = []
    for passes, beside in ((1, attention[0]), (2, attention[1])):
        hidden = np.minimum(passes * ring, beside)
        cp = passes * ring - hidden * (1 - c.overlap_contention)
        ways.append((tp * tp_shown, cp, ep * ep_shown))
    return ways[0], ways[1]


def _tensor_parallel_s(x: Setting, columns: Columns) -> Floats:
    """all_gather before and reduce_scatter after each half of a layer."""
    model, c = x.model, x.constants
    dense, moe = _weights(model)
    t = tokens_per_rank(columns, seq_len=x.seq_len)
    members = group(columns.tp, stride=1, net=x.net)
    tokens_bytes = t * model.hidden * c.sixteen_bit_bytes
    once = 2 * all_gather_s(tokens_bytes, members=members, net=x.net)
    beside = bool(model.num_shared_experts or model.dense_residual)
    total = once * (1 + dense + moe * beside) * (columns.tp > 1)
    if model.num_moe_layers:
        copies = routed_tokens(model, columns, seq_len=x.seq_len) * columns.etp
        cut = group(columns.etp, stride=1, net=x.net)
        gathered = copies * model.hidden * c.sixteen_bit_bytes
        spread = 2 * all_gather_s(gathered, members=cut, net=x.net)
        total = total + moe * spread * (columns.etp > 1)
    return np.asarray(total)


def _ring_s(x: Setting, columns: Columns) -> Floats:
    """Keys and values going round the context-parallel ranks once."""
    model, c = x.model, x.constants
    t = tokens_per_rank(columns, seq_len=x.seq_len)
    heads = np.maximum(model.num_kv_heads / columns.tp, 1.0)
    width = 2.0 * model.head_dim
    if model.mla is not None:
        width = attention_width(model) / model.num_heads
    block = t * heads * width * c.sixteen_bit_bytes
    return np.asarray((columns.cp - 1) * send_s(block, stride=columns.tp, net=x.net))


def _expert_parallel_s(x: Setting, columns: Columns) -> Floats:
    """Dispatch and combine of a mean layer, one direction."""
    model, c = x.model, x.constants
    if not model.num_moe_layers:
        return np.zeros(len(columns))
    routed = routed_tokens(model, columns, seq_len=x.seq_len)
    members = group(columns.ep, stride=columns.etp, net=x.net)
    sent = routed * model.hidden * c.sixteen_bit_bytes * c.expert_imbalance
    one_way = all_to_all_s(
        sent, members=members, net=x.net, copies=model.topk, sparse=x.engine.sparse_dispatch
    )
    return np.asarray(_weights(model)[1] * 2 * one_way * (columns.ep > 1))


def _pass(
    x: Setting,
    gemm: Floats,
    attention: Floats,
    kernels: Floats,
    comm: tuple[Floats, Floats, Floats],
    *,
    launches: LayerGemms,
    is_backward: bool,
) -> Pass:
    c = x.constants
    products = _num_kernels(x, launches) * (2 if is_backward else 1)
    pointwise = kernels + products * c.kernel_gap_s
    device = gemm + attention + pointwise
    launch = 0.0 if x.engine.cuda_graphs else products * c.host_kernel_s
    tp, cp, ep = comm
    return Pass(
        gemm_s=gemm,
        attention_s=attention,
        kernels_s=pointwise,
        host_s=np.maximum(launch - device, 0.0),
        tp_comm_s=tp,
        cp_comm_s=cp,
        ep_comm_s=ep,
    )


def _num_kernels(x: Setting, gemms: LayerGemms) -> float:
    """Launches of a mean layer in forward."""
    dense, moe = _weights(x.model)
    pointwise = _POINTWISE_KERNELS if x.engine.fused_kernels else _EAGER_KERNELS
    linear = len(gemms.attention) + dense * len(gemms.dense_ffn)
    linear += moe * (len(gemms.beside_experts) + len(gemms.experts))
    casts = linear if x.dev.casts_inputs else 0
    return linear + casts + pointwise + 1 + moe * _EXPERT_KERNELS
