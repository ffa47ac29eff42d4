"""torchtitan's Qwen3 of the same shapes, trained as torchtitan trains on one GPU: autocast, every
block compiled, fused AdamW. For torchtitan 0.2.2, which fits torch 2.11; absent: None.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from gigafactory.describe.model import Model


class TitanTraining:
    def __init__(self, net: Any, *, num_micro: int) -> None:
        self.net, self.num_micro = net, num_micro
        self.device = next(net.parameters()).device
        for block in net.layers.values():
            block.compile()
        self.loss = torch.compile(_loss)
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)

    def step(self, ids: Tensor, targets: Tensor) -> None:
        for piece, wanted in zip(
            ids.chunk(self.num_micro), targets.chunk(self.num_micro), strict=True
        ):
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.loss(self.net(piece), wanted)
            (loss / self.num_micro).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def titan_training(model: Model, *, num_micro: int, device: str) -> TitanTraining | None:
    """The model of ``model``'s shapes (qwen3-moe, with experts or dense)."""
    if importlib.util.find_spec("torchtitan") is None:
        return None
    from torchtitan.models.moe import MoEArgs
    from torchtitan.models.qwen3.model.args import Qwen3ModelArgs
    from torchtitan.models.qwen3.model.model import Qwen3Model

    experts = MoEArgs(
        num_experts=max(1, model.num_experts), num_shared_experts=0, top_k=max(1, model.topk),
        score_func="softmax", route_norm=True, score_before_experts=False,
    )  # fmt: skip
    args = Qwen3ModelArgs(
        dim=model.hidden, n_layers=model.num_layers, n_heads=model.num_heads,
        n_kv_heads=model.num_kv_heads, vocab_size=model.vocab, head_dim=model.head_dim,
        hidden_dim=model.ffn or model.moe_ffn, max_seq_len=model.context,
        moe_enabled=model.num_experts > 0, moe_inter_dim=model.moe_ffn or model.ffn,
        moe_args=experts,
    )  # fmt: skip
    net = Qwen3Model(args).to(device)
    net.init_weights(buffer_device=torch.device(device))
    return TitanTraining(net, num_micro=num_micro)
