"""One request in flight: asked, metered, sent; and stopped when nobody wants it any more.

However it ends (the last word, a client that hangs up, a deadline, a revoked key, an engine that
breaks down) the engine is stopped, the tokens are in the ledger and the place is free.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace

from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from gigafactory.chat.answerer import Answerer, check_abilities, first_words
from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import DEFAULT_MAX_TOKENS, Job
from gigafactory.chat.engine import Piece, Usage
from gigafactory.chat.errors import ApiError, as_api_error, closing
from gigafactory.chat.gate import Ticket
from gigafactory.chat.keys import Key
from gigafactory.chat.meter import Tally
from gigafactory.chat.moderation import refused
from gigafactory.chat.request import ChatRequest
from gigafactory.chat.service import Service, log
from gigafactory.chat.usage import Entry, Outcome
from gigafactory.chat.wire import Form

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Flight:
    """An ASGI response: what happens between a checked request and its last byte."""

    def __init__(
        self,
        service: Service,
        request: ChatRequest,
        *,
        key: Key,
        form: Form,
        route: str,
        ident: str,
    ) -> None:
        self._service, self._request, self._key = service, request, key
        self._form, self._route, self._id = form, route, ident
        self.key_id = key.id
        self.began_s = time.perf_counter()
        self.sending_since_s = 0.0
        """When the write under way began; 0: none is."""
        self._task: asyncio.Task[object] | None = None
        self._why: tuple[Outcome, ApiError] | None = None
        self._status = 0
        self._count = Usage(0, 0)
        self._first_s = self._last_s = 0.0
        self._tally: Tally | None = None
        self._ticket: Ticket | None = None
        self._send: Send

    def stop(self, outcome: Outcome, error: ApiError) -> None:
        """End it from outside, for this reason; the first reason stands."""
        if self._why is None and self._task is not None:
            self._why = (outcome, error)
            self._task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self._send, self._task = send, asyncio.current_task()
        self._service.flights.add(self)
        watching = asyncio.create_task(self._watch(receive))
        outcome = Outcome.FAILED
        try:
            outcome = await self._answer()
        finally:
            watching.cancel()
            self._service.flights.discard(self)
            self._settle(outcome)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.stop(Outcome.GONE, ApiError(499, "the client is gone"))

    async def _answer(self) -> Outcome:
        try:
            await self._serve()
        except asyncio.CancelledError:
            # without a reason of ours it is the server that stops and waits no longer
            outcome, error = self._why or (Outcome.FAILED, closing())
            if self._task is not None:
                self._task.uncancel()
            with suppress(OSError):
                await self._fail(error, is_heard=outcome is not Outcome.GONE)
            return outcome
        except OSError:
            return Outcome.GONE  # uvicorn: the connection broke while sending
        except Exception as error:
            told = as_api_error(self._request.model, error)
            if told is not error:
                log.exception("a request failed")
            with suppress(OSError):
                await self._fail(told)
            return Outcome.FAILED
        return Outcome.DONE

    async def _serve(self) -> None:
        service, request = self._service, self._request
        answerer = service.answerer(request.model)
        check_abilities(request, answerer=answerer)
        if service.moderator and (reason := service.moderator(request.messages)):
            raise refused(reason)
        with answerer.place():
            job = self._admit(await answerer.prepare(request))
            self._count = Usage(job.prompt_tokens, 0)
            self._tally = service.meter.open(self._entry(answerer))
            said = answerer.said(job)
            try:
                await self._speak(said, name=answerer.name)
            finally:
                await said.aclose()

    def _admit(self, job: Job) -> Job:
        wanted = job.sampling.max_tokens or DEFAULT_MAX_TOKENS
        ticket = self._service.gate.admit(
            self._key, prompt_tokens=job.prompt_tokens, max_tokens=wanted, at_s=time.time()
        )
        self._ticket = ticket
        job = replace(job, salt=self._key.id)
        if self._key.allowance.budget_tokens is None:
            return job
        return replace(job, sampling=replace(job.sampling, max_tokens=ticket.max_tokens))

    def _entry(self, answerer: Answerer) -> Entry:
        return Entry(
            id=self._id,
            key_id=self._key.id,
            model=answerer.name,
            route=self._route,
            at_s=time.time(),
            prompt_tokens=self._count.prompt_tokens,
            completion_tokens=0,
            outcome=Outcome.KILLED,
        )

    async def _speak(self, said: AsyncGenerator[Bunch], *, name: str) -> None:
        # the status is sent after the first word, so that a stream too can fail with one
        begun = await first_words(self._metered(said), name=name)
        if not self._request.stream:
            await self._speak_whole(begun, said)
            return
        await self._send_head(200, _STREAM_HEADERS)
        await self._send_body(self._form.opening() + self._form.events(begun), more=True)
        async for bunch in said:
            self._note(bunch)
            body = self._form.events(bunch)
            if body:
                await self._send_body(body, more=True)
        await self._send_body(self._form.closing(self._count), more=False)

    async def _speak_whole(self, begun: list[Piece], said: AsyncGenerator[Bunch]) -> None:
        async for bunch in said:
            self._note(bunch)
            begun.extend(bunch)
        await self._send_json(200, self._form.whole(begun, self._count))

    async def _metered(self, said: AsyncGenerator[Bunch]) -> AsyncGenerator[Bunch]:
        async for bunch in said:
            self._note(bunch)
            yield bunch

    def _note(self, bunch: Sequence[Piece]) -> None:
        """Meter what is about to be sent."""
        count, fresh = self._count, 0
        for piece in bunch:
            fresh += piece.num_tokens
            if piece.more and piece.more.usage:
                count = replace(piece.more.usage, completion_tokens=count.completion_tokens)
                fresh = piece.more.usage.completion_tokens - count.completion_tokens
        self._count = replace(count, completion_tokens=count.completion_tokens + fresh)
        assert self._tally is not None
        self._tally.said(fresh)
        if fresh:
            self._last_s = time.perf_counter()
            self._first_s = self._first_s or self._last_s

    # ---- sending ----

    async def _send_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        self.sending_since_s = time.perf_counter()
        message: AsgiMessage = {"type": "http.response.body", "body": body, "more_body": more}
        await self._send(message)
        self.sending_since_s = 0.0

    async def _send_json(
        self, status: int, document: dict[str, object], *, retry_after_s: int | None = None
    ) -> None:
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", self._id.encode()),
        ]
        if retry_after_s is not None:
            headers.append((b"retry-after", str(retry_after_s).encode()))
        await self._send_head(status, headers)
        await self._send_body(body, more=False)

    async def _fail(self, error: ApiError, *, is_heard: bool = True) -> None:
        if self._status:
            if is_heard:
                await self._send_body(self._form.failure(error), more=False)
            return
        self._status = error.status
        if is_heard:
            await self._send_json(error.status, error.body, retry_after_s=error.retry_after_s)

    # ---- afterwards ----

    def _settle(self, outcome: Outcome) -> None:
        service, count = self._service, self._count
        total = count.prompt_tokens + count.completion_tokens if self._tally else 0
        if self._ticket is not None:
            service.gate.settle(self._ticket, num_tokens=total, at_s=time.time())
        if self._tally is not None:
            self._tally.close(count, outcome)
            self._observe(self._tally.entry.model, outcome)
        model = self._tally.entry.model if self._tally else ""
        service.metrics.requests.add(self._route, model, str(self._status))
        if log.isEnabledFor(20):
            log.info("request", extra={"fields": self._line(outcome)})

    def _observe(self, model: str, outcome: Outcome) -> None:
        metrics, count = self._service.metrics, self._count
        metrics.ends.add(model, str(outcome))
        metrics.tokens.add(model, "prompt", amount=count.prompt_tokens)
        metrics.tokens.add(model, "completion", amount=count.completion_tokens)
        metrics.whole.observe(model, value=time.perf_counter() - self.began_s)
        if self._first_s:
            metrics.ttft.observe(model, value=self._first_s - self.began_s)
        if count.completion_tokens > 1 and self._last_s > self._first_s:
            tpot_s = (self._last_s - self._first_s) / (count.completion_tokens - 1)
            metrics.tpot.observe(model, value=tpot_s)

    def _line(self, outcome: Outcome) -> dict[str, object]:
        now_s = time.perf_counter()
        return {
            "event": "request",
            "id": self._id,
            "key": self.key_id,
            "route": self._route,
            "model": self._request.model,
            "status": self._status,
            "outcome": outcome,
            "prompt_tokens": self._count.prompt_tokens,
            "completion_tokens": self._count.completion_tokens,
            "ttft_s": round(self._first_s - self.began_s, 6) if self._first_s else None,
            "total_s": round(now_s - self.began_s, 6),
        }


def fresh_id(kind: str) -> str:
    """A new name for one answer, ``kind``-..."""
    return kind + uuid.uuid4().hex
