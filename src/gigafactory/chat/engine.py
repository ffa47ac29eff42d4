"""What answers: the protocol that every engine of the chat keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


class Finish(StrEnum):
    """Why an answer ended; the values are those of the OpenAI protocol."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step of generation adds: text (may be empty), tokens, and the end if it is one."""

    text: str
    num_tokens: int = 1
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn: same seed, same answer; None leaves the choice to the engine."""

    max_tokens: int
    seed: int
    temperature: float | None = None
    top_p: float | None = None


class Origin(StrEnum):
    """Where a model's weights come from."""

    TRAINED = "trained"
    """By a run of this program."""
    PRETRAINED = "pretrained"
    """Published by others."""


class Engine(Protocol):
    """A model that continues conversations.

    All calls for one engine come from one thread at a time, and each iterator of ``stream`` is
    used up or closed before the next one starts.
    """

    @property
    def name(self) -> str:
        """As it is asked for in ``model``."""

    @property
    def origin(self) -> Origin:
        """Trained here or by others."""

    @property
    def about(self) -> str:
        """One honest sentence for people."""

    @property
    def context_tokens(self) -> int:
        """Prompt and answer together must fit in it."""

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that ``messages`` become."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Piece]:
        """Generate an answer; the last piece, and no other, carries ``finish``."""


def num_threads() -> int:
    """Processor threads for generation: one is left to the rest of the machine."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux knows which cores are ours
    return max(1, (len(allowed(0)) if allowed else os.cpu_count() or 1) - 1)
