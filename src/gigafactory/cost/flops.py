"""What has to be multiplied: the GEMMs of every layer, attention, and the model FLOPs of MFU.

Legend
    t       tokens of a microbatch on one rank before tensor parallelism, b*s/cp
    h d     hidden size, size of a head;  n_q n_kv  query and key/value heads
    f       width of a feed-forward;  E k  experts, experts a token (top-k)
    m n k   a GEMM multiplies (m, k) by (k, n): 2*m*n*k FLOP, m counts tokens
    s       sequence length;  c = mean number of keys a query attends to

The reference formula of MFU: per token, 6 FLOP for every parameter of a matrix multiplication
that the token meets (output projection yes, embedding lookup and norms no), plus
6*L*n_q*(d_qk + d_v)*c for attention, where c counts only what the causal mask (or window) leaves:
(s+1)/2, about half of s. Recomputation is left out. Over the dense peak of the precision used.
PaLM (arXiv:2204.02311 appendix B) counts the masked half of attention too; we do not.

Sources: arXiv:2205.05198 (TP with sequence parallel), arXiv:2405.04434 (MLA),
arXiv:2504.14960 (parallel folding: experts on their own ep x etp mesh).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gigafactory.cost.columns import Columns, Floats
from gigafactory.cost.parameters import count_parameters
from gigafactory.describe.model import Model


@dataclass(frozen=True)
class Gemm:
    """``groups`` equal multiplications in one kernel, on one rank; shapes (num_layouts,)."""

    m: Floats
    n: Floats
    k: Floats
    groups: Floats


@dataclass(frozen=True)
class LayerGemms:
    """The linear layers of a transformer by part; each a list over kernels, forward only."""

    attention: list[Gemm]
    latent: list[Gemm]
    """Up from the latent vectors of latent attention; engines may compute these twice."""
    dense_ffn: list[Gemm]
    """Of a layer without experts."""
    beside_experts: list[Gemm]
    """Shared experts and the dense residual MLP."""
    experts: list[Gemm]
    router: list[Gemm]
    """Stays in 16 bits or more, as does the head."""
    head: list[Gemm]


def layer_gemms(model: Model, columns: Columns, *, seq_len: int, imbalance: float) -> LayerGemms:
    """Every linear layer on one rank for one microbatch."""
    t = tokens_per_rank(columns, seq_len=seq_len)
    tp = columns.tp.astype(np.float64)
    beside = [g for width in _dense_widths(model) for g in _ffn(model, t, width, tp)]
    has_dense = model.num_layers > model.num_moe_layers
    return LayerGemms(
        attention=_attention(model, t, tp),
        latent=_latent(model, t, tp),
        dense_ffn=_ffn(model, t, model.ffn, tp) if has_dense else [],
        beside_experts=beside if model.num_moe_layers else [],
        experts=_experts(model, columns, t, imbalance) if model.num_moe_layers else [],
        router=[_gemm(t / tp, model.num_experts, model.hidden)] if model.num_moe_layers else [],
        head=[_gemm(t, model.vocab / tp, model.hidden)],
    )


def tokens_per_rank(columns: Columns, *, seq_len: int) -> Floats:
    """Tokens of a microbatch that one context-parallel rank holds; shape (num_layouts,)."""
    return np.asarray(columns.micro_batch * seq_len / columns.cp, dtype=np.float64)


def routed_tokens(model: Model, columns: Columns, *, seq_len: int) -> Floats:
    """Token copies that one rank sends to experts in a microbatch and a layer."""
    return tokens_per_rank(columns, seq_len=seq_len) / columns.tp * model.topk


def _gemm(m: Floats, n: Floats | float, k: Floats | float) -> Gemm:
    one = np.ones_like(m)
    return Gemm(m=m, n=n * one, k=k * one, groups=one)


def _attention(model: Model, t: Floats, tp: Floats) -> list[Gemm]:
    h, d = model.hidden, model.head_dim
    if model.mla is None:
        q, kv = model.num_heads * d, model.num_kv_heads * d
        # below one kv head a rank, the head is copied
        return [
            _gemm(t, q / tp + 2 * np.maximum(kv / tp, d), h),
            _gemm(t, h, q / tp),
        ]
    mla = model.mla
    down = [mla.q_lora_rank, mla.kv_lora_rank + mla.qk_rope_head_dim]
    return [
        # the projections down to the latent vectors are not split: each rank does its tokens
        *(_gemm(t / tp, width, h) for width in down if width),
        _gemm(t, h, model.num_heads / tp * mla.v_head_dim),
    ]


def _latent(model: Model, t: Floats, tp: Floats) -> list[Gemm]:
    if model.mla is None:
        return []
    mla, heads = model.mla, model.num_heads / tp
    qk = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    return [
        _gemm(t, heads * qk, mla.q_lora_rank or model.hidden),
        _gemm(t, heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank),
    ]


def _ffn(model: Model, t: Floats, width: int, tp: Floats) -> list[Gemm]:
    into = 2 if model.gated_ffn else 1
    return [_gemm(t, into * width / tp, model.hidden), _gemm(t, model.hidden, width / tp)]


def _dense_widths(model: Model) -> list[int]:
    shared = model.num_shared_experts * model.moe_ffn
    residual = model.ffn if model.dense_residual else 0
    return [width for width in (shared, residual) if width]


def _experts(model: Model, columns: Columns, t: Floats, imbalance: float) -> list[Gemm]:
    """Grouped GEMMs: every rank holds E/ep experts, each cut over etp ranks."""
    here = np.maximum(model.num_experts / columns.ep, 1.0)
    copies = t / columns.tp * model.topk * columns.etp * imbalance
    one = np.ones_like(t)
    into = (2 if model.gated_ffn else 1) * model.moe_ffn / columns.etp * one
    up = Gemm(m=copies / here, n=into, k=model.hidden * one, groups=here)
    down = Gemm(m=up.m, n=up.k, k=model.moe_ffn / columns.etp * one, groups=here)
    return [up, down]


def backward(gemm: Gemm) -> tuple[Gemm, Gemm]:
    """The two products of the backward pass: gradient of the input, gradient of the weight."""
    return (
        replace(gemm, n=gemm.k, k=gemm.n),
        replace(gemm, m=gemm.k, k=gemm.m),
    )


def attended_keys(model: Model, *, seq_len: int) -> float:
    """Mean number of keys that a query of a causal (windowed) attention sees, over the layers."""
    s = float(seq_len)
    w = min(model.window or s, s)
    share = model.window_share
    return share * (w - w * (w - 1) / (2 * s)) + (1 - share) * (s + 1) / 2


def attention_width(model: Model) -> float:
    """n_q * (d_qk + d_v): multiply-adds of attention per query and attended key."""
    mla = model.mla
    if mla is None:
        return 2.0 * model.num_heads * model.head_dim
    qk = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    return float(model.num_heads * (qk + mla.v_head_dim))


def matmul_parameters(model: Model) -> float:
    """Parameters of matrix multiplications that one token meets; the embedding lookup is none."""
    p = count_parameters(model)
    layers = p.num_dense_layers + p.num_moe_layers
    dense = p.num_dense_layers * p.dense_ffn
    moe = p.num_moe_layers * (p.residual_ffn + p.active_experts + p.router)
    return layers * p.attention + dense + moe + model.vocab * model.hidden


def model_flops_per_token(model: Model, *, seq_len: int, multiply_add_flops: float = 2.0) -> float:
    """Forward and backward by the reference formula above, in FLOP."""
    attention = model.num_layers * attention_width(model) * attended_keys(model, seq_len=seq_len)
    return 3 * multiply_add_flops * (matmul_parameters(model) + attention)
