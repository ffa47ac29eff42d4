"""Two forms in which serving engines read our weights: names and configuration, no files.

``Grok1ForCausalLM`` is SGLang's class for Grok-1 and Grok-2, ``Qwen3MoeForCausalLM`` (dense:
``Qwen3ForCausalLM``) is read by transformers, vLLM, SGLang and others. In both, an expert is three
matrices of its own (``...experts.3.w1.weight``), where the network here keeps the experts of a
layer together. Keys of config.json are those of xAI's public configuration of Grok-2 and of the
public ones of Qwen3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gigafactory.describe.model import Block, Model
from gigafactory.net.recipe import Recipe, recipe_of

_STACKED = re.compile(r"(.*\.block_sparse_moe\.experts)\.(w[123])")


#: How parts of a name here are called in Qwen3's classes; the others are called the same.
_QWEN3_CALLS = {
    ".pre_attn_norm.": ".input_layernorm.",
    ".pre_moe_norm.": ".post_attention_layernorm.",
    ".block_sparse_moe.": ".mlp.",
    ".w1.weight": ".gate_proj.weight",
    ".w3.weight": ".up_proj.weight",
    ".w2.weight": ".down_proj.weight",
}


def exported_names(name: str, *, model: Model) -> list[str]:
    """What a parameter of ``Network`` is called there: one name, or one for each expert."""
    if match := _STACKED.fullmatch(name):
        prefix, part = match.groups()
        return [
            _there(f"{prefix}.{expert}.{part}.weight", model) for expert in range(model.num_experts)
        ]
    return [_there(name, model)]


def _there(name: str, model: Model) -> str:
    if model.block is Block.QWEN3_MOE:
        for ours, theirs in _QWEN3_CALLS.items():
            name = name.replace(ours, theirs)
    return name if name.startswith("lm_head.") else f"model.{name}"


def export_state(state: Mapping[str, Tensor], *, model: Model) -> dict[str, Tensor]:
    """Weights of ``Network`` under the names that serving engines read."""
    exported: dict[str, Tensor] = {}
    for name, weight in state.items():
        names = exported_names(name, model=model)
        parts = [m.clone() for m in weight] if _STACKED.fullmatch(name) else [weight]
        exported |= {key: part.contiguous() for key, part in zip(names, parts, strict=True)}
    return exported


def import_state(
    exported: Mapping[str, Tensor], *, model: Model, names: Iterable[str]
) -> dict[str, Tensor]:
    """The inverse of ``export_state`` for the parameters ``names``; KeyError: one is missing."""
    state: dict[str, Tensor] = {}
    for name in names:
        parts = [exported[key] for key in exported_names(name, model=model)]
        state[name] = torch.stack(parts) if _STACKED.fullmatch(name) else parts[0]
    return state


def describe_model(model: Model) -> dict[str, object]:
    """config.json: the keys that serving engines read, and our own description, whole."""
    recipe = recipe_of(model)
    special = _qwen3(model, recipe) if model.block is Block.QWEN3_MOE else _grok(model, recipe)
    common = {
        "vocab_size": model.vocab,
        "hidden_size": model.hidden,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.context,
        "rms_norm_eps": recipe.norm_eps,
        "rope_theta": recipe.rope_theta,
        "tie_word_embeddings": model.tied_embeddings,
        "torch_dtype": "float32",
        "gigafactory": {"model": model.model_dump(mode="json")},
    }
    return special | common


def _qwen3(model: Model, recipe: Recipe) -> dict[str, object]:
    rope = {"rope_type": "default", "rope_theta": recipe.rope_theta}
    dense = {
        "hidden_act": "silu",
        "intermediate_size": model.ffn or model.moe_ffn,
        "attention_bias": False,
        "use_sliding_window": False,
        "rope_parameters": rope,
    }
    if not model.num_experts:
        return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"} | dense
    return dense | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_experts": model.num_experts,
        "num_experts_per_tok": model.topk,
        "moe_intermediate_size": model.moe_ffn,
        "norm_topk_prob": recipe.renormalises,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(range(model.num_dense_layers)),
    }


def _grok(model: Model, recipe: Recipe) -> dict[str, object]:
    scaling = recipe.rope_scaling
    keys: dict[str, object] = {
        "architectures": ["Grok1ForCausalLM"],
        "model_type": "grok-1" if model.block is Block.GROK1 else "grok-2",
        "hidden_act": "gelu",
        "intermediate_size": model.ffn or model.moe_ffn,
        "num_local_experts": model.num_experts,
        "num_experts_per_tok": model.topk,
        "attn_logit_softcapping": recipe.attention_cap,
        "embedding_multiplier_scale": math.sqrt(model.hidden),
        "output_multiplier_scale": recipe.output_multiplier,
    }
    if model.block is Block.GROK2:
        keys |= {
            "moe_intermediate_size": model.moe_ffn,
            "residual_moe": model.dense_residual,
            "router_logit_softcapping": recipe.router_cap,
            "final_logit_softcapping": recipe.final_cap,
            "attn_temperature_len": recipe.temperature_len,
        }
    if scaling is not None:
        keys |= {
            "rope_type": "original",
            "original_max_position_embeddings": scaling.original_context,
            "scaling_factor": scaling.factor,
            "extrapolation_factor": 1.0,
            "attn_factor": 1.0,
            "beta_fast": scaling.beta_fast,
            "beta_slow": scaling.beta_slow,
        }
    return keys
