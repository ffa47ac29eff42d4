"""Our network under the names that llama.cpp reads, and what llama.cpp would answer differently.

Only what llama.cpp computes as the network here does is given a form. Its graph of ``grok``
(src/models/grok.cpp and llama-graph.cpp, read in November 2026) departs from xAI's in four ways:

- the weights of the chosen experts are made to add up to 1, where Grok takes them as they are:
  one factor a token, which the norm behind the experts takes out again, unless a dense MLP stands
  beside them;
- the cap on the router's logits and the temperature of far positions are read and not used, and
  its YaRN lengthens queries and keys: Grok-2 has all three, Grok-1 none;
- every layer has experts; a dense network is written as one expert, which gets all the weight;
- queries together are as wide as the hidden state.

The gate's curve is read from a table in half precision on a CPU, so that logits agree to three
digits where torch has seven.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

import torch
from torch import Tensor

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Block, Model
from gigafactory.net.recipe import Recipe, recipe_of

#: Values of the file's table of keys; the type says how each is stored.
Value = str | bool | int | float | list[str] | list[int]


class Arch(StrEnum):
    """Which of llama.cpp's graphs computes it."""

    GROK = "grok"
    QWEN3 = "qwen3"
    QWEN3_MOE = "qwen3moe"


_WHOLE = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_PARTS = {
    "pre_attn_norm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "post_attn_norm.weight": "attn_output_norm.weight",
    "pre_moe_norm.weight": "ffn_norm.weight",
    "post_moe_norm.weight": "layer_output_norm.weight",
    "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.experts.w1": "ffn_gate_exps.weight",
    "block_sparse_moe.experts.w2": "ffn_down_exps.weight",
    "block_sparse_moe.experts.w3": "ffn_up_exps.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
}
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
_DENSE = re.compile(r"ffn_(gate|down|up)\.weight")


def arch_of(model: Model) -> Arch:
    """The graph that computes ``model``; InputError with everything it would compute otherwise."""
    wrong = differs(model)
    if wrong:
        raise InputError(
            f"model {model.name!r} has no GGUF form, because llama.cpp would answer differently: "
            f"{'; '.join(wrong)}. Its safetensors stay as they are"
        )
    if model.block is Block.GROK1:
        return Arch.GROK
    return Arch.QWEN3_MOE if model.num_experts else Arch.QWEN3


def differs(model: Model) -> list[str]:
    """What llama.cpp computes differently or not at all; empty: nothing."""
    is_grok, width = model.block is Block.GROK1, model.num_heads * model.head_dim
    tests = (
        (model.block not in (Block.GROK1, Block.QWEN3_MOE),
         f"block {model.block}, whose router cap, attention temperature and positions it does not "
         "have; blocks grok-1 and qwen3-moe have a form"),
        (is_grok and model.dense_residual,
         "dense_residual beside experts whose weights it makes add up to 1"),
        (model.num_dense_layers > 0 and model.num_experts > 0,
         f"{model.num_dense_layers} dense layers before those with experts; it wants experts in "
         "all or in none"),
        (is_grok and width != model.hidden,
         f"num_heads x head_dim = {width}; it wants hidden = {model.hidden}"),
    )  # fmt: skip
    return [text for is_wrong, text in tests if is_wrong]


def settings(model: Model) -> dict[str, Value]:
    """The keys that describe the network, each with the name of its graph before it."""
    arch, recipe = arch_of(model), recipe_of(model)
    keys: dict[str, Value] = {
        "vocab_size": model.vocab,
        "context_length": model.context,
        "embedding_length": model.hidden,
        "block_count": model.num_layers,
        "feed_forward_length": model.ffn or model.moe_ffn,
        "attention.head_count": model.num_heads,
        "attention.head_count_kv": model.num_kv_heads,
        "attention.key_length": model.head_dim,
        "attention.value_length": model.head_dim,
        "attention.layer_norm_rms_epsilon": recipe.norm_eps,
        "rope.dimension_count": model.head_dim,
        "rope.freq_base": recipe.rope_theta,
    }
    if model.num_experts or arch is Arch.GROK:
        keys |= _experts(model)
    if arch is Arch.GROK:
        keys |= _multipliers(model, recipe)
    return {f"{arch}.{key}": value for key, value in keys.items()}


def _experts(model: Model) -> dict[str, Value]:
    return {
        "expert_count": model.num_experts or 1,
        "expert_used_count": model.topk or 1,
        "expert_feed_forward_length": model.moe_ffn or model.ffn,
    }


def _multipliers(model: Model, recipe: Recipe) -> dict[str, Value]:
    assert recipe.attention_cap is not None
    return {
        "embedding_scale": math.sqrt(model.hidden),
        "logit_scale": recipe.output_multiplier,
        "attn_logit_softcapping": recipe.attention_cap,
        "attention.output_scale": model.head_dim**-0.5,
    }


def tensors(state: Mapping[str, Tensor], *, model: Model) -> Iterator[tuple[str, Tensor]]:
    """Weights of ``Network`` under llama.cpp's names, shapes as torch has them."""
    is_one_expert = arch_of(model) is Arch.GROK and not model.num_experts
    for name, weight in state.items():
        there = _there(name)
        if is_one_expert and _DENSE.search(there):
            yield there.replace(".weight", "_exps.weight"), weight.unsqueeze(0)
        else:
            yield there, weight
    if is_one_expert:
        for layer in range(model.num_layers):
            yield f"blk.{layer}.ffn_gate_inp.weight", torch.zeros(1, model.hidden)


def _there(name: str) -> str:
    if match := _LAYER.fullmatch(name):
        layer, part = match.groups()
        return f"blk.{layer}.{_PARTS[part]}"
    return _WHOLE[name]
