"""How a conversation is written as tokens, in training, when chatting, and for other engines.

<|bos|> <|user|> text <|end|> <|assistant|> text <|end|> ...
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from tokenizers import Tokenizer


class Mark(StrEnum):
    """Special tokens, in the order of their ids (0, 1, 2, 3)."""

    BOS = "<|bos|>"
    USER = "<|user|>"
    ASSISTANT = "<|assistant|>"
    END = "<|end|>"


def turn_ids(tokenizer: Tokenizer, speaker: Mark, text: str) -> list[int]:
    """One turn, closed; marks written inside ``text`` by a person do not count as marks."""
    return [mark_id(tokenizer, speaker), *text_ids(tokenizer, text), mark_id(tokenizer, Mark.END)]


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Plain text, in which nothing counts as a mark."""
    for mark in Mark:
        text = text.replace(mark, " ")
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def prompt_ids(
    tokenizer: Tokenizer, turns: Iterable[tuple[Mark, str]], *, max_tokens: int
) -> list[int]:
    """A conversation that the assistant is to go on with, as ids.

    ``turns`` are (USER or ASSISTANT, text), oldest first; whole turns are left out from the old
    end until ``max_tokens`` suffice, and the newest turn itself is cut if it must be.
    """
    written = [turn_ids(tokenizer, speaker, text) for speaker, text in turns]
    room = max_tokens - 2
    kept: list[int] = []
    for turn in reversed(written):
        if len(kept) + len(turn) > room:
            break
        kept = turn + kept
    if not kept and written:
        kept = [written[-1][0], *written[-1][1:][-(room - 1) :]]
    return [mark_id(tokenizer, Mark.BOS), *kept, mark_id(tokenizer, Mark.ASSISTANT)]


def mark_id(tokenizer: Tokenizer, mark: Mark) -> int:
    """Id of a special token; ValueError where the tokenizer lacks it."""
    found: int | None = tokenizer.token_to_id(mark)
    if found is None:
        raise ValueError(f"this tokenizer has no {mark} token; it was not trained by `giga run`")
    return found


#: Sampling that suits a small model trained for a short time.
TEMPERATURE, TOP_P = 0.7, 0.9


def chat_template(*, normalises: bool = False) -> str:
    """The same writing as a Jinja template, as tokenizer_config.json carries one.

    Messages of other roles than the two are left out; marks written by a person become spaces.
    ``normalises``: for readers whose tokenizer does not, in lower case and with a space before.
    """
    text = "message['content']" + "".join(f" | replace('{mark}', ' ')" for mark in Mark)
    if normalises:
        spaced = f"('' if ({text})[:1] == ' ' else ' ')"
        text = f"({spaced} + ({text})) | lower"
    roles = {"user": Mark.USER, "assistant": Mark.ASSISTANT}
    turns = "".join(
        f"{{% {'if' if role == 'user' else 'elif'} message['role'] == '{role}' %}}"
        f"{mark}{{{{ {text} }}}}{Mark.END}"
        for role, mark in roles.items()
    )
    opening = f"{{% if add_generation_prompt %}}{Mark.ASSISTANT}{{% endif %}}"
    return f"{Mark.BOS}{{% for message in messages %}}{turns}{{% endif %}}{{% endfor %}}{opening}"


def describe_tokenizer(*, context: int) -> dict[str, object]:
    """tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": Mark.BOS,
        "eos_token": Mark.END,
        "pad_token": Mark.END,
        "additional_special_tokens": [Mark.USER, Mark.ASSISTANT],
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template(),
    }


def describe_turns(tokenizer: Tokenizer) -> dict[str, object]:
    """generation_config.json: any mark ends a turn."""
    return {
        "bos_token_id": mark_id(tokenizer, Mark.BOS),
        "eos_token_id": [mark_id(tokenizer, m) for m in (Mark.END, Mark.BOS, Mark.USER)],
        "pad_token_id": mark_id(tokenizer, Mark.END),
        "do_sample": True,
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
    }
