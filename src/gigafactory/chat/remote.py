"""An answerer elsewhere: any OpenAI base URL (vLLM, SGLang, Dynamo, llama-server, a gateway)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gigafactory.chat.answerer import Embedded
from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Ability, Finish, More, Origin, Piece, Sampling, Usage
from gigafactory.chat.errors import ApiError, busy
from gigafactory.chat.http1 import BrokenOffError, Client, Response
from gigafactory.chat.request import ChatRequest

_BYTES_PER_TOKEN = 4
"""A guess, until the upstream has counted."""
_MOST_ERROR_BYTES = 16_000
_MOST_VECTOR_BYTES = 200_000_000
_RETRY_AFTER_S = 2


class Remote:
    """One model of another service. It is asked for streams only, whole answers are put together
    here, so that every answer can be metered and stopped midway."""

    origin = Origin.REMOTE
    context_tokens = 0
    abilities = frozenset(Ability)
    chats = True

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        model: str | None = None,
        api_key: str | None = None,
        max_present: int = 512,
    ) -> None:
        self.name = name
        self.about = f"Another service's model {model or name}."
        self.num_present = 0
        self._model = model or name
        self._max_present = max_present
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # its weights are not at hand: where they are asked for stands for them
        address = f"{base_url}#{self._model}"
        self.weights_sha256 = hashlib.sha256(address.encode()).hexdigest()
        self._client = Client(base_url, headers=headers)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be counted; ApiError 503 where ``max_present`` requests are there."""
        if self.num_present >= self._max_present:
            raise busy(self.name, num_waiting=self.num_present, retry_after_s=_RETRY_AFTER_S)
        self.num_present += 1
        try:
            yield
        finally:
            self.num_present -= 1

    async def prepare(self, request: ChatRequest) -> Job:
        """Nothing is checked here that the upstream checks; the count of the prompt is a guess."""
        num_bytes = sum(len(m.content.encode("utf-8", "replace")) for m in request.messages)
        sampling = Sampling(max_tokens=request.limit_tokens or 0, seed=0)
        return Job((), sampling, (), 1 + num_bytes // _BYTES_PER_TOKEN, request)

    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        """Pass the stream on; ApiError 502 where it breaks off: it never ends in silence."""
        response = await self._post("/chat/completions", self._fields(job))
        try:
            if response.status != 200:
                raise await self._refusal(response)
            reader, is_over = EventReader(), False
            async for data in response.parts():
                pieces = [self._piece(chunk) for chunk in reader.feed(data)]
                is_over = is_over or any(piece.finish for piece in pieces)
                if pieces:
                    yield pieces
                if reader.is_done:
                    break
            if not is_over:
                raise self._broke("its stream ended without a finish_reason")
            async for _ in response.parts():
                pass  # the end of the body, so that the connection can be kept
        except BrokenOffError as error:
            raise self._broke(str(error)) from None
        finally:
            response.close()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """The upstream's vectors."""
        response = await self._post("/embeddings", {"model": self._model, "input": list(texts)})
        try:
            if response.status != 200:
                raise await self._refusal(response)
            document = json.loads(await response.whole(most_bytes=_MOST_VECTOR_BYTES))
            vectors = [entry["embedding"] for entry in document["data"]]
            return Embedded(vectors, int(document.get("usage", {}).get("prompt_tokens", 0)))
        except (BrokenOffError, ValueError, KeyError, TypeError) as error:
            raise self._broke(f"{type(error).__name__}: {error}") from None
        finally:
            response.close()

    async def close(self) -> None:
        """Cut the connections."""
        self._client.close()

    async def _post(self, path: str, fields: Mapping[str, Any]) -> Response:
        try:
            return await self._client.post(path, json.dumps(fields).encode())
        except (OSError, BrokenOffError) as error:
            message = f"{self.name} cannot be reached: {type(error).__name__}"
            raise ApiError(502, message, code="upstream_unreachable") from None

    def _fields(self, job: Job) -> dict[str, Any]:
        assert job.request is not None
        fields = dict(job.request.fields)
        fields |= {"model": self._model, "stream": True, "stream_options": {"include_usage": True}}
        if job.sampling.max_tokens:
            newer = "max_completion_tokens"
            fields[newer if newer in fields else "max_tokens"] = job.sampling.max_tokens
        return fields

    def _piece(self, chunk: Mapping[str, Any]) -> Piece:
        try:
            if "error" in chunk:
                raise self._broke(_words(chunk["error"]))
            usage = _usage(chunk.get("usage"))
            choices = chunk["choices"]
            if not choices:
                return Piece("", 0, None, More(usage=usage) if usage else None)
            return _piece(choices[0], usage)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._broke(f"no chunk of a chat completion: {error!r}") from None

    def _broke(self, why: str) -> ApiError:
        return ApiError(502, f"{self.name} broke off: {why}", code="upstream_failed")

    async def _refusal(self, response: Response) -> ApiError:
        body = await response.whole(most_bytes=_MOST_ERROR_BYTES)
        try:
            told = json.loads(body)
            words = _words(told.get("error", told))
        except (ValueError, AttributeError):
            words = f"status {response.status}"
        message = f"{self.name}: {words}"
        if response.status in (400, 404, 413, 422):
            return ApiError(400, message, code="upstream_refused")
        if response.status in (429, 503):
            return ApiError(503, message, code="engine_busy", retry_after_s=_RETRY_AFTER_S)
        return ApiError(502, message, code="upstream_failed")


class EventReader:
    """Server-sent events, sans-IO: bytes in, JSON documents out."""

    def __init__(self) -> None:
        self.is_done = False
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The documents that ``data`` completes; ApiError 502 where one is no JSON object."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found: list[dict[str, Any]] = []
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.is_done = True
                break
            found.append(_document(payload))
        return found


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ApiError(502, "the upstream sent an event that is no JSON", code="upstream_failed")
    return document


def _piece(choice: Mapping[str, Any], usage: Usage | None) -> Piece:
    delta = choice.get("delta") or {}
    text = delta.get("content") or ""
    calls = delta.get("tool_calls")
    logprobs = (choice.get("logprobs") or {}).get("content")
    finish = choice.get("finish_reason")
    more = None
    if calls or logprobs or usage:
        more = More(logprobs=logprobs, tool_calls=calls, usage=usage)
    num_tokens = len(logprobs) if logprobs else int(bool(text or calls))
    return Piece(text, num_tokens, _finish(finish), more)


def _finish(told: object) -> Finish | None:
    if told is None:
        return None
    known = {finish.value: finish for finish in Finish}
    return known.get(str(told), Finish.STOP)


def _usage(told: Mapping[str, Any] | None) -> Usage | None:
    if not told:
        return None
    details = told.get("prompt_tokens_details") or {}
    cached = int(details.get("cached_tokens") or 0)
    return Usage(int(told["prompt_tokens"]), int(told["completion_tokens"]), cached)


def _words(error: object) -> str:
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or "no reason given"
    return str(error)[:500]
