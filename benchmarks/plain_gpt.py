"""A plain dense GPT as one would write it for one GPU, the yardstick of train_on_gpu.py.

The recipe is that of nanochat (github.com/karpathy/nanochat): norms without weights, QK-norm,
rotary positions, squared ReLU, untied head with logits capped at 15, bf16 embeddings, Muon for
the matrices and AdamW for the rest, everything compiled. The code is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos + high * sin, high * cos - low * sin), dim=-1)


class Block(nn.Module):
    def __init__(self, hidden: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q, self.k, self.v, self.o = (nn.Linear(hidden, hidden, bias=False) for _ in range(4))
        self.up = nn.Linear(hidden, 4 * hidden, bias=False)
        self.down = nn.Linear(4 * hidden, hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = norm(x)
        q, k, v = (p(y).unflatten(-1, (-1, self.head_dim)) for p in (self.q, self.k, self.v))
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(heads.transpose(1, 2).flatten(2))
        return x + self.down(functional.relu(self.up(norm(x))).square())


class PlainGpt(nn.Module):
    def __init__(self, *, vocab: int, hidden: int, num_layers: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.embed_tokens = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList(Block(hidden, head_dim) for _ in range(num_layers))
        self.lm_head = nn.Linear(hidden, vocab, bias=False)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        half = torch.arange(0, self.head_dim, 2, device=ids.device) / self.head_dim
        angle = torch.outer(torch.arange(ids.shape[1], device=ids.device), 1e4**-half)[:, None]
        cos, sin = angle.cos().bfloat16(), angle.sin().bfloat16()
        x = norm(self.embed_tokens(ids).bfloat16())
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.lm_head(norm(x)).float()
        logits = 15 * torch.tanh(logits / 15)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def flops_per_token(self, seq_len: int) -> float:
        """As ours are counted: products met, causal attention once."""
        met = sum(w.numel() for w in self.parameters()) - self.embed_tokens.weight.numel()
        hidden = self.embed_tokens.weight.shape[1]
        return 6.0 * met + 12.0 * len(self.blocks) * hidden * (seq_len + 1) / 2


class PlainTraining:
    """Whole steps: autocast, compiled, accumulated, clipped, Muon and AdamW of torch."""

    def __init__(self, net: PlainGpt, *, num_micro: int) -> None:
        self.net, self.num_micro = net, num_micro
        self.device = next(net.parameters()).device
        self.run = torch.compile(net)
        matrices = list(net.blocks.parameters())
        rest = [net.embed_tokens.weight, net.lm_head.weight]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=0.02),
            torch.optim.AdamW(rest, lr=1e-3, betas=(0.8, 0.95), fused=True),
        ]

    def step(self, ids: Tensor, targets: Tensor) -> None:
        for piece, wanted in zip(
            ids.chunk(self.num_micro), targets.chunk(self.num_micro), strict=True
        ):
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.run(piece, wanted)
            (loss / self.num_micro).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
