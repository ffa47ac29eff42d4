"""Our tokenizer as llama.cpp holds one: byte-level BPE with GPT-2's split of words.

llama.cpp knows no normalizer for it, so what ours does to a text first (lower case, a space
before the first word) is done by the chat template. Text that goes to llama.cpp without the
template has to be lower-cased by whoever writes it; what NFKC would replace stays as it is.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

from tokenizers import Tokenizer

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.dialogue import Mark, chat_template, mark_id
from gigafactory.net.gguf_form import Value


class Kind(IntEnum):
    """What a token is, as llama.h numbers it."""

    NORMAL = 1
    CONTROL = 3
    UNUSED = 5


def words(tokenizer: Tokenizer, *, model: Model) -> dict[str, Value]:
    """The keys of the tokenizer; InputError where it is not one of those that training makes.

    Ids of the model's vocabulary beyond the tokenizer's are named and marked as unused.
    """
    raw = json.loads(tokenizer.to_str())
    if wrong := _unlike_ours(raw):
        raise InputError(
            f"this tokenizer has no GGUF form: {wrong}; `giga run` trains one that has"
        )
    size = tokenizer.get_vocab_size()
    marks = {mark_id(tokenizer, mark) for mark in Mark}
    kinds = [Kind.CONTROL if i in marks else Kind.NORMAL for i in range(size)]
    num_unused = model.vocab - size
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [
            *(str(tokenizer.id_to_token(i)) for i in range(size)),
            *(f"[PAD{i}]" for i in range(num_unused)),
        ],
        "tokenizer.ggml.token_type": [int(k) for k in (*kinds, *[Kind.UNUSED] * num_unused)],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in raw["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": mark_id(tokenizer, Mark.BOS),
        "tokenizer.ggml.eos_token_id": mark_id(tokenizer, Mark.END),
        "tokenizer.ggml.eot_token_id": mark_id(tokenizer, Mark.END),
        "tokenizer.ggml.padding_token_id": mark_id(tokenizer, Mark.END),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": chat_template(normalises=True),
    }


def _unlike_ours(raw: dict[str, Any]) -> str:
    """Why the split into words would be another; empty: it is the same."""
    split = raw["pre_tokenizer"] or {}
    if raw["model"]["type"] != "BPE":
        return f"it is {raw['model']['type']}, not BPE"
    if split.get("type") != "ByteLevel" or not split.get("use_regex", True):
        return "it does not split words byte by byte as GPT-2's does"
    return ""
