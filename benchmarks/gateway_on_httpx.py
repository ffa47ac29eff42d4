"""Our gateway with httpx in the place of chat/http1.py, to be measured beside it.

python benchmarks/gateway_on_httpx.py chat --engine NAME=URL --port 8080
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx

from gigafactory.chat import remote
from gigafactory.chat.http1 import BrokenOffError
from gigafactory.cli.main import main

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=256)


class Response:
    """As http1.Response, for what a gateway needs."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer
        self._parts = answer.aiter_raw()
        self.status = answer.status_code

    async def parts(self) -> AsyncIterator[bytes]:
        try:
            while (data := await anext(self._parts, None)) is not None:
                yield data
        except httpx.HTTPError as error:
            raise BrokenOffError(str(error)) from None

    async def whole(self, *, most_bytes: int) -> bytes:
        return b"".join([part async for part in self.parts()])[:most_bytes]

    def close(self) -> None:
        if not self._answer.is_closed:
            self._closing = asyncio.ensure_future(self._answer.aclose())


class Client:
    """As http1.Client."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self._url = base_url.rstrip("/")
        self._headers = dict(headers or {}) | {"content-type": "application/json"}
        self._client: httpx.AsyncClient | None = None

    async def post(self, path: str, body: bytes) -> Response:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=600, limits=_LIMITS, headers=self._headers)
        asked = self._client.build_request("POST", self._url + path, content=body)
        try:
            return Response(await self._client.send(asked, stream=True))
        except httpx.HTTPError as error:
            raise BrokenOffError(str(error)) from None

    def close(self) -> None:
        pass


if __name__ == "__main__":
    remote.Client = Client  # type: ignore[misc, assignment]
    main()
