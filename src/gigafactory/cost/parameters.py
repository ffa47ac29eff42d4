"""How many parameters a model has, exactly, and how many one token meets.

Legend: h hidden, d head size, n_q and n_kv heads, f width of a feed-forward, E experts,
k experts a token (top-k), V vocabulary, L layers.

Sources: the released configurations (GROK, Llama 3 arXiv:2407.21783 table 3, DeepSeek-V3
arXiv:2412.19437 section 4.2, Mixtral arXiv:2401.04088 table 1); tests hold the published totals.
"""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.describe.model import Block, Mla, Model

#: RMSNorm or LayerNorm vectors of width h in one layer: Grok norms before and after both halves.
_NORMS_A_LAYER = {Block.GROK1: 4, Block.GROK2: 4}
#: Blocks whose linear layers and norms carry a bias.
_BIASED = {Block.GPT}
#: Blocks that norm queries and keys per head.
_QK_NORM = {Block.QWEN3_MOE}


@dataclass(frozen=True)
class Parameters:
    """Parameter counts of a model; ``attention`` to ``router`` are of one layer."""

    attention: int
    norms: int
    dense_ffn: int
    """Of a layer without experts; 0 where there is none."""
    residual_ffn: int
    """Dense part beside the experts: residual MLP and shared experts."""
    experts: int
    """All routed experts of a layer."""
    active_experts: float
    router: int
    embedding: int
    """Input table."""
    head: int
    """Output projection; 0 when tied to the input table."""
    final_norm: int
    num_dense_layers: int
    num_moe_layers: int

    @property
    def dense_total(self) -> int:
        """Everything that data parallelism replicates and expert parallelism does not split."""
        layers = self.num_dense_layers + self.num_moe_layers
        body = layers * (self.attention + self.norms)
        feed = self.num_dense_layers * self.dense_ffn
        beside = self.num_moe_layers * (self.residual_ffn + self.router)
        return body + feed + beside + self.embedding + self.head + self.final_norm

    @property
    def expert_total(self) -> int:
        """Routed experts of all layers."""
        return self.num_moe_layers * self.experts

    @property
    def total(self) -> int:
        """All parameters, tied tables once."""
        return self.dense_total + self.expert_total

    @property
    def active(self) -> float:
        """Parameters that one token meets, both tables included."""
        return self.dense_total + self.num_moe_layers * self.active_experts


def count_parameters(model: Model) -> Parameters:
    """Count ``model`` exactly, by part."""
    h, moe = model.hidden, model.num_moe_layers
    expert = ffn_parameters(model, model.moe_ffn) if moe else 0
    biases = 2 if model.block in _BIASED else 1
    residual = ffn_parameters(model, model.ffn) if model.dense_residual and moe else 0
    return Parameters(
        attention=attention_parameters(model),
        norms=_NORMS_A_LAYER.get(model.block, 2) * h * biases,
        dense_ffn=ffn_parameters(model, model.ffn) if model.num_layers > moe else 0,
        residual_ffn=residual + model.num_shared_experts * expert,
        experts=model.num_experts * expert,
        active_experts=model.topk * expert,
        router=model.num_experts * h,
        embedding=model.vocab * h,
        head=0 if model.tied_embeddings else model.vocab * h,
        final_norm=h * biases,
        num_dense_layers=model.num_layers - moe,
        num_moe_layers=moe,
    )


def attention_parameters(model: Model) -> int:
    """Of the attention of one layer."""
    if model.mla is not None:
        return _mla_parameters(model, model.mla)
    h, d = model.hidden, model.head_dim
    q, kv = model.num_heads * d, model.num_kv_heads * d
    count = h * (q + 2 * kv) + q * h
    if model.block in _BIASED:
        count += q + 2 * kv + h
    if model.block in _QK_NORM:
        count += 2 * d
    return count


def _mla_parameters(model: Model, mla: Mla) -> int:
    h, heads = model.hidden, model.num_heads
    q_width = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    r_q, r_kv = mla.q_lora_rank, mla.kv_lora_rank
    # the latent vectors pass a norm of their own before they are projected up
    query = h * r_q + r_q + r_q * q_width if r_q else h * q_width
    latent = h * (r_kv + mla.qk_rope_head_dim) + r_kv
    up = r_kv * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    return query + latent + up + heads * mla.v_head_dim * h


def ffn_parameters(model: Model, width: int) -> int:
    """Of one feed-forward of ``width``: two matrices, three when gated."""
    matrices = 3 if model.gated_ffn else 2
    biases = width * (matrices - 1) + model.hidden if model.block in _BIASED else 0
    return matrices * model.hidden * width + biases
