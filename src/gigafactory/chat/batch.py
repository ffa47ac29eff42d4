"""Many conversations at once in one engine: the async shell around a core that batches.

Prompts are counted beside the step under way, so that they join the next one. All the rest of the
core's work is done in one thread: it takes in what was asked and given up meanwhile, makes a step,
and hands the words over. Nobody's reading speed is waited for.
"""

from __future__ import annotations

import asyncio
import queue
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from itertools import count
from typing import Protocol, TypeVar

from gigafactory.chat.answerer import Embedded
from gigafactory.chat.box import Box, Bunch
from gigafactory.chat.completion import Job, prepare
from gigafactory.chat.engine import Ability, Known, Message, Piece
from gigafactory.chat.errors import ApiError, as_api_error
from gigafactory.chat.places import Places
from gigafactory.chat.request import ChatRequest

Said = tuple[int, Piece | ApiError]
"""What a step adds to one conversation, or why it is over."""
_RETRY_AFTER_S = 5
#: Counted at once, in less than a millisecond; a thread may wait for several before it runs.
_SHORT_CHARACTERS = 10_000
Result = TypeVar("Result")


class Core(Known, Protocol):
    """An engine that makes steps with many conversations; all calls but those of ``num_tokens``
    come from one thread."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do beyond plain text."""

    @property
    def is_idle(self) -> bool:
        """Nothing is left to compute."""

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that ``messages`` become; may be called at any time."""

    def embed(self, text: str) -> tuple[Sequence[float], int]:
        """A vector of length 1, and the tokens of ``text``; only with ``Ability.EMBEDDINGS``."""

    def add(self, ident: int, job: Job) -> Sequence[Said]:
        """Take in a conversation, or say why not."""

    def drop(self, ident: int) -> None:
        """Nobody wants it any more; unknown ones are passed over."""

    def step(self) -> Sequence[Said]:
        """Compute once; the last piece of a conversation has ``finish`` or is an error."""


class Batch(Places):
    """An answerer whose conversations are computed together."""

    def __init__(self, core: Core, *, max_present: int = 64) -> None:
        super().__init__(most=max_present, retry_after_s=_RETRY_AFTER_S)
        self._core = core
        self.name, self.origin, self.about = core.name, core.origin, core.about
        self.context_tokens, self.abilities = core.context_tokens, core.abilities
        self.weights_sha256 = core.weights_sha256
        self.chats = True
        self._boxes: dict[int, Box] = {}
        self._idents = count()
        self._tasks: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name=core.name, daemon=True)
        self._thread.start()

    async def prepare(self, request: ChatRequest) -> Job:
        """Count and check the prompt; ApiError says what is wrong."""
        seed = secrets.randbelow(2**31)
        try:
            if sum(len(said.content) for said in request.messages) <= _SHORT_CHARACTERS:
                return prepare(request, engine=self._core, seed=seed)
            return await asyncio.to_thread(prepare, request, engine=self._core, seed=seed)
        except Exception as error:
            raise as_api_error(self.name, error) from error

    async def _run(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, done in the thread of the core between two steps."""
        self._loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = self._loop.create_future()

        def task() -> None:
            try:
                result = work()
            except Exception as error:
                self._call(_settle, done, None, as_api_error(self.name, error))
            else:
                self._call(_settle, done, result, None)

        self._tasks.put(task)
        return await done

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """Join the batch; closing it, or cancelling whoever waits, leaves it."""
        self._loop = asyncio.get_running_loop()
        ident = next(self._idents)
        box = self._boxes[ident] = Box()
        self._tasks.put(lambda: self._tell(self._core.add(ident, job)))
        bunches = box.bunches()
        try:
            async for bunch in bunches:
                yield bunch
        finally:
            if self._boxes.pop(ident, None) is not None:
                self._tasks.put(partial(self._core.drop, ident))
            await bunches.aclose()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One text between two steps, so that those who talk wait for one only."""
        made = [await self._run(partial(self._core.embed, text)) for text in texts]
        return Embedded([vector for vector, _ in made], sum(tokens for _, tokens in made))

    async def close(self) -> None:
        """End the thread after the step under way."""
        self._tasks.put(None)
        await asyncio.to_thread(self._thread.join)

    # ---- in the thread of the core ----

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(block=self._core.is_idle)
            except queue.Empty:
                self._guarded(self._step)
                continue
            if task is None:
                return
            self._guarded(task)

    def _step(self) -> None:
        self._tell(self._core.step())

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # whatever it was, nobody may wait for ever
            told = as_api_error(self.name, error)
            for ident in tuple(self._boxes):
                self._core.drop(ident)
                self._tell([(ident, told)])

    def _tell(self, said: Sequence[Said]) -> None:
        if said:
            self._call(self._deliver, said)

    def _call(self, work: Callable[..., object], *args: object) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, *args)

    # ---- in the event loop ----

    def _deliver(self, said: Sequence[Said]) -> None:
        for ident, piece in said:
            box = self._boxes.get(ident)
            if box is None:
                continue
            if isinstance(piece, ApiError):
                box.close(piece)
            else:
                box.put((piece,))
                if piece.finish is not None:
                    box.close()
            if isinstance(piece, ApiError) or piece.finish is not None:
                del self._boxes[ident]


def _settle(done: asyncio.Future[Result], result: Result, error: ApiError | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
