"""Grok-1's mixture of experts: float32 router, top-k without renormalisation, GeGLU experts.

    p = softmax(gate x)  over all E        (float32)
    y = sum over the k largest p_e of  p_e * w2_e (gelu_tanh(w1_e x) * w3_e x)

No token is dropped: the (token, expert) pairs are sorted by expert, each expert multiplies its
own contiguous rows, and the results go back to where the pairs came from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gigafactory.describe.model import Model

#: grouped_mm wants rows and columns of both operands on 16-byte boundaries.
_ALIGNMENT_BYTES = 16
_CPU_ROWS = 32


class Experts(nn.Module):
    """E gated FFNs and the router that picks k of them for every token."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        E, H, ffn = model.num_experts, model.hidden, model.moe_ffn
        self.topk = model.topk
        self.gate = nn.Linear(H, E, bias=False)
        self.w1 = nn.Parameter(torch.empty(E, ffn, H))
        self.w2 = nn.Parameter(torch.empty(E, H, ffn))
        self.w3 = nn.Parameter(torch.empty(E, ffn, H))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, H) -> the same shape, and the imbalance (B,): 1 when all experts are even."""
        tokens = x.flatten(0, 1)
        probs = self._route(tokens)
        weights, chosen = probs.topk(self.topk, dim=-1)
        pairs = tokens.unsqueeze(1).expand(-1, self.topk, -1).flatten(0, 1)
        slots, room = seat(chosen.flatten(), probs.shape[1], unit=_unit(pairs, probs.shape[1]))
        rows = tokens.new_zeros(int(room.sum()), tokens.shape[1]).index_copy(0, slots, pairs)
        rows = self._feed(rows, room).index_select(0, slots).view(*weights.shape, -1)
        y = (rows * weights.unsqueeze(-1)).sum(1).to(x.dtype)
        batch = x.shape[0]
        return y.view_as(x), imbalance(
            probs.view(batch, -1, probs.shape[1]), chosen.view(batch, -1)
        )

    def _route(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            logits = nn.functional.linear(tokens.float(), self.gate.weight.float())
            return torch.softmax(logits, dim=-1)

    def _feed(self, rows: Tensor, counts: Tensor) -> Tensor:
        dtype = _compute_dtype(rows)
        rows = rows.to(dtype)
        w1, w2, w3 = (w.to(dtype).transpose(1, 2) for w in (self.w1, self.w2, self.w3))
        gated = nn.functional.gelu(grouped_matmul(rows, w1, counts), approximate="tanh")
        return grouped_matmul(gated * grouped_matmul(rows, w3, counts), w2, counts)


def seat(chosen: Tensor, num_experts: int, *, unit: int) -> tuple[Tensor, Tensor]:
    """Where each pair goes when all are sorted by expert, and the rows every expert then has.

    ``chosen`` (N,) names the expert of each pair; the rows of an expert are rounded up to a
    multiple of ``unit``, those left over stay empty. Returns slots (N,) and rows (E,).
    """
    counts = torch.bincount(chosen, minlength=num_experts)
    room = (counts + unit - 1) // unit * unit
    order = chosen.sort(stable=True).indices
    shift = (room.cumsum(0) - room) - (counts.cumsum(0) - counts)
    slots = torch.empty_like(order)
    slots[order] = torch.arange(len(order), device=order.device) + shift[chosen[order]]
    return slots, room


def _unit(pairs: Tensor, num_experts: int) -> int:
    """On a CPU every new number of rows is a kernel to be compiled and kept: let there be few."""
    are_many = pairs.shape[0] >= _CPU_ROWS * num_experts
    return _CPU_ROWS if pairs.device.type == "cpu" and are_many else 1


def imbalance(probs: Tensor, chosen: Tensor) -> Tensor:
    """E * sum_e f_e P_e of each sequence, (B,): 1 when even, E / k when k experts do it all.

    The balance loss of Switch Transformer (arXiv:2101.03961, section 2.2), taken per sequence as
    in DeepSeek-V2 (arXiv:2405.04434, section 2.2.3), so that it does not depend on how the batch
    is spread over ranks. probs (B, T, E), chosen (B, T * k).
    """
    num_experts = probs.shape[-1]
    used = nn.functional.one_hot(chosen, num_experts).float().mean(1)
    return num_experts * (used * probs.mean(1)).sum(-1)


def grouped_matmul(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Rows (N, K), sorted by expert, times their expert's weights (E, K, M) -> (N, M).

    ``counts`` (E,) says how many rows each expert has. One fused kernel where torch has it for
    this device and dtype, a loop over the experts elsewhere; both can be differentiated.
    """
    if _has_fused_kernel(rows, weights):
        ends = counts.cumsum(0).to(torch.int32)
        return nn.functional.grouped_mm(rows, weights, offs=ends)
    parts = torch.split(rows, counts.tolist())
    return torch.cat([part @ weight for part, weight in zip(parts, weights, strict=True)])


def _has_fused_kernel(rows: Tensor, weights: Tensor) -> bool:
    if not hasattr(nn.functional, "grouped_mm") or rows.shape[0] == 0:
        return False
    on_gpu = rows.is_cuda and rows.dtype is torch.bfloat16
    on_cpu = rows.device.type == "cpu" and rows.dtype in (torch.float32, torch.bfloat16)
    sizes = weights.shape[1:]
    aligned = all(size * rows.element_size() % _ALIGNMENT_BYTES == 0 for size in sizes)
    return aligned and (on_cpu or on_gpu)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast would use here; grouped_mm is not among the operations it casts itself."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
