"""Plug-in of torchtitan 0.2: registers the study's model (``--experimental.custom_import``).

Llama, Qwen3-MoE and DeepSeek are torchtitan's own blocks with the study's shapes; Grok's block is
our network, sharded by FSDP2 along the data-parallel axes that torchtitan made. The shapes come
from the file that GIGA_TITAN_MODEL names. Imported by torchtitan only: nothing else needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torchtitan.config import TORCH_DTYPE_MAP
from torchtitan.models.moe import MoEArgs
from torchtitan.protocols.model import BaseModelArgs
from torchtitan.protocols.train_spec import TrainSpec, get_train_spec, register_train_spec

from gigafactory.describe.model import Block, Model
from gigafactory.net.network import Network, initialise
from gigafactory.plan.emit.torchtitan import NAMES
from gigafactory.run.engines.torchtitan import MODEL_VARIABLE


@dataclass
class GrokArgs(BaseModelArgs):  # type: ignore[misc]
    """What torchtitan keeps of a model of ours."""

    model: Model | None = None
    seed: int = 0

    def update_from_config(self, job_config: Any, **_: Any) -> None:
        """The seed of the job draws the weights."""
        self.seed = job_config.debug.seed or 0

    def get_nparams_and_flops(self, model: nn.Module, seq_len: int) -> tuple[int, int]:
        """Parameters, and FLOPs of a token forward and backward, attention left out."""
        assert self.model is not None
        total = sum(weight.numel() for weight in model.parameters())
        idle = self.model.num_experts - self.model.topk
        inactive = self.model.num_moe_layers * idle * 3 * self.model.hidden * self.model.moe_ffn
        return total, 6 * (total - inactive)


class TitanGrok(Network):
    """Our network with what torchtitan calls (its ModelProtocol, which nothing checks)."""

    def __init__(self, args: GrokArgs) -> None:
        assert args.model is not None
        super().__init__(args.model)
        self.seed = args.seed

    def forward(self, tokens: Tensor, **_: Any) -> Tensor:  # type: ignore[override]
        """(B, T) -> (B, T, V) logits; torchtitan has no place for the experts' imbalance."""
        return super().forward(tokens)[0]

    def init_weights(self, buffer_device: torch.device | None = None) -> None:
        """As our own training does."""
        initialise(self, seed=self.seed)


def shard(model: TitanGrok, parallel_dims: Any, job_config: Any) -> TitanGrok:
    """FSDP2, or HSDP where torchtitan's mesh has both axes; any other axis is refused."""
    others = ("tp", "pp", "cp", "ep")
    if any(getattr(parallel_dims, axis) > 1 for axis in others):
        raise ValueError("our block is data-parallel only in torchtitan")
    names = ["fsdp"] if parallel_dims.dp_replicate == 1 else ["dp_replicate", "fsdp"]
    if parallel_dims.dp_shard * parallel_dims.dp_replicate == 1:
        return model
    told = job_config.training
    policy = MixedPrecisionPolicy(
        param_dtype=TORCH_DTYPE_MAP[told.mixed_precision_param],
        reduce_dtype=TORCH_DTYPE_MAP[told.mixed_precision_reduce],
    )
    mesh = parallel_dims.get_mesh(names)
    for layer in model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def args_of(model: Model) -> BaseModelArgs:
    """The study's shapes in torchtitan's words."""
    makers: dict[Block, Callable[[Model], BaseModelArgs]] = {
        Block.LLAMA: _llama, Block.QWEN3_MOE: _qwen3, Block.DEEPSEEK: _deepseek,
        Block.GROK1: lambda model: GrokArgs(model=model),
    }  # fmt: skip
    return makers[model.block](model)


def _llama(model: Model) -> BaseModelArgs:
    from torchtitan.models.llama3.model.args import TransformerModelArgs

    return TransformerModelArgs(
        dim=model.hidden, n_layers=model.num_layers, n_heads=model.num_heads,
        n_kv_heads=model.num_kv_heads, vocab_size=model.vocab, max_seq_len=model.context,
        # torchtitan rounds 8/3 of the width up to a multiple: of this one there is only one
        multiple_of=model.ffn, ffn_dim_multiplier=0.5 * model.ffn / (8 / 3 * model.hidden),
    )  # fmt: skip


def _qwen3(model: Model) -> BaseModelArgs:
    from torchtitan.models.qwen3.model.args import Qwen3ModelArgs

    return Qwen3ModelArgs(
        dim=model.hidden, n_layers=model.num_layers, n_heads=model.num_heads,
        n_kv_heads=model.num_kv_heads, vocab_size=model.vocab, head_dim=model.head_dim,
        hidden_dim=model.ffn or model.moe_ffn, max_seq_len=model.context,
        enable_weight_tying=model.tied_embeddings, moe_enabled=bool(model.num_experts),
        moe_inter_dim=model.moe_ffn,
        moe_args=MoEArgs(
            num_experts=model.num_experts or 1, num_shared_experts=0, score_func="softmax",
            route_norm=True, score_before_experts=False, top_k=model.topk or 1,
        ),
    )  # fmt: skip


def _deepseek(model: Model) -> BaseModelArgs:
    from torchtitan.models.deepseek_v3.model.args import DeepSeekV3ModelArgs

    assert model.mla is not None
    mla = model.mla
    return DeepSeekV3ModelArgs(
        dim=model.hidden, n_layers=model.num_layers, n_heads=model.num_heads,
        vocab_size=model.vocab, max_seq_len=model.context, inter_dim=model.ffn,
        moe_inter_dim=model.moe_ffn, n_dense_layers=model.num_dense_layers,
        q_lora_rank=mla.q_lora_rank, kv_lora_rank=mla.kv_lora_rank,
        qk_nope_head_dim=mla.qk_nope_head_dim, qk_rope_head_dim=mla.qk_rope_head_dim,
        v_head_dim=mla.v_head_dim,
        moe_args=MoEArgs(
            num_experts=model.num_experts, num_shared_experts=model.num_shared_experts,
            score_func="sigmoid", route_norm=True, top_k=model.topk, score_before_experts=False,
        ),
    )  # fmt: skip


def spec_of(model: Model) -> TrainSpec:
    """A TrainSpec whose only flavor is the study's model."""
    flavors = {model.name: args_of(model)}
    if model.block is not Block.GROK1:
        return replace(get_train_spec(NAMES[model.block]), model_args=flavors)
    # data, tokenizer, optimizer and loss as torchtitan has them for text
    return replace(
        get_train_spec("llama3"), model_cls=TitanGrok, model_args=flavors, parallelize_fn=shard,
        pipelining_fn=None, state_dict_adapter=None,
    )  # fmt: skip


def register(path: Path) -> None:
    """Make the model of the file known to torchtitan, under the name that the job file says."""
    model = Model.model_validate_json(path.read_text(encoding="utf-8"))
    register_train_spec(NAMES[model.block], spec_of(model))


if MODEL_VARIABLE in os.environ:
    register(Path(os.environ[MODEL_VARIABLE]))
