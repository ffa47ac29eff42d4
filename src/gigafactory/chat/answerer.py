"""Who answers requests: an engine in this process, another service, one that looks things up.

This is the one joint between the gateway and everything behind it. An answerer that adds sources
wraps another and passes its pieces on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Ability, Known, Piece
from gigafactory.chat.errors import bad_request, no_answer
from gigafactory.chat.request import ChatRequest, Shape


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector a text, and the tokens they took."""

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int


class Answerer(Known, Protocol):
    """All methods are called in one event loop."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do beyond plain text."""

    @property
    def chats(self) -> bool:
        """False: it only makes vectors."""

    @property
    def num_present(self) -> int:
        """Requests being answered or waiting."""

    def place(self) -> AbstractContextManager[None]:
        """Be counted as present; ApiError 503 where there is no room to wait."""

    async def prepare(self, request: ChatRequest) -> Job:
        """Check the prompt and count its tokens; ApiError says what is wrong."""

    def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """The answer, bunch by bunch; the last piece carries ``finish``. Closing it, or cancelling
        whoever waits for it, stops the work. ApiError where it breaks off."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Vectors of ``texts``; called only with ``Ability.EMBEDDINGS``."""

    async def close(self) -> None:
        """Free what is held."""


def check_abilities(request: ChatRequest, *, answerer: Answerer) -> None:
    """ApiError 400 naming the first field that this engine cannot serve."""
    if not answerer.chats:
        raise bad_request(f"model: {answerer.name} makes embeddings only", param="model")
    needed = {
        "tools": (Ability.TOOLS, request.calls_tools or request.talks_of_tools),
        "response_format": (Ability.JSON_SCHEMA, request.shape is not Shape.TEXT),
        "logprobs": (Ability.LOGPROBS, bool(request.logprobs)),
    }
    for field, (ability, is_wanted) in needed.items():
        if is_wanted and ability not in answerer.abilities:
            raise bad_request(f"{field}: {answerer.name} has no {ability}", param=field)


async def first_words(said: AsyncGenerator[Bunch], *, name: str) -> list[Piece]:
    """All pieces up to the first that shows something; ApiError 502 where none ever does."""
    pieces: list[Piece] = []
    async for bunch in said:
        pieces.extend(bunch)
        if any(piece.text.strip() or _shows_more(piece) for piece in bunch):
            return pieces
        if bunch[-1].finish is not None:
            break
    raise no_answer(name)


def _shows_more(piece: Piece) -> bool:
    more = piece.more
    return more is not None and bool(more.tool_calls)
