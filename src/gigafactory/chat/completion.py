"""One answer, without any input or output: what is asked, of whom, within which limits."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gigafactory.chat.engine import Engine, Finish, Message, Piece, Sampling
from gigafactory.chat.errors import no_answer, prompt_too_long, unknown_model
from gigafactory.chat.request import ChatRequest
from gigafactory.chat.text import until_stop
from gigafactory.chat.tools import Tools, told_of_tools, tools_of

DEFAULT_MAX_TOKENS = 512


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


class Counting(Protocol):
    """What fitting a prompt into a context needs of an engine."""

    @property
    def name(self) -> str:
        """As it is asked for in ``model``."""

    @property
    def context_tokens(self) -> int:
        """Prompt and answer together must fit in it."""

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that ``messages`` become."""


Named = TypeVar("Named", bound=_HasName)


@dataclass(frozen=True, slots=True)
class Job:
    """A request that an engine can take as it is."""

    messages: tuple[Message, ...]
    sampling: Sampling
    stops: tuple[str, ...]
    prompt_tokens: int
    request: ChatRequest | None = None
    """As it came, for those who hand it on."""
    tools: Tools | None = None
    """What the answer may call; the messages tell of it."""
    salt: str = ""
    """Beginnings of prompts are shared only among jobs of the same salt (the caller's key): what a
    stranger asked must not show in how fast an answer comes."""


def choose(engines: Sequence[Named], name: str) -> Named:
    """The engine called ``name``; ApiError 404 lists those there are."""
    for engine in engines:
        if engine.name == name:
            return engine
    raise unknown_model(name, names=[engine.name for engine in engines])


def prepare(request: ChatRequest, *, engine: Counting, seed: int) -> Job:
    """Fit a request into the context; ApiError 400 where not one token of answer would fit.

    ``seed`` serves where the request names none. A wish for more tokens than there is room is
    cut to the room: the answer then says "length".
    """
    tools = tools_of(request)
    messages = told_of_tools(request.messages, tools) if tools else request.messages
    prompt_tokens = engine.num_tokens(messages)
    room = engine.context_tokens - prompt_tokens
    if room < 1:
        raise prompt_too_long(prompt_tokens, context_tokens=engine.context_tokens, name=engine.name)
    sampling = Sampling(
        max_tokens=min(request.limit_tokens or DEFAULT_MAX_TOKENS, room),
        temperature=request.temperature,
        top_p=request.top_p,
        seed=seed if request.seed is None else request.seed,
    )
    return Job(messages, sampling, request.stops, prompt_tokens, request, tools)


def answer(job: Job, *, engine: Engine) -> Generator[Piece]:
    """The pieces of an answer, the first with a visible word in it; the last has ``finish``.

    ApiError 502 where the engine ends without one: an empty success helps nobody.
    """
    source = engine.stream(job.messages, job.sampling)
    pieces = until_stop(source, stops=job.stops)
    try:
        finish = yield from _from_first_word(pieces, name=engine.name)
        for piece in pieces if finish is None else ():
            finish = piece.finish
            yield piece
        if finish is None:  # an engine that fell silent: say so in the protocol's words
            yield Piece("", 0, Finish.STOP)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def _from_first_word(
    pieces: Iterator[Piece], *, name: str
) -> Generator[Piece, None, Finish | None]:
    text, num_tokens = "", 0
    for piece in pieces:
        text += piece.text
        num_tokens += piece.num_tokens
        if text.strip():
            yield Piece(text.lstrip(), num_tokens, piece.finish)
            return piece.finish
        if piece.finish is not None:
            break
    raise no_answer(name)
