"""Several services that answer for one model, behind one name.

The router (control/routing.py) is the one that the twin of a fleet runs: a conversation goes where
its earlier turns lie in the cache, unless another service has less to do. One that cannot be
reached is left out for some seconds, and its request goes to another: nothing had been said yet.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager

from gigafactory.chat.answerer import Embedded
from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Origin, Role
from gigafactory.chat.errors import ApiError
from gigafactory.chat.remote import Remote
from gigafactory.chat.request import ChatRequest
from gigafactory.control.routing import Router

_AWAY_S = 5.0
_UNREACHABLE = "upstream_unreachable"


class Replicas:
    """An answerer that shares its requests out; all methods are called in one event loop."""

    origin = Origin.REMOTE
    context_tokens = 0
    abilities = Remote.abilities
    chats = Remote.chats

    def __init__(self, remotes: Sequence[Remote], *, away_s: float = _AWAY_S) -> None:
        self.name = remotes[0].name
        self.about = f"{len(remotes)} services: {remotes[0].about}"
        together = " ".join(sorted(remote.weights_sha256 for remote in remotes))
        self.weights_sha256 = hashlib.sha256(together.encode()).hexdigest()
        self._remotes = tuple(remotes)
        self._away_s = away_s
        self._router = Router()
        for number in range(len(remotes)):
            self._router.add(number)

    @property
    def num_present(self) -> int:
        """Requests being answered or waiting, at all of them."""
        return sum(remote.num_present for remote in self._remotes)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Places are counted by the service that a request goes to."""
        yield

    async def prepare(self, request: ChatRequest) -> Job:
        """As any of them would."""
        return await self._remotes[0].prepare(request)

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """Pass one of their streams on; ApiError 502 where it breaks off or none can be reached."""
        conversation, unreachable = conversation_of(job), None
        for _ in self._remotes:
            number = self._router.route(conversation)
            if number is None:
                break
            try:
                async for bunch in self._from(number, job):
                    yield bunch
                return
            except ApiError as error:
                if error.code != _UNREACHABLE:
                    raise
                unreachable = error
                self._leave_out(number)
        raise unreachable or ApiError(
            502, f"{self.name}: none of its services can be reached", code=_UNREACHABLE
        )

    async def _from(self, number: int, job: Job) -> AsyncGenerator[Bunch]:
        remote = self._remotes[number]
        said = remote.said(job)
        try:
            with remote.place():
                async for bunch in said:
                    yield bunch
        finally:
            await said.aclose()
            self._router.ended(number)

    def _leave_out(self, number: int) -> None:
        self._router.remove(number)
        asyncio.get_running_loop().call_later(self._away_s, self._router.add, number)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Vectors by the service that the first text falls to."""
        number = self._router.route(_number(texts[0] if texts else ""))
        if number is None:
            number = 0
        try:
            return await self._remotes[number].embed(texts)
        finally:
            self._router.ended(number)

    async def close(self) -> None:
        """Cut all connections."""
        for remote in self._remotes:
            await remote.close()


def conversation_of(job: Job) -> int:
    """The same for all turns: whose it is, and how it began."""
    messages = job.request.messages if job.request is not None else job.messages
    first = next((m.content for m in messages if m.role is not Role.SYSTEM), "")
    return _number(f"{job.salt}\n{first}")


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
