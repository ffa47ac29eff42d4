"""Causal grouped-query attention, with capped logits where the block has them.

Letters: B batch, T new positions, S positions attended to, h query heads, g key/value heads, d head
size. Three ways to the same result: FlexAttention on CUDA, torch's fused attention where nothing
is capped, and plain products elsewhere (FlexAttention has no backward on a CPU).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gigafactory.describe.model import Model
from gigafactory.net.cache import LayerCache
from gigafactory.net.here import together
from gigafactory.net.norms import RmsNorm
from gigafactory.net.recipe import Recipe
from gigafactory.net.rope import Rope, rotate


def cap(logits: Tensor, bound: float | None) -> Tensor:
    """``bound`` * tanh(logits / bound); None: as they are."""
    return logits if bound is None else bound * torch.tanh(logits / bound)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    first: int,
    bound: float | None = 30.0,
    temperature_len: int = 0,
    documents: Tensor | None = None,
) -> Tensor:
    """Causal attention by plain products; q (B, h, T, d), k and v (B, g, S, d) -> (B, h, T, d).

    Query t stands at position ``first + t`` and sees keys 0 to there, in the same document where
    ``documents`` (B, S) numbers them. Heads that share a key are folded into the query axis, so
    that keys are never copied.
    """
    B, h, T, d = q.shape
    g, S = k.shape[1], k.shape[2]
    logits = (q.reshape(B, g, h // g * T, d) @ k.transpose(-1, -2)).float() * d**-0.5
    logits = cap(logits, bound).view(B, h, T, S)
    place = torch.arange(first, first + T, device=q.device)
    if temperature_len and first + T > temperature_len:
        logits = logits * temperatures(place, temperature_len)[:, None]
    logits = logits.masked_fill(_hidden(place, S, documents), float("-inf"))
    weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(v.dtype)
    return (weights.view(B, g, h // g * T, S) @ v).view(B, h, T, d)


def temperatures(place: Tensor, temperature_len: int) -> Tensor:
    """Factor on the logits of queries at ``place``: 1 up to ``temperature_len``, then growing."""
    grown = torch.log(place.clamp(min=1).float()) / math.log(temperature_len)
    return torch.where(place > temperature_len, grown, 1.0)


def _hidden(place: Tensor, num_keys: int, documents: Tensor | None) -> Tensor:
    """What each query must not see: (T, S), or (B, 1, T, S) with documents."""
    later = torch.arange(num_keys, device=place.device) > place[:, None]
    if documents is None:
        return later
    return later | (documents[:, None, place, None] != documents[:, None, None, :])


def fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bound: float | None,
    temperature_len: int,
    documents: Tensor | None,
) -> Tensor:
    """As ``attend`` from position 0 on, without the logits ever being written to memory."""
    long = temperature_len if temperature_len and q.shape[2] > temperature_len else 0
    if bound is None and documents is None and not long:
        compiles_here = torch.compiler.is_compiling() and not q.is_cuda
        if compiles_here and q.shape[2] <= REMADE_LEN:
            remade: Tensor = _Remade.apply(q, k, v)  # type: ignore[no-untyped-call]
            return remade
        return _torchs_own(q, k, v)
    return _flex(q, k, v, bound=bound, temperature_len=long, documents=documents)


def _torchs_own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out: Tensor = nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out


REMADE_LEN = 512
"""Up to here a compiled backward that makes the weights anew beats torch's on a processor: at
256 positions 43 against 62 ms of one core, at 512 about even, at 1,024 130 against 76."""


class _Remade(torch.autograd.Function):
    """torch's fused attention forward; backward by products that the compiler joins the rest to.

    P = softmax(Q K' / sqrt d), dP = dO V', dS = P (dP - sum(P dP)):
    dQ = dS K, dK = dS' Q, dV = P' dO  (FlashAttention, Dao 2022, appendix B.2).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return _torchs_own(q, k, v)

    @staticmethod
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        B, h, T, d = q.shape
        g = k.shape[1]
        q, out = (part.reshape(B, g, h // g * T, d) for part in (q, out))
        logits = (q @ k.transpose(-1, -2)).view(B, h, T, T).float() * d**-0.5
        later = _hidden(torch.arange(T, device=q.device), T, None)
        P = torch.softmax(logits.masked_fill(later, float("-inf")), dim=-1)
        dP = (out @ v.transpose(-1, -2)).view(B, h, T, T).float()
        dS = P * (dP - (P * dP).sum(-1, keepdim=True)) * d**-0.5
        dS, P = (part.to(q.dtype).view(B, g, h // g * T, T) for part in (dS, P))
        dQ = (dS @ k).view(B, h, T, d)
        return dQ, dS.transpose(-1, -2) @ q, P.transpose(-1, -2) @ out


def _flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bound: float | None,
    temperature_len: int,
    documents: Tensor | None,
) -> Tensor:
    from torch.nn.attention.flex_attention import create_block_mask

    def score(logit: Tensor, _b: Tensor, _h: Tensor, query: Tensor, _key: Tensor) -> Tensor:
        logit = cap(logit, bound)
        return logit * temperatures(query, temperature_len) if temperature_len else logit

    def seen(b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        causal = query >= key
        return causal if documents is None else causal & (documents[b, query] == documents[b, key])

    batch = None if documents is None else q.shape[0]
    mask = create_block_mask(seen, batch, None, q.shape[2], k.shape[2], device=str(q.device))
    grouped = q.shape[1] != k.shape[1]
    out: Tensor = _compiled_flex()(q, k, v, score_mod=score, block_mask=mask, enable_gqa=grouped)
    return out


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    """Uncompiled, FlexAttention writes all logits to memory."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


class Attention(nn.Module):
    """Projections, rotary positions, and one of the ways to attend."""

    def __init__(self, model: Model, recipe: Recipe) -> None:
        super().__init__()
        q_width, kv_width = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
        self.head_dim, self.bound = model.head_dim, recipe.attention_cap
        self.temperature_len = recipe.temperature_len
        self.q_proj = nn.Linear(model.hidden, q_width, bias=False)
        self.k_proj = nn.Linear(model.hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(model.hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(q_width, model.hidden, bias=False)
        if recipe.norms_heads:
            self.q_norm = RmsNorm(model.head_dim, eps=recipe.norm_eps)
            self.k_norm = RmsNorm(model.head_dim, eps=recipe.norm_eps)
        self.norms_heads = recipe.norms_heads

    def forward(
        self,
        x: Tensor,
        *,
        rope: Rope,
        cache: LayerCache | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """(B, T, H) -> (B, T, H); with a cache, the new positions follow those it holds."""
        q, k, v = (
            part.view(*part.shape[:-1], -1, self.head_dim).transpose(1, 2)
            for part in together(x, self.q_proj, self.k_proj, self.v_proj)
        )
        if self.norms_heads:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, rope), rotate(k, rope)
        heads = self._attend(q, k, v, cache, documents)
        out: Tensor = self.o_proj(heads.transpose(1, 2).flatten(2))
        return out

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, cache: LayerCache | None, documents: Tensor | None
    ) -> Tensor:
        special: dict[str, Any] = {
            "bound": self.bound,
            "temperature_len": self.temperature_len,
            "documents": documents,
        }
        is_plain = self.bound is None and documents is None and not self.temperature_len
        if cache is None and (q.is_cuda or is_plain):
            return fused(q, k, v, **special)
        first = 0
        if cache is not None:
            first = cache.length
            k, v = cache.append(k, v)
        return attend(q, k, v, first=first, **special)
