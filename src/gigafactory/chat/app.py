"""The routes: a thin shell around reading, gate, flight and wire."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gigafactory import __version__
from gigafactory.chat.body import read_body
from gigafactory.chat.embeddings import embedding_document, read_embedding_request
from gigafactory.chat.engine import Ability, Engine, Usage
from gigafactory.chat.errors import ApiError, bad_request
from gigafactory.chat.flight import Flight, fresh_id
from gigafactory.chat.guard import OnlyLocal
from gigafactory.chat.keys import Scope
from gigafactory.chat.line import Line
from gigafactory.chat.metrics import CONTENT_TYPE
from gigafactory.chat.openapi import document
from gigafactory.chat.pages import page_routes
from gigafactory.chat.record_routes import record_routes
from gigafactory.chat.request import read_request
from gigafactory.chat.responses import Response as ResponsesForm
from gigafactory.chat.responses import read_response_request
from gigafactory.chat.service import Service, log
from gigafactory.chat.usage import Entry, Outcome
from gigafactory.chat.wire import Reply, model_document


def make_app(
    engines: Sequence[Engine], *, max_waiting: int = 8, notice: str | None = None
) -> Starlette:
    """A service without keys for this machine only; ``notice`` is shown on the page."""
    lines = [Line(engine, max_waiting=max_waiting) for engine in engines]
    return make_gateway(Service(lines, notice=notice))


def make_gateway(
    service: Service, *, only_local: bool = True, origins: Sequence[str] = ()
) -> Starlette:
    """The service as an ASGI application.

    ``only_local``: requests that came by way of a foreign name are refused. ``origins``: web pages
    from elsewhere that may use it; none by default.
    """
    routes = _Routes(service)
    middleware = [Middleware(OnlyLocal, also=tuple(origins))] if only_local else []
    if origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
            )
        )
    told = _told(service)
    return Starlette(
        routes=routes.table(),
        middleware=middleware,
        exception_handlers={ApiError: told, HTTPException: told, Exception: told},
        lifespan=routes.lifespan,
    )


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service

    def table(self) -> list[Route]:
        return [
            Route("/health", self.health),
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/v1/responses", self.respond, methods=["POST"]),
            Route("/v1/embeddings", self.embed, methods=["POST"]),
            *record_routes(self._service),
            *page_routes(),
        ]

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self._service.start()
        yield
        await self._service.stop()

    async def health(self, _: Request) -> Response:
        present = dict(self._service.num_present())
        if self._service.is_closing:
            return JSONResponse({"status": "closing", "num_present": present}, status_code=503)
        return JSONResponse({"status": "ok", "num_present": present})

    async def metrics(self, request: Request) -> Response:
        self._service.enter(request.headers, Scope.METRICS)
        return Response(self._service.metrics.text(), media_type=CONTENT_TYPE)

    async def openapi(self, _: Request) -> Response:
        wants_keys = self._service.gate.keys is not None
        return JSONResponse(document(version=__version__, wants_keys=wants_keys))

    async def models(self, request: Request) -> Response:
        service = self._service
        service.enter(request.headers, Scope.MODELS)
        entries = [model_document(a, created_s=service.created_s) for a in service.answerers]
        return JSONResponse({"object": "list", "data": entries, "notice": service.notice})

    async def model(self, request: Request) -> Response:
        self._service.enter(request.headers, Scope.MODELS)
        answerer = self._service.answerer(request.path_params["name"])
        return JSONResponse(model_document(answerer, created_s=self._service.created_s))

    async def complete(self, request: Request) -> Flight:
        service = self._service
        key = service.gate.enter(request.headers.get("authorization"), Scope.CHAT)
        asked = read_request(await read_body(request, service=self._service))
        ident = fresh_id("chatcmpl-")
        form = Reply(ident, int(time.time()), asked.model, asked.wants_usage_chunk)
        return Flight(service, asked, key=key, form=form, route="chat", ident=ident)

    async def respond(self, request: Request) -> Flight:
        service = self._service
        key = service.gate.enter(request.headers.get("authorization"), Scope.CHAT)
        asked = read_response_request(await read_body(request, service=self._service))
        ident = fresh_id("resp_")
        form = ResponsesForm(ident, int(time.time()), asked.model)
        return Flight(service, asked, key=key, form=form, route="responses", ident=ident)

    async def embed(self, request: Request) -> Response:
        service = self._service
        key = service.gate.enter(request.headers.get("authorization"), Scope.EMBEDDINGS)
        body = await read_body(request, service=self._service)
        asked = read_embedding_request(body)
        answerer = service.answerer(asked.model)
        if Ability.EMBEDDINGS not in answerer.abilities:
            raise bad_request(f"model: {answerer.name} makes no embeddings", param="model")
        estimate = len(body) // 4
        now_s = time.time()
        ticket = service.gate.admit(key, prompt_tokens=estimate, max_tokens=1, at_s=now_s)
        count = Usage(0, 0)
        outcome = Outcome.FAILED
        entry = Entry(
            id=fresh_id("emb-"), key_id=key.id, model=answerer.name, route="embeddings",
            at_s=now_s, prompt_tokens=0, completion_tokens=0, outcome=outcome,
        )  # fmt: skip
        tally = service.meter.open(entry)
        try:
            with answerer.place():
                embedded = await answerer.embed(asked.texts)
            count, outcome = Usage(embedded.prompt_tokens, 0), Outcome.DONE
        finally:
            service.gate.settle(ticket, num_tokens=count.prompt_tokens, at_s=time.time())
            tally.close(count, outcome)
            service.metrics.tokens.add(answerer.name, "prompt", amount=count.prompt_tokens)
        service.metrics.requests.add("embeddings", answerer.name, "200")
        return JSONResponse(embedding_document(asked, embedded))


def _told(service: Service) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def told(request: Request, error: Exception) -> Response:
        headers: dict[str, str] = {}
        if isinstance(error, HTTPException):
            headers.update(error.headers or {})
            words = f"{request.method} {request.url.path}: {error.detail}"
            error = ApiError(error.status_code, words)
        elif not isinstance(error, ApiError):
            log.log(logging.ERROR, "a request failed", exc_info=error)
            error = ApiError(500, f"the service failed: {type(error).__name__}: {error}")
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        service.metrics.requests.add("other", "", str(error.status))
        return JSONResponse(error.body, status_code=error.status, headers=headers)

    return told
