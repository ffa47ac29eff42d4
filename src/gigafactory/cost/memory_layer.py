"""Activations of one layer and microbatch, tensor by tensor: what backward reads.

Legend
    t     tokens of a microbatch on a rank before tp;  h hidden;  f width of a feed-forward
    n_q n_kv d   heads and their size;  K experts a token;  e  expert tensor parallelism
    w     bytes of a number (2);  i  bytes of a stored GEMM input (1 in fp8 and nvfp4 training)

Counted after arXiv:2205.05198 section 4, for flash attention and without dropout, with what engines
of today keep instead: the input of an fp8 GEMM in 8 bits (one direction, as the gradient of the
weight reads it), the input of SwiGLU but not its two factors, permuted copies of routed tokens.
Latent attention: arXiv:2405.04434 section 2.1. Experts: arXiv:2504.14960.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.columns import Columns, Floats
from gigafactory.cost.engine import Engine
from gigafactory.cost.flops import tokens_per_rank
from gigafactory.cost.memory_keeping import Keeping, Part
from gigafactory.cost.pipeline import recomputed_share
from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Recompute
from gigafactory.describe.model import Model

_NARROW = (Precision.FP8, Precision.NVFP4)


@dataclass(frozen=True)
class Width:
    """Bytes of one number: streamed, stored as the input of a GEMM, and in fp32."""

    number: float
    gemm_input: float
    full: float


def width_of(precision: Precision, *, constants: Calibration) -> Width:
    """How wide activations are stored in ``precision``; fp32 training keeps all in fp32."""
    c = constants
    number = c.thirty_two_bit_bytes if precision is Precision.FP32 else c.sixteen_bit_bytes
    narrow = c.eight_bit_bytes if precision in _NARROW else number
    return Width(number=number, gemm_input=narrow, full=c.thirty_two_bit_bytes)


@dataclass(frozen=True)
class Kept:
    """Bytes of one layer and microbatch on one rank, by what selective recomputation can drop."""

    inputs: Floats
    """Inputs of the two halves: all that full recomputation keeps is the first of them."""
    norms: Floats
    latent: Floats
    attention: Floats
    """Queries, keys and values that come from no latent vector; latent vectors."""
    context: Floats
    scores: Floats
    ffn: Floats
    """Products going into the activation function, routed copies, router."""
    activation: Floats
    products: Floats
    """Gradients of the products, there beside the products themselves while backward passes."""

    @property
    def all_bytes(self) -> Floats:
        """Without any recomputation."""
        stored = self.inputs + self.norms + self.latent + self.attention + self.context
        return stored + self.scores + self.ffn + self.activation

    def without(self, parts: frozenset[Part], *, has_experts: bool) -> Floats:
        """What selective recomputation of ``parts`` leaves."""
        dropped = {
            Part.NORMS: self.norms,
            Part.LATENT: self.latent,
            Part.CONTEXT: self.context,
            Part.SCORES: self.scores,
            Part.ACTIVATION: self.activation,
            # only a dense feed-forward is small enough to be worth it; experts stay
            Part.FFN: 0.0 if has_experts else self.ffn + self.activation,
        }
        taken = set(parts) - {Part.ACTIVATION} if Part.FFN in parts and not has_experts else parts
        return np.asarray(self.all_bytes - sum(dropped[part] for part in taken))


def layer_bytes(
    model: Model,
    columns: Columns,
    *,
    seq_len: int,
    precision: Precision,
    engine: Engine,
    keeping: Keeping,
    has_experts: bool,
    constants: Calibration,
) -> Kept:
    """One dense layer, or one with experts."""
    w = width_of(precision, constants=constants)
    t = tokens_per_rank(columns, seq_len=seq_len)
    stream = model.hidden * t / (columns.tp if engine.sequence_parallel else 1)
    cut = t / columns.tp
    latent, attention, context = _attention_bytes(model, w)
    ffn, activation, norm = _experts(model, columns, w) if has_experts else _dense(model, w)
    products = _products(model, has_experts=has_experts) * w.number
    # scores, their softmax and the mask of dropout: 5 bytes each
    written = 0.0 if engine.flash_attention else 2.5 * w.number
    loose = _loose(model, w) if keeping.loose_pointwise else 0.0
    normed = t * model.hidden if keeping.gathered_inputs else stream
    return Kept(
        inputs=2 * w.number * stream,
        norms=(w.gemm_input + norm) * normed,
        latent=latent * cut,
        attention=attention * cut + loose * stream / model.hidden,
        context=context * cut,
        scores=np.asarray(written * model.num_heads * cut * seq_len, dtype=np.float64),
        ffn=ffn * cut,
        activation=activation * cut,
        products=products * cut,
    )


def left_bytes(whole: Kept, columns: Columns, *, keeping: Keeping, has_experts: bool) -> Floats:
    """What the layout's recompute leaves of a layer that it treats."""
    some = whole.without(frozenset(keeping.selective), has_experts=has_experts)
    left = np.where(columns.recomputes(Recompute.SELECTIVE), some, whole.all_bytes)
    return np.where(columns.recomputes(Recompute.FULL), whole.inputs / 2, left)


