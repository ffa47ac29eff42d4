"""Waiting for a turn: one request at a time for each engine, and a bounded queue before it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from gigafactory.chat.answerer import Embedded
from gigafactory.chat.box import Box, Bunch
from gigafactory.chat.completion import Job, answer, prepare
from gigafactory.chat.engine import NO_ABILITIES, Ability, Engine, Origin, Piece
from gigafactory.chat.errors import as_api_error, bad_request, busy
from gigafactory.chat.request import ChatRequest

RETRY_AFTER_S = 5


class Line:
    """An answerer: the queue of one engine, and the one thread in which all its work is done.

    One thread, because engines need not be thread-safe and PyTorch keeps its gradient mode by
    thread; it also means that a generator is closed before the next one begins. The turn lasts
    as long as the engine computes, not as long as a slow client reads.
    """

    abilities: frozenset[Ability] = NO_ABILITIES
    chats = True

    def __init__(self, engine: Engine, *, max_waiting: int) -> None:
        self.engine = engine
        self.num_present = 0
        self._max_waiting = max_waiting
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=engine.name)

    @property
    def name(self) -> str:
        """Of the engine."""
        return self.engine.name

    @property
    def origin(self) -> Origin:
        """Of the engine."""
        return self.engine.origin

    @property
    def about(self) -> str:
        """Of the engine."""
        return self.engine.about

    @property
    def context_tokens(self) -> int:
        """Of the engine."""
        return self.engine.context_tokens

    @property
    def weights_sha256(self) -> str:
        """Of the engine."""
        return self.engine.weights_sha256

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be counted; ApiError 503 at once where ``max_waiting`` requests are waiting already."""
        num_waiting = self.num_present - 1
        if num_waiting >= self._max_waiting:
            raise busy(self.name, num_waiting=num_waiting, retry_after_s=RETRY_AFTER_S)
        self.num_present += 1
        try:
            yield
        finally:
            self.num_present -= 1

    async def prepare(self, request: ChatRequest) -> Job:
        """Count and check the prompt; ApiError says what is wrong."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._thread,
                partial(prepare, request, engine=self.engine, seed=secrets.randbelow(2**31)),
            )
        except Exception as error:
            raise as_api_error(self.name, error) from error

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """Wait for the turn and generate; cancelling or closing it stops the engine."""
        box = Box()
        pumping = asyncio.create_task(self._pump(job, box))
        bunches = box.bunches()
        try:
            async for bunch in bunches:
                yield bunch
        finally:
            pumping.cancel()
            await bunches.aclose()

    async def _pump(self, job: Job, box: Box) -> None:
        try:
            async with self._turn:
                source = answer(job, engine=self.engine)
                try:
                    while (piece := await self._next(source)) is not None:
                        box.put((piece,))
                finally:
                    self._thread.submit(source.close)  # after the step that is under way
        except Exception as error:
            box.close(as_api_error(self.name, error))
        else:
            box.close()

    async def _next(self, source: Iterator[Piece]) -> Piece | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, next, source, None)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """ApiError 400: these engines have no vectors."""
        raise bad_request(f"{self.name} makes no embeddings of {len(texts)} texts", param="model")

    async def close(self) -> None:
        """Let the step under way finish and end the thread."""
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=False)
