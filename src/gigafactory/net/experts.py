"""A mixture of experts: float32 router, top-k, gated experts, no token dropped.

    p = softmax(cap(gate x))  over all E        (float32)
    y = sum over the k largest p_e of  p_e * w2_e (curve(w1_e x) * w3_e x)

Qwen3-MoE divides the k chosen p_e by their sum, Grok does not. The (token, expert) pairs are
sorted by expert, each expert multiplies its own contiguous rows, and the results go back to where
the pairs came from. Where the experts lie on several ranks, the rows travel there and back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gigafactory.describe.model import Model
from gigafactory.net.attention import cap
from gigafactory.net.exchange import Exchange
from gigafactory.net.here import averaged, compute_dtype, here
from gigafactory.net.mlp import curve
from gigafactory.net.recipe import Gate, Recipe, recipe_of

#: grouped_mm wants rows and columns of both operands on 16-byte boundaries.
_ALIGNMENT_BYTES = 16
_CPU_ROWS = 32
_GPU_ROWS = 16


class Routing(NamedTuple):
    """How the router spread the tokens, by sequence (B,): the mean over the layers."""

    imbalance: Tensor
    """1 when all experts are used evenly, E / k when k of them do it all; see ``imbalance``."""
    z: Tensor
    """Mean square of the log of the router's partition function (ST-MoE, arXiv:2202.08906)."""


