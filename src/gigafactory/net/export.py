"""The trained model as a directory: config.json, model.safetensors, tokenizer.json.

Weights carry the names of SGLang's ``Grok1ForCausalLM``: one matrix an expert
(``...experts.3.w1.weight``), where the network here keeps the experts of a layer together.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.network import Network
from gigafactory.net.recipe import recipe_of

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_STACKED = re.compile(r"(.*\.block_sparse_moe\.experts)\.(w[123])")


@dataclass(frozen=True, slots=True)
class Exported:
    """A model ready to generate, and the tokenizer it was trained with."""

    model: Network
    tokenizer: Tokenizer


def export_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ``Network`` under the names that serving engines read."""
    exported: dict[str, Tensor] = {}
    for name, weight in state.items():
        if match := _STACKED.fullmatch(name):
            for expert, matrix in enumerate(weight):
                key = f"model.{match[1]}.{expert}.{match[2]}.weight"
                exported[key] = matrix.contiguous().clone()
        else:
            exported[f"model.{name}"] = weight.contiguous()
    return exported


def import_state(exported: dict[str, Tensor], *, num_experts: int) -> dict[str, Tensor]:
    """The inverse of ``export_state``; KeyError names a missing expert."""
    state: dict[str, Tensor] = {}
    for key, weight in exported.items():
        name = key.removeprefix("model.")
        prefix, found, rest = name.partition(".experts.")
        if not found:
            state[name] = weight
        elif rest.startswith("0."):
            part = rest.split(".")[1]
            names = [f"model.{prefix}.experts.{e}.{part}.weight" for e in range(num_experts)]
            state[f"{prefix}.experts.{part}"] = torch.stack([exported[n] for n in names])
    return state


def describe_model(model: Model) -> dict[str, object]:
    """config.json: the keys that serving engines read, and our own description, whole."""
    recipe = recipe_of(model)
    return {
        "architectures": ["Grok1ForCausalLM"],
        "model_type": "grok-1",
        "vocab_size": model.vocab,
        "hidden_size": model.hidden,
        "intermediate_size": model.moe_ffn,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "num_local_experts": model.num_experts,
        "num_experts_per_tok": model.topk,
        "max_position_embeddings": model.context,
        "rms_norm_eps": recipe.norm_eps,
        "rope_theta": recipe.rope_theta,
        "attn_logit_softcapping": recipe.attention_cap,
        "embedding_multiplier_scale": math.sqrt(model.hidden),
        "output_multiplier_scale": recipe.output_multiplier,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "gigafactory": {"model": model.model_dump(mode="json")},
    }


def save_exported(
    directory: Path, *, model: Model, state: dict[str, Tensor], tokenizer: Tokenizer
) -> None:
    """Write the three files; ``directory`` appears whole or not at all."""
    beside = directory.with_name(directory.name + ".tmp")
    beside.mkdir(parents=True, exist_ok=True)
    (beside / CONFIG).write_text(json.dumps(describe_model(model), indent=2) + "\n")
    save_file(export_state(state), beside / WEIGHTS, metadata={"format": "pt"})
    tokenizer.save(str(beside / TOKENIZER))
    if directory.exists():
        for old in directory.iterdir():
            old.unlink()
        directory.rmdir()
    beside.rename(directory)


def load_exported(directory: Path) -> Exported:
    """Read what ``save_exported`` wrote; InputError names the file that is missing or damaged."""
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (directory / name).is_file():
            raise InputError(
                f"{directory} is not an exported model: {name} is missing; "
                "`giga run` writes one when it finishes"
            )
    try:
        config = json.loads((directory / CONFIG).read_text())
        model = Model.model_validate(config["gigafactory"]["model"])
        weights = load_file(directory / WEIGHTS)
        with torch.device("meta"):
            net = Network(model)
        state = import_state(weights, num_experts=model.num_experts)
        net.load_state_dict(state, assign=True)
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    except InputError:
        raise
    except Exception as error:  # each reader fails in its own way; a person needs the place
        raise InputError(f"{directory} is damaged: {type(error).__name__}: {error}") from error
    return Exported(net.eval().requires_grad_(False), tokenizer)
