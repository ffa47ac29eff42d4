"""One step of many conversations at once over a paged key/value memory.

Letters: N new tokens of all conversations, B conversations that get one token each, S positions
attended to, H hidden, h query heads, g key/value heads, d head size. Memory is cut into blocks of
positions; a conversation's table names its blocks in order, so that blocks of a common beginning
are shared and none has to lie beside another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gigafactory.describe.model import Model
from gigafactory.net.attention import Attention, attend, cap, temperatures
from gigafactory.net.network import Network
from gigafactory.net.rope import Rope, rope_table, rotate


@dataclass(slots=True)
class Pages:
    """Keys and values of all layers, (layers, blocks * block_tokens, g, d)."""

    keys: Tensor
    values: Tensor
    block_tokens: int


def empty_pages(
    model: Model, *, num_blocks: int, block_tokens: int, dtype: torch.dtype = torch.float32
) -> Pages:
    """Memory for ``num_blocks`` blocks."""
    shape = (model.num_layers, num_blocks * block_tokens, model.num_kv_heads, model.head_dim)
    return Pages(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype), block_tokens)


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens ``ids`` of one conversation at positions ``first`` and after; ``table`` names the
    blocks from position 0 to the last of them."""

    ids: Sequence[int]
    first: int
    table: Sequence[int]


@torch.inference_mode()
def step_logits(net: Network, pages: Pages, spans: Sequence[Span]) -> Tensor:
    """Compute the new tokens of all spans, keep their keys and values; logits (spans, V) of what
    comes behind each span."""
    plan = _Plan(spans, pages.block_tokens)
    recipe, model = net.recipe, net.model
    rope = rope_table(
        plan.positions, model.head_dim, theta=recipe.rope_theta, scaling=recipe.rope_scaling
    )
    x = net.embed_tokens(plan.ids)[None]
    if recipe.scales_embedding:
        x = x * math.sqrt(model.hidden)
    for index, layer in enumerate(net.layers):
        block: Any = layer
        memory = (pages.keys[index], pages.values[index])
        heard = _attend(block.self_attn, block.pre_attn_norm(x), rope, memory, plan)
        x = x + block.post_attn_norm(heard)
        fed, _ = block._feed(block.pre_moe_norm(x))
        x = x + block.post_moe_norm(fed)
    return net._logits(net.norm(x[:, plan.last]))[0]


class _Plan:
    """Where everything lies in this step; made once for all layers."""

    def __init__(self, spans: Sequence[Span], size: int) -> None:
        self.ids = torch.tensor([i for span in spans for i in span.ids])
        places = [span.first + n for span in spans for n in range(len(span.ids))]
        self.positions = torch.tensor(places)
        tables = [torch.tensor(span.table) for span in spans]
        inside = torch.arange(size)
        slots = [(table[:, None] * size + inside).flatten() for table in tables]
        lengths = [span.first + len(span.ids) for span in spans]
        rows = torch.tensor([len(span.ids) for span in spans]).cumsum(0)
        self.last = rows - 1
        self.slots = torch.cat(
            [s[sp.first : end] for s, sp, end in zip(slots, spans, lengths, strict=True)]
        )
        single = [i for i, span in enumerate(spans) if len(span.ids) == 1]
        self.single_rows = self.last[single]
        self.lengths = torch.tensor([lengths[i] for i in single])
        longest = max((lengths[i] for i in single), default=0)
        self.single_slots = torch.zeros(len(single), longest, dtype=torch.long)
        for row, i in enumerate(single):
            self.single_slots[row, : lengths[i]] = slots[i][: lengths[i]]
        self.long = [
            (int(rows[i]) - len(span.ids), int(rows[i]), span.first, slots[i][: lengths[i]])
            for i, span in enumerate(spans)
            if len(span.ids) > 1
        ]


def _attend(
    attention: Attention, x: Tensor, rope: Rope, memory: tuple[Tensor, Tensor], plan: _Plan
) -> Tensor:
    """(1, N, H) -> (1, N, H); the new keys and values are written to ``memory`` first."""
    q, k, v = (
        proj(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for proj in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if attention.norms_heads:
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k = rotate(q, rope), rotate(k, rope)
    keys, values = memory
    keys.index_copy_(0, plan.slots, k[0].transpose(0, 1).to(keys.dtype))
    values.index_copy_(0, plan.slots, v[0].transpose(0, 1).to(values.dtype))
    heads = torch.empty_like(q[0].transpose(0, 1))  # (N, h, d)
    bound, temperature_len = attention.bound, attention.temperature_len
    if len(plan.single_rows):
        heads[plan.single_rows] = _attend_singly(
            q[0].transpose(0, 1)[plan.single_rows], memory, plan,
            bound=bound, temperature_len=temperature_len,
        )  # fmt: skip
    for start, end, first, slots in plan.long:
        seen = (keys[slots].transpose(0, 1)[None], values[slots].transpose(0, 1)[None])
        one = attend(
            q[:, :, start:end], *seen, first=first, bound=bound, temperature_len=temperature_len
        )
        heads[start:end] = one[0].transpose(0, 1)
    out: Tensor = attention.o_proj(heads.flatten(1))[None]
    return out


def _attend_singly(
    q: Tensor,
    memory: tuple[Tensor, Tensor],
    plan: _Plan,
    *,
    bound: float | None,
    temperature_len: int,
) -> Tensor:
    """One query for each of B conversations, each over its own positions; (B, h, d) -> same."""
    B, h, d = q.shape
    k, v = (part[plan.single_slots].transpose(1, 2) for part in memory)  # (B, g, S, d)
    g, S = k.shape[1], k.shape[2]
    logits = (q.view(B, g, h // g, d) @ k.transpose(-1, -2)).float() * d**-0.5
    logits = cap(logits, bound)
    if temperature_len:
        places = plan.lengths - 1
        logits = logits * temperatures(places, temperature_len)[:, None, None, None]
    beyond = torch.arange(S) >= plan.lengths[:, None]
    logits = logits.masked_fill(beyond[:, None, None, :], float("-inf"))
    weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(v.dtype)
    return (weights @ v).reshape(B, h, d)
