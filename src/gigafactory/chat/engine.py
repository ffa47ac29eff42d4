"""What answers: the protocol that every engine of the chat keeps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


class Finish(StrEnum):
    """Why an answer ended; the values are those of the OpenAI protocol."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Ability(StrEnum):
    """What an engine can do beyond continuing a conversation."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    LOGPROBS = "logprobs"
    EMBEDDINGS = "embeddings"


NO_ABILITIES: frozenset[Ability] = frozenset()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one exchange; ``cached_tokens`` of the prompt were computed for an earlier one."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def body(self) -> dict[str, object]:
        """As the protocol of chat completions writes it."""
        body: dict[str, object] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self.cached_tokens:
            body["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return body


@dataclass(frozen=True, slots=True)
class Source:
    """What a claim of an answer rests on; the page shows it beside the claim.

    ``first`` to ``last`` are the characters of the answer that it supports (None: all of it).
    """

    id: str
    quote: str
    title: str | None = None
    url: str | None = None
    first: int | None = None
    last: int | None = None

    @property
    def body(self) -> dict[str, object]:
        """As it is sent, without what is not known."""
        names = ("id", "quote", "title", "url", "first", "last")
        pairs = ((name, getattr(self, name)) for name in names)
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class More:
    """What a piece may bring besides text."""

    logprobs: Sequence[Mapping[str, object]] | None = None
    """One entry a token, in the form of the OpenAI protocol."""
    tool_calls: Sequence[Mapping[str, object]] | None = None
    """Parts of calls, in the form of the OpenAI protocol's stream."""
    sources: tuple[Source, ...] | None = None
    record: int | None = None
    """The number of the answer's audit record."""
    usage: Usage | None = None
    """The engine's own count so far, which replaces ours."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step of generation adds: text (may be empty), tokens, and the end if it is one."""

    text: str
    num_tokens: int = 1
    finish: Finish | None = None
    more: More | None = None


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
    REMOTE = "remote"
    """Whatever another service runs."""
    NONE = "none"
    """There are none: it only quotes."""


class Known(Protocol):
    """What is told of a model to those who choose one."""

    @property
    def name(self) -> str:
        """As it is asked for in ``model``."""

    @property
    def origin(self) -> Origin:
        """Where the weights come from."""

    @property
    def about(self) -> str:
        """One honest sentence for people."""

    @property
    def context_tokens(self) -> int:
        """Prompt and answer together must fit in it; 0 where it is not known."""

    @property
    def weights_sha256(self) -> str:
        """Of the file of weights; of name and address where they lie elsewhere. For the record."""


class Engine(Known, Protocol):
    """A model that continues conversations.

    All calls for one engine come from one thread at a time, and each iterator of ``stream`` is
    used up or closed before the next one starts.
    """

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that ``messages`` become."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Piece]:
        """Generate an answer; the last piece, and no other, carries ``finish``."""


def sha256_of(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def num_threads() -> int:
    """Processor threads for generation: one is left to the rest of the machine."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux knows which cores are ours
    return max(1, (len(allowed(0)) if allowed else os.cpu_count() or 1) - 1)
