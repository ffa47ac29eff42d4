"""The routes: a thin shell around request, completion and wire."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gigafactory.chat.completion import Job, Usage, choose
from gigafactory.chat.engine import Engine, Piece
from gigafactory.chat.errors import ApiError, no_answer
from gigafactory.chat.guard import OnlyLocal
from gigafactory.chat.line import Line
from gigafactory.chat.request import ChatRequest, read_request
from gigafactory.chat.wire import DONE, Reply, error_event, event, model_document

MAX_BODY_BYTES = 1_000_000
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)


def make_app(
    engines: Sequence[Engine], *, max_waiting: int = 8, notice: str | None = None
) -> Starlette:
    """The service as an ASGI application; ``notice`` is shown on the page."""
    lines = {engine.name: Line(engine, max_waiting=max_waiting) for engine in engines}
    service = _Service(lines, notice=notice)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        for line in lines.values():
            line.close()

    return Starlette(
        routes=[
            Route("/", service.page),
            Route("/healthz", service.health),
            Route("/v1/models", service.models),
            Route("/v1/models/{name}", service.model),
            Route("/v1/chat/completions", service.complete, methods=["POST"]),
        ],
        middleware=[Middleware(OnlyLocal)],
        exception_handlers={ApiError: _told, HTTPException: _told, Exception: _told},
        lifespan=lifespan,
    )


class _Service:
    """What the routes have in common: the queues, and when they were opened."""

    def __init__(self, lines: dict[str, Line], *, notice: str | None) -> None:
        self._lines = lines
        self._engines = [line.engine for line in lines.values()]
        self._notice = notice
        self._created_s = int(time.time())

    async def page(self, _: Request) -> Response:
        html = files("gigafactory.chat").joinpath("page.html").read_text("utf-8")
        return HTMLResponse(html, headers={"Content-Security-Policy": _PAGE_POLICY})

    async def health(self, _: Request) -> Response:
        present = {name: line.num_present for name, line in self._lines.items()}
        return JSONResponse({"status": "ok", "num_present": present})

    async def models(self, _: Request) -> Response:
        entries = [model_document(e, created_s=self._created_s) for e in self._engines]
        return JSONResponse({"object": "list", "data": entries, "notice": self._notice})

    async def model(self, request: Request) -> Response:
        engine = choose(self._engines, request.path_params["name"])
        return JSONResponse(model_document(engine, created_s=self._created_s))

    async def complete(self, request: Request) -> Response:
        asked = read_request(await _body(request))
        line = self._lines[choose(self._engines, asked.model).name]
        with ExitStack() as stack:
            stack.enter_context(line.place())
            job = await line.prepare(asked)
            reply = Reply(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), line.engine.name)
            # the status is sent after the first word, so that a stream too can fail with one
            pieces = line.pieces(job)
            work = _begin if asked.stream else _collect
            begun = await _while_connected(request, work(pieces, name=line.engine.name))
            if begun is None:
                return Response(status_code=499)  # nobody is listening any more
            if not asked.stream:
                return JSONResponse(reply.whole(begun, _usage(job, begun)))
            events = _events(begun, pieces, reply=reply, asked=asked, job=job)
            return EventStream(events, pieces=pieces, afterwards=stack.pop_all())


class EventStream(StreamingResponse):
    """Server-sent events; however the sending ends, the engine is stopped."""

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        *,
        pieces: AsyncGenerator[Piece],
        afterwards: ExitStack,
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._pieces = pieces
        self._afterwards = afterwards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events."""
        with self._afterwards:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._pieces.aclose()


async def _begin(pieces: AsyncIterator[Piece], *, name: str) -> list[Piece]:
    async for piece in pieces:
        return [piece]
    raise no_answer(name)


async def _collect(pieces: AsyncIterator[Piece], *, name: str) -> list[Piece]:
    said = [piece async for piece in pieces]
    if not said:
        raise no_answer(name)
    return said


async def _events(
    begun: list[Piece],
    rest: AsyncIterator[Piece],
    *,
    reply: Reply,
    asked: ChatRequest,
    job: Job,
) -> AsyncGenerator[bytes]:
    said = list(begun)
    yield event(reply.opening()) + event(reply.chunk(begun[0]))
    try:
        async for piece in rest:
            said.append(piece)
            if piece.text or piece.finish:
                yield event(reply.chunk(piece))
    except ApiError as error:
        yield error_event(error) + DONE
        return
    if asked.wants_usage_chunk:
        yield event(reply.usage_chunk(_usage(job, said)))
    yield DONE


def _usage(job: Job, pieces: Sequence[Piece]) -> Usage:
    return Usage(job.prompt_tokens, sum(piece.num_tokens for piece in pieces))


async def _while_connected(request: Request, work: Awaitable[list[Piece]]) -> list[Piece] | None:
    """The result of ``work``; None, and the work cancelled, where the client goes away first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    return body


async def _told(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    elif not isinstance(error, ApiError):
        error = ApiError(500, f"the service failed: {type(error).__name__}: {error}")
    wait_s = error.retry_after_s
    headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
    return JSONResponse(error.body, status_code=error.status, headers=headers)