class ExpertWeights(nn.Module):
    """The matrices of the experts of one layer, or of those that lie on this rank."""

    def __init__(self, model: Model, *, gate: Gate) -> None:
        super().__init__()
        E, H, ffn = model.num_experts, model.hidden, model.moe_ffn
        self.gate = gate
        self.w1 = nn.Parameter(torch.empty(E, ffn, H))
        self.w2 = nn.Parameter(torch.empty(E, H, ffn))
        self.w3 = nn.Parameter(torch.empty(E, ffn, H))

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Rows (N, H), sorted by expert, ``counts`` (E,) for each -> (N, H)."""
        w1, w2, w3 = (here(w).to(rows.dtype).transpose(1, 2) for w in (self.w1, self.w2, self.w3))
        gated = curve(grouped_matmul(rows, w1, counts), self.gate)
        return grouped_matmul(gated * grouped_matmul(rows, w3, counts), w2, counts)


class Experts(nn.Module):
    """E gated FFNs and the router that picks k of them for every token."""

    def __init__(self, model: Model, recipe: Recipe | None = None) -> None:
        super().__init__()
        self.recipe = recipe or recipe_of(model)
        self.topk, self.num_experts = model.topk, model.num_experts
        self.gate = nn.Linear(model.hidden, model.num_experts, bias=False)
        self.experts = ExpertWeights(model, gate=self.recipe.gate)
        self.exchange: Exchange | None = None
        """Set where the experts lie on several ranks."""
        self.sequence_mesh: Any = None
        """Set where every rank of it has a part of each sequence."""

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """(B, T, H) -> the same shape, and how its tokens were spread."""
        tokens = x.flatten(0, 1)
        logits, probs = self._route(tokens)
        weights, chosen = probs.topk(self.topk, dim=-1)
        if self.recipe.renormalises:
            weights = weights / weights.sum(-1, keepdim=True)
        tokens = tokens.to(compute_dtype(tokens))
        pairs = tokens.unsqueeze(1).expand(-1, self.topk, -1).flatten(0, 1)
        rows = self._serve(pairs, chosen.flatten()).view(*weights.shape, -1)
        y = (rows * weights.unsqueeze(-1)).sum(1).to(x.dtype)
        return y.view_as(x), self._spread(logits, probs, chosen, batch=x.shape[0])

    def _route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(tokens.device.type, enabled=False):
            raw = nn.functional.linear(tokens.float(), here(self.gate.weight).float())
            logits = cap(raw, self.recipe.router_cap)
            return logits, torch.softmax(logits, dim=-1)

    def _serve(self, pairs: Tensor, chosen: Tensor) -> Tensor:
        """Each pair (N, H) by the expert (N,) it chose."""
        if self.exchange is None:
            return self._by_expert(pairs, chosen, self.num_experts)
        return self.exchange.serve(pairs, chosen, self.num_experts, self._by_expert)

    def _by_expert(self, pairs: Tensor, owner: Tensor, num_experts: int) -> Tensor:
        unit = _unit(pairs, num_experts)
        slots, room = seat(owner, num_experts, unit=unit)
        # as many rows as could ever be needed: a size that the host knows without asking
        capacity = pairs.shape[0] + num_experts * (unit - 1)
        rows = pairs.new_zeros(capacity, pairs.shape[1]).index_copy(0, slots, pairs)
        return self._feed(rows, room).index_select(0, slots)

    def _feed(self, rows: Tensor, counts: Tensor) -> Tensor:
        out: Tensor = self.experts(rows, counts)
        return out

    def _spread(self, logits: Tensor, probs: Tensor, chosen: Tensor, *, batch: int) -> Routing:
        E, mesh = self.num_experts, self.sequence_mesh
        used, meant = usage(probs.view(batch, -1, E), chosen.view(batch, -1))
        z = torch.logsumexp(logits, dim=-1).square().view(batch, -1).mean(1)
        return Routing(imbalance(averaged(used, mesh), averaged(meant, mesh)), averaged(z, mesh))


def seat(chosen: Tensor, num_experts: int, *, unit: int) -> tuple[Tensor, Tensor]:
    """Where each pair goes when all are sorted by expert, and the rows every expert then has.

    ``chosen`` (N,) names the expert of each pair; the rows of an expert are rounded up to a
    multiple of ``unit``, those left over stay empty. Returns slots (N,) and rows (E,).
    """
    counts = count(chosen, num_experts)
    room = (counts + unit - 1) // unit * unit
    order = chosen.sort(stable=True).indices
    shift = (room.cumsum(0) - room) - (counts.cumsum(0) - counts)
    places = torch.arange(len(order), device=order.device) + shift[chosen[order]]
    return torch.empty_like(order).index_copy(0, order, places), room


def count(chosen: Tensor, num_experts: int) -> Tensor:
    """How many of ``chosen`` (N,) name each expert, (E,); unlike bincount it can be compiled."""
    return (chosen[:, None] == torch.arange(num_experts, device=chosen.device)).sum(0)


def _unit(pairs: Tensor, num_experts: int) -> int:
    """On a CPU every new number of rows is a kernel to be compiled and kept: let there be few.
    On a GPU the matrices of an expert must begin on 16-byte boundaries."""
    if pairs.is_cuda:
        return _GPU_ROWS
    are_many = pairs.shape[0] >= _CPU_ROWS * num_experts
    return _CPU_ROWS if are_many else 1


def usage(probs: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """f and P, (B, E) each: the share of the choices, and the mean probability, of each expert.

    probs (B, T, E), chosen (B, T * k).
    """
    used = nn.functional.one_hot(chosen, probs.shape[-1]).float().mean(1)
    return used, probs.mean(1)


def imbalance(used: Tensor, meant: Tensor) -> Tensor:
    """E * sum_e f_e P_e of each sequence, (B,): 1 when even, E / k when k experts do it all.

    The balance loss of Switch Transformer (arXiv:2101.03961, section 2.2), taken per sequence as
    in DeepSeek-V2 (arXiv:2405.04434, section 2.2.3), so that it does not depend on how the batch
    is spread over ranks. ``used`` f and ``meant`` P, (B, E) each.
    """
    return used.shape[-1] * (used * meant).sum(-1)


def grouped_matmul(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Rows (N, K), sorted by expert, times their expert's weights (E, K, M) -> (N, M).

    ``counts`` (E,) says how many rows each expert has; what stands in rows beyond them is never
    read. One fused kernel where torch has it for this device and dtype, a loop over the experts
    elsewhere; both can be differentiated.
    """
    if _has_fused_kernel(rows, weights):
        ends = counts.cumsum(0).to(torch.int32)
        return nn.functional.grouped_mm(rows, weights, offs=ends)
    sizes = counts.tolist()
    parts = torch.split(rows, [*sizes, len(rows) - sum(sizes)])
    products = [part @ weight for part, weight in zip(parts[:-1], weights, strict=True)]
    return torch.cat([*products, rows.new_zeros(len(parts[-1]), weights.shape[2])])


def _has_fused_kernel(rows: Tensor, weights: Tensor) -> bool:
    if not hasattr(nn.functional, "grouped_mm") or rows.shape[0] == 0:
        return False
    on_gpu = rows.is_cuda and rows.dtype is torch.bfloat16
    # the compiler believes that the kernel takes bf16 alone
    known = (torch.bfloat16,) if torch.compiler.is_compiling() else (torch.float32, torch.bfloat16)
    on_cpu = rows.device.type == "cpu" and rows.dtype in known
    sizes = weights.shape[1:]
    aligned = all(size * rows.element_size() % _ALIGNMENT_BYTES == 0 for size in sizes)
    return aligned and (on_cpu or on_gpu)
