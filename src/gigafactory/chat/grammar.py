"""Answers bound to a JSON schema, for engines whose logits are at hand; the automaton is llguidance
(MIT, a Rust library in a small wheel).

Before a token is drawn every token that would leave the grammar gets the logit -inf. What is drawn,
and the logprobs that are told, are of the distribution that is left.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

from gigafactory.chat.errors import ApiError, bad_request

INSTALL = "pip install llguidance"
_FIELD = "response_format"


def can_bind() -> bool:
    """Whether the library is there."""
    return importlib.util.find_spec("llguidance") is not None


class Grammars:
    """Makes grammars for one tokenizer."""

    def __init__(self, tokenizer_json: str, *, num_tokens: int, end: int) -> None:
        """``tokenizer_json`` as the tokenizers library writes it; ``num_tokens`` is the width of
        the logits, ``end`` the token that closes an answer. ApiError 400 where the library does not
        know the kind of tokenizer."""
        import llguidance

        self._llguidance: Any = llguidance
        try:
            self._tokenizer: Any = llguidance.LLTokenizer(
                _unprefixed(tokenizer_json), n_vocab=num_tokens, eos_token=end
            )
        except ValueError as error:
            raise _wrong(f"this model cannot be bound: {error}") from None

    def of_schema(self, schema: Mapping[str, Any]) -> Grammar:
        """A fresh grammar; ApiError 400 where the schema cannot be compiled."""
        matcher_type = self._llguidance.LLMatcher
        # no blanks between tokens: a weak model would write nothing else
        compact = {"whitespace_flexible": False}
        try:
            grammar = matcher_type.grammar_from_json_schema(json.dumps(schema), defaults=compact)
            matcher = matcher_type(self._tokenizer, grammar)
        except ValueError as error:
            raise _wrong(str(error)) from None
        if matcher.is_error():
            raise _wrong(matcher.get_error())
        return Grammar(matcher)


class Grammar:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def is_over(self) -> bool:
        """Nothing may follow any more."""
        return bool(self._matcher.is_stopped())

    def bind(self, logits: Any) -> None:
        """Forbid, in place, what may not come next; ``logits`` (V,) of PyTorch. ApiError 400 where
        the schema led to a place from which nothing goes on."""
        import numpy as np
        import torch

        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(mask, bitorder="little")[: len(logits)].astype(bool)
        if self._matcher.is_error() or not allowed.any():
            raise _wrong(self._matcher.get_error() or "no token of this model can go on")
        logits[torch.from_numpy(~allowed)] = -torch.inf

    def took(self, token: int) -> None:
        """``token`` was drawn."""
        self._matcher.consume_token(token)


def _unprefixed(tokenizer_json: str) -> str:
    """Without what some tokenizers do to the beginning and the letters of a text: the library cuts
    forced characters into tokens as if each were one."""
    document = json.loads(tokenizer_json)
    document["normalizer"] = None
    cutting = document.get("pre_tokenizer") or {}
    for part in (cutting, *cutting.get("pretokenizers", ())):
        if "add_prefix_space" in part:
            part["add_prefix_space"] = False
    return json.dumps(document)


def _wrong(words: str) -> ApiError:
    first_line = words.splitlines()[0] if words else "it cannot be kept to"
    return bad_request(f"{_FIELD}: {first_line}", param=_FIELD)
