"""Waiting for a turn: one request at a time for each engine, and a bounded queue before it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from gigafactory.chat.completion import Job, answer, prepare
from gigafactory.chat.engine import Engine, Piece
from gigafactory.chat.errors import ApiError, busy, engine_failed
from gigafactory.chat.request import ChatRequest

RETRY_AFTER_S = 5


class Line:
    """The queue of one engine, and the one thread in which all its work is done.

    One thread, because engines need not be thread-safe and PyTorch keeps its gradient mode by
    thread; it also means that a generator is closed before the next one begins.
    """

    def __init__(self, engine: Engine, *, max_waiting: int) -> None:
        self.engine = engine
        self.num_present = 0
        self._max_waiting = max_waiting
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=engine.name)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be counted; ApiError 503 at once where ``max_waiting`` requests are waiting already."""
        num_waiting = self.num_present - 1
        if num_waiting >= self._max_waiting:
            raise busy(self.engine.name, num_waiting=num_waiting, retry_after_s=RETRY_AFTER_S)
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
            raise _as_api_error(self.engine.name, error) from error

    async def pieces(self, job: Job) -> AsyncGenerator[Piece]:
        """Wait for the turn and generate; cancelling or closing it stops the engine."""
        async with self._turn:
            source = answer(job, engine=self.engine)
            try:
                while (piece := await self._next(source)) is not None:
                    yield piece
            finally:
                self._thread.submit(source.close)  # after the step that is under way

    async def _next(self, source: Iterator[Piece]) -> Piece | None:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, next, source, None)
        except Exception as error:
            raise _as_api_error(self.engine.name, error) from error

    def close(self) -> None:
        """Let the step under way finish and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=False)


def _as_api_error(name: str, error: Exception) -> ApiError:
    return error if isinstance(error, ApiError) else engine_failed(name, error)
