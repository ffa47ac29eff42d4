"""The trained model as a directory that serving engines read.

config.json              what the network is; our own description too, whole
model.safetensors        its weights, under the names of ``forms``
tokenizer.json           and tokenizer_config.json, how a conversation is written
generation_config.json   how to draw from it, and where a turn ends
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.dialogue import describe_tokenizer, describe_turns
from gigafactory.net.forms import describe_model, export_state, import_state
from gigafactory.net.network import Network

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
TOKENIZER_CONFIG, GENERATION = "tokenizer_config.json", "generation_config.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """A model ready to generate, and the tokenizer it was trained with."""

    model: Network
    tokenizer: Tokenizer


def save_exported(
    directory: Path, *, model: Model, state: Mapping[str, Tensor], tokenizer: Tokenizer
) -> None:
    """Write all files; ``directory`` appears whole or not at all."""
    beside = directory.with_name(directory.name + ".tmp")
    beside.mkdir(parents=True, exist_ok=True)
    turns = describe_turns(tokenizer)
    ends = {key: turns[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    tables = {
        CONFIG: describe_model(model) | ends,
        TOKENIZER_CONFIG: describe_tokenizer(context=model.context),
        GENERATION: turns,
    }
    for name, table in tables.items():
        (beside / name).write_text(json.dumps(table, indent=2) + "\n")
    exported = export_state(state, model=model)
    save_file(exported, beside / WEIGHTS, metadata={"format": "pt"})
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
        names = [name for name, _ in net.named_parameters()]
        state = import_state(weights, model=model, names=names)
        net.load_state_dict(state, assign=True)
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    except InputError:
        raise
    except Exception as error:  # each reader fails in its own way; a person needs the place
        raise InputError(f"{directory} is damaged: {type(error).__name__}: {error}") from error
    return Exported(net.eval().requires_grad_(False), tokenizer)
