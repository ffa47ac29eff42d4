"""The desk behind the gateway: one answerer that only quotes, and one that lets a model
rephrase."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from gigafactory.chat.answerer import Answerer, Embedded
from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import (
    NO_ABILITIES,
    Finish,
    Message,
    More,
    Origin,
    Piece,
    Role,
    Sampling,
    Source,
)
from gigafactory.chat.errors import bad_request
from gigafactory.chat.places import Places
from gigafactory.chat.request import ChatRequest, as_request
from gigafactory.chat.truth.answers import Answer
from gigafactory.chat.truth.counter import Counter
from gigafactory.chat.truth.desk import Told, Writer
from gigafactory.chat.truth.drafts import material
from gigafactory.chat.truth.finding import Hit

_MOST_PRESENT = 64
_CHARACTERS_PER_TOKEN = 4
_DRAFT_TOKENS = 256
_RETRY_AFTER_S = 2


class Quoting(Places):
    """Answers with quotes or refuses; no model has a say."""

    name = "quotes"
    origin = Origin.NONE
    about = "No model: quotes what the imported posts say, with id, authority and date, or refuses."
    context_tokens = 0
    weights_sha256 = ""
    abilities = NO_ABILITIES
    chats = True

    def __init__(self, counter: Counter) -> None:
        super().__init__(most=_MOST_PRESENT, retry_after_s=_RETRY_AFTER_S)
        self._counter = counter

    async def prepare(self, request: ChatRequest) -> Job:
        """Take the last thing a user said as the question."""
        question = question_of(request.messages)
        tokens = 1 + len(question) // _CHARACTERS_PER_TOKEN
        sampling = Sampling(max_tokens=request.limit_tokens or 0, seed=0)
        return Job(request.messages, sampling, (), tokens, request)

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """The whole answer at once, with its sources."""
        desk, question = self._counter.desk, question_of(job.messages)
        told = await self._counter.call(lambda: desk.ask(question))
        yield [_piece(told)]

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """It has no vectors."""
        raise bad_request(f"{self.name} has no embeddings ({len(texts)} texts)", param="model")

    async def close(self) -> None:
        """The counter is closed by whoever opened it last."""
        self._counter.close()


class Grounded:
    """A model that may rephrase quotes; what it adds is cut, and if nothing is left, the quotes
    stand."""

    context_tokens = 0
    abilities = NO_ABILITIES
    chats = True

    def __init__(self, counter: Counter, inner: Answerer) -> None:
        self._counter, self._inner = counter, inner
        self.name = f"{inner.name}+sources"
        self.origin = inner.origin
        self.about = f"{inner.name} rephrases quotes of the imported posts; what it adds is cut."
        self._prompt = counter.desk.prompts["rephrase.v1"]
        self.weights_sha256 = inner.weights_sha256

    @property
    def num_present(self) -> int:
        """Those of the model: they share its places."""
        return self._inner.num_present

    def place(self):  # type: ignore[no-untyped-def]
        """As the model counts."""
        return self._inner.place()

    async def prepare(self, request: ChatRequest) -> Job:
        """What counts is the question; the prompt is ours."""
        question = question_of(request.messages)
        tokens = 1 + len(question) // _CHARACTERS_PER_TOKEN
        sampling = Sampling(max_tokens=request.limit_tokens or 0, seed=0)
        return Job(request.messages, sampling, (), tokens, request)

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """Search, let the model write to its end, cut, then answer: nothing unchecked is
        streamed."""
        desk, question = self._counter.desk, question_of(job.messages)
        hits = await self._counter.call(lambda: desk.find(question))
        draft, num_tokens = await self._draft(question, hits) if hits else ("", 0)
        writer = Writer(self._inner.name, self.weights_sha256)
        told = await self._counter.call(
            lambda: desk.rephrase(question, hits, draft, writer=writer, prompt=self._prompt)
        )
        yield [replace(_piece(told), num_tokens=max(1, num_tokens))]

    async def _draft(self, question: str, hits: Sequence[Hit]) -> tuple[str, int]:
        shown = material(hits)
        request = as_request(
            {
                "model": self._inner.name,
                "temperature": 0.0,
                "max_tokens": _DRAFT_TOKENS,
                "messages": [
                    {"role": "system", "content": self._prompt.text},
                    {"role": "user", "content": f"Quotes:\n{shown}\n\nQuestion: {question}"},
                ],
            }
        )
        text, num_tokens = "", 0
        said = self._inner.said(await self._inner.prepare(request))
        try:
            async for bunch in said:
                text += "".join(piece.text for piece in bunch)
                num_tokens += sum(piece.num_tokens for piece in bunch)
        finally:
            await said.aclose()
        return text, num_tokens

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Those of the model."""
        return await self._inner.embed(texts)

    async def close(self) -> None:
        """The model is closed by whoever serves it under its own name."""


def with_sources(answerers: Sequence[Answerer], counter: Counter) -> list[Answerer]:
    """Add an answerer that quotes from the posts at ``counter``, and every model's rephrasing
    twin."""
    twins = [Grounded(counter, answerer) for answerer in answerers if answerer.chats]
    return [*answerers, *twins, Quoting(counter)]


def question_of(messages: Sequence[Message]) -> str:
    """The last thing a user said; ApiError 400 where nobody asked anything."""
    for message in reversed(messages):
        if message.role is Role.USER and message.content.strip():
            return message.content
    raise bad_request("messages: there is no question of a user", param="messages")


def _piece(told: Told) -> Piece:
    given = told.answer
    more = More(sources=sources_of(given) if given.quotes else None, record=told.record)
    return Piece(given.text, 1 + len(given.text) // _CHARACTERS_PER_TOKEN, Finish.STOP, more)


def sources_of(given: Answer) -> tuple[Source, ...]:
    """For the page: each quote beside the characters of the answer that rest on it."""
    return tuple(
        Source(
            id=quote.post.id,
            quote=quote.text,
            title=f"{quote.post.author}, {quote.post.authority}, {quote.post.date}",
            url=quote.post.url,
            first=span[0],
            last=span[1],
        )
        for quote, span in zip(given.quotes, given.spans, strict=True)
    )
