"""From a conversation to the text that a model was trained to continue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gigafactory.chat.engine import Message, Role


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How turns are marked."""

    opening: dict[Role, str]
    closing: str
    system: str
    """Said first where the conversation brings no system message of its own."""
    marks: tuple[str, ...]
    """Special tokens that must not occur inside a message."""


#: ChatML, which SmolLM2-Instruct was tuned on (arXiv:2502.02737). Its own template inserts a
#: default system message that makes this size of model talk nonsense, so ours always stands first.
CHATML = ChatFormat(
    opening={role: f"<|im_start|>{role}\n" for role in Role},
    closing="<|im_end|>\n",
    system="You are a helpful assistant.",
    marks=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
)


def render(messages: Sequence[Message], *, form: ChatFormat) -> str:
    """The prompt, up to the point where the assistant begins to speak."""
    turns = list(messages)
    if not any(turn.role is Role.SYSTEM for turn in turns):
        turns.insert(0, Message(Role.SYSTEM, form.system))
    said = [
        form.opening[turn.role] + without_marks(turn.content, marks=form.marks) + form.closing
        for turn in turns
    ]
    return "".join(said) + form.opening[Role.ASSISTANT]


def without_marks(text: str, *, marks: Sequence[str]) -> str:
    """``text`` with every mark taken out, else a message could open turns that nobody spoke."""
    pattern = "|".join(map(re.escape, marks))
    while re.search(pattern, text):  # taking one out may join the halves of another
        text = re.sub(pattern, "", text)
    return text