def kept_bytes(whole: Kept, left: Floats, columns: Columns, *, num_layers: int) -> Floats:
    """A mean layer of a rank, from forward to backward: ``left`` of those that are treated.

    Full recompute may treat some layers of a virtual stage only (``recompute_layers``).
    """
    full = columns.recomputes(Recompute.FULL)
    share = np.where(full, recomputed_share(columns, num_layers=num_layers), 1.0)
    return share * left + (1 - share) * whole.all_bytes


def _attention_bytes(model: Model, w: Width) -> tuple[float, float, float]:
    """(projected up from latent vectors, other q k v, output) per token before tp.

    The output is read twice, by attention's backward and as the input of the projection.
    """
    again = w.gemm_input if w.gemm_input < w.number else 0.0
    if model.mla is None:
        q, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
        return 0.0, w.number * (q + 2 * kv), (w.number + again) * q
    m = model.mla
    qk, out = m.qk_nope_head_dim + m.qk_rope_head_dim, model.num_heads * m.v_head_dim
    up = w.number * (model.num_heads * 2 * qk + out)
    # before and after their norms; every tp rank holds those of its own tokens
    low = w.number * (m.q_lora_rank + m.kv_lora_rank + m.qk_rope_head_dim)
    low += w.gemm_input * (m.q_lora_rank + m.kv_lora_rank)
    return up, low, (w.number + again) * out


def _loose(model: Model, w: Width) -> float:
    """What pointwise kernels that are not fused keep more per token.

    Queries and keys before the rotary embedding; of the stream, the fp32 copy that a norm computes
    on and what leaves the residual addition.
    """
    q_k = (model.num_heads + model.num_kv_heads) * model.head_dim
    return w.number * q_k + (w.full + w.number) * model.hidden


def _products(model: Model, *, has_experts: bool) -> float:
    """Numbers per token before tp that go into the activation functions."""
    into = 2 if model.gated_ffn else 1
    beside = model.num_shared_experts * model.moe_ffn + model.dense_residual * model.ffn
    return into * (beside + model.topk * model.moe_ffn if has_experts else model.ffn)


def _dense(model: Model, w: Width) -> tuple[Floats, Floats, float]:
    return (
        np.asarray(_products(model, has_experts=False) * w.number),
        np.asarray(model.ffn * w.gemm_input),
        w.gemm_input,
    )


def _experts(model: Model, columns: Columns, w: Width) -> tuple[Floats, Floats, float]:
    products = _products(model, has_experts=True)
    # each routed copy is kept on entering the experts, once for every rank it is cut over
    copies = model.topk * model.hidden * columns.etp * w.gemm_input
    # logits and probabilities of the router in fp32
    router = 2 * model.num_experts * w.full
    ffn = products * w.number + router + copies
    # the normed input feeds router, dispatcher and shared experts, in 16 bits
    activated = products / (2 if model.gated_ffn else 1) * w.gemm_input
    return np.asarray(ffn, dtype=np.float64), np.asarray(activated, dtype=np.float64), w.number
