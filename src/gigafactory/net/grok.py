"""Grok-1's transformer, after the released code (github.com/xai-org/grok-1, model.py).

Letters: B batch, T new positions, S positions attended to, H hidden, h query heads, g key/value
heads, d head size, E experts, k experts a token, F expert FFN, V vocabulary.

    x      = sqrt(H) * embed[ids]
    x      = x + post_attn_norm(attention(pre_attn_norm(x)))
    x      = x + post_moe_norm(experts(pre_moe_norm(x)))              (every layer)
    logits = 3^-0.5 * norm(x) embed^T

Norms, the router and both softmaxes are computed in float32 whatever the precision of the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Block, Model
from gigafactory.net.cache import Cache, LayerCache
from gigafactory.net.experts import Experts

NORM_EPS = 1e-5
ROPE_THETA = 1e4
ATTENTION_CAP = 30.0
OUTPUT_MULTIPLIER = 3.0**-0.5


class RmsNorm(nn.Module):
    """x / rms(x) * weight, computed in float32, returned in x's dtype; (..., H) -> (..., H)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., H)."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPS)
        return (wide * scale * self.weight.float()).to(x.dtype)


def rope_table(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (T, d), of positions (T); the angle of pair i is p * theta^(-2i/d)."""
    half = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angle = positions.float()[:, None] * ROPE_THETA**-half
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding over the full head, pairs being (i, i + d/2); (B, heads, T, d)."""
    cos, sin = rope
    low, high = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat((-high, low), dim=-1) * sin).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, *, first: int) -> Tensor:
    """Causal attention with capped logits; q (B, h, T, d), k and v (B, g, S, d) -> (B, h, T, d).

    Query t stands at position ``first + t`` and sees keys 0 to there. Heads that share a key
    are folded into the query axis, so that keys are never copied.
    """
    B, h, T, d = q.shape
    g, S = k.shape[1], k.shape[2]
    logits = (q.reshape(B, g, h // g * T, d) @ k.transpose(-1, -2)).float() * d**-0.5
    logits = ATTENTION_CAP * torch.tanh(logits / ATTENTION_CAP)
    hidden = (
        torch.arange(S, device=q.device) > torch.arange(first, first + T, device=q.device)[:, None]
    )
    logits = logits.view(B, h, T, S).masked_fill(hidden, float("-inf"))
    weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(v.dtype)
    return (weights.view(B, g, h // g * T, S) @ v).view(B, h, T, d)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.head_dim = model.head_dim
        self.q_proj = nn.Linear(model.hidden, model.num_heads * model.head_dim, bias=False)
        self.k_proj = nn.Linear(model.hidden, model.num_kv_heads * model.head_dim, bias=False)
        self.v_proj = nn.Linear(model.hidden, model.num_kv_heads * model.head_dim, bias=False)
        self.o_proj = nn.Linear(model.num_heads * model.head_dim, model.hidden, bias=False)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], cache: LayerCache | None = None
    ) -> Tensor:
        """(B, T, H) -> (B, T, H); with a cache, the new positions follow those it holds."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, rope), rotate(k, rope)
        first = 0
        if cache is not None:
            first = cache.length
            k, v = cache.append(k, v)
        heads = attend(q, k, v, first=first)
        out: Tensor = self.o_proj(heads.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """One block: attention and experts, each between two norms."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.pre_attn_norm = RmsNorm(model.hidden)
        self.self_attn = Attention(model)
        self.post_attn_norm = RmsNorm(model.hidden)
        self.pre_moe_norm = RmsNorm(model.hidden)
        self.block_sparse_moe = Experts(model)
        self.post_moe_norm = RmsNorm(model.hidden)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], cache: LayerCache | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, H) -> (B, T, H), and the imbalance of its experts (B,)."""
        x = x + self.post_attn_norm(self.self_attn(self.pre_attn_norm(x), rope, cache))
        y, imbalance = self.block_sparse_moe(self.pre_moe_norm(x))
        return x + self.post_moe_norm(y), imbalance


class Grok(nn.Module):
    """The whole network, ``Model`` being the one source of its shapes; weights uninitialised.

    InputError where the description is of another architecture than Grok-1's.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        check_is_grok1(model)
        self.model = model
        self.embed_tokens = nn.Embedding(model.vocab, model.hidden)
        self.layers = nn.ModuleList(Layer(model) for _ in range(model.num_layers))
        self.norm = RmsNorm(model.hidden)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> tuple[Tensor, Tensor]:
        """(B, T) token ids -> (B, T, V) logits, and how unevenly the experts were used (B,).

        With a cache the ids follow those it already holds, and are added to it.
        """
        first = 0 if cache is None else cache.length
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)
        rope = rope_table(positions, self.model.head_dim)
        x = self.embed_tokens(ids) * math.sqrt(self.model.hidden)
        imbalances = []
        for index, layer in enumerate(self.layers):
            x, imbalance = layer(x, rope, None if cache is None else cache.layers[index])
            imbalances.append(imbalance)
        logits = nn.functional.linear(self.norm(x), self.embed_tokens.weight)
        return logits * OUTPUT_MULTIPLIER, torch.stack(imbalances).mean(0)


def check_is_grok1(model: Model) -> None:
    """InputError unless this code can build ``model``."""
    wrong = {
        f"block {model.block}": model.block is not Block.GROK1,
        "untied embeddings": not model.tied_embeddings,
        "a dense model": model.num_experts == 0,
        "dense layers": model.num_dense_layers > 0,
        "shared experts": model.num_shared_experts > 0,
        "a dense residual MLP": model.dense_residual,
        "latent attention": model.mla is not None,
        "a sliding window": model.window > 0,
        "an ungated FFN": not model.gated_ffn,
        f"the odd head_dim {model.head_dim}": model.head_dim % 2 == 1,
    }
    found = [name for name, is_wrong in wrong.items() if is_wrong]
    if found:
        raise InputError(
            f"model {model.name!r} has {', '.join(found)}; the network built here is Grok-1's: "
            "block grok-1, tied_embeddings true, experts in every layer"
        )


@torch.no_grad()
def initialise(net: Grok, *, seed: int) -> None:
    """Draw every weight: normal with standard deviation fan_in^-0.5, norms at 1.

    Embeddings take H^-0.5, which the embedding multiplier brings back to unit size. The norms
    behind each sublayer start at (2 * layers)^-0.5, so that the residual stream stays of unit
    size through the depth. One generator in the order of the parameters: same seed, same net.
    """
    dice = torch.Generator().manual_seed(seed)
    depth_scale = (2 * net.model.num_layers) ** -0.5
    for name, weight in net.named_parameters():
        if weight.dim() == 1:
            weight.fill_(depth_scale if ".post_" in name else 1.0)
        else:
            weight.normal_(std=weight.shape[-1] ** -0.5, generator=dice)
