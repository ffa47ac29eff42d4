"""A lean HTTP/1.1 client for streams: one parser in C, one object a connection, connections kept.

A stream of sixteen tokens is sixteen wake-ups. What a client does at each of them decides how many
streams a core can pass on; here that is one callback. Measured side by side with httpx 0.28 in its
place (benchmarks/gateway.py, 16-token streams): 687 against 147 streams a second of processor time,
where 400 are wanted; 1.6 against 2.8 ms to the first byte; 54 against 68 MB. Proxies, redirects and
compression, which general clients know, are left out: upstreams are named by whoever runs the
service.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httptools

from gigafactory.describe.errors import InputError

_CONNECT_S = 10.0
_MOST_UNREAD_BYTES = 1_000_000
_MOST_IDLE = 256


class BrokenOffError(Exception):
    """The connection ended before the response did."""


class Response:
    """One response: its head, then its body as it comes."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self._parts: list[bytes] = []
        self._num_unread = 0
        self._error: BrokenOffError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> None:
        """Wait for status and headers; BrokenOffError where none come."""
        while not self.status:
            if self._error:
                raise self._error
            await self._wait()

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, as many bytes at a time as have come; BrokenOffError: it ended too early."""
        while True:
            if self._parts:
                data, self._parts = b"".join(self._parts), []
                self._num_unread = 0
                self._connection.resume()
                yield data
            elif self.is_complete:
                return
            elif self._error:
                raise self._error
            else:
                await self._wait()

    async def whole(self, *, most_bytes: int) -> bytes:
        """The body, or the beginning of one that is too long."""
        body = b""
        async for part in self.parts():
            body += part
            if len(body) > most_bytes:
                return body[:most_bytes]
        return body

    def close(self) -> None:
        """Done with it: a connection whose response is complete is kept, another is cut."""
        self._connection.release(self)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    # ---- called by the connection ----

    def wake(self) -> None:
        """Something changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def took(self, data: bytes) -> bool:
        """Bytes of the body came; whether there is room for more."""
        self._parts.append(data)
        self._num_unread += len(data)
        return self._num_unread < _MOST_UNREAD_BYTES

    def broke(self, why: str) -> None:
        """Nothing more will come."""
        if not self.is_complete:
            self._error = BrokenOffError(why)
        self.wake()


class _Connection(asyncio.Protocol):
    """Callbacks of asyncio on one side and of the parser on the other."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transport: Any = None
        self._parser: Any = None
        self._response: Response | None = None
        self.is_open = False
        self.num_served = 0
        self._may_stay = False

    def ask(self, request: bytes) -> Response:
        self._parser = httptools.HttpResponseParser(self)
        self._response = Response(self)
        self._transport.write(request)
        return self._response

    def release(self, response: Response) -> None:
        if self._response is not response:
            return
        self._response = None
        self.num_served += 1
        if response.is_complete and self.is_open and self._may_stay:
            self._client.keep(self)
        else:
            self.cut()

    def cut(self) -> None:
        self.is_open = False
        self._transport.abort()

    def resume(self) -> None:
        if self._transport.is_reading() or self._transport.is_closing():
            return
        self._transport.resume_reading()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.cut()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._response.broke(f"no HTTP: {error}")
            self.cut()
        if self._response is not None:
            self._response.wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._client.forget(self)
        if self._response is not None:
            self._response.broke("the connection ended" if error is None else str(error))

    # the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None:
            self._response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._response is not None:
            self._response.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._response is not None and not self._response.took(body):
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._may_stay = self._parser.should_keep_alive()  # forgotten after this callback
        if self._response is not None:
            self._response.is_complete = True


class Client:
    """Requests to one server. InputError where ``base_url`` is no http or https address."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InputError(f"{base_url!r} is no address; write http://HOST:PORT/v1")
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if url.scheme == "https" else None
        self._path = url.path.rstrip("/")
        lines = {"Host": url.netloc.rpartition("@")[2], "Accept": "*/*"} | dict(headers or {})
        if any("\n" in value or "\r" in value for value in lines.values()):
            raise InputError("a header's value must be one line")
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: bytes) -> Response:
        """Send JSON; the response with its head. OSError or BrokenOffError where none comes."""
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return await self._ask("POST", path, head, body)

    async def get(self, path: str) -> Response:
        """As ``post``."""
        return await self._ask("GET", path, "", b"")

    async def _ask(self, method: str, path: str, head: str, body: bytes) -> Response:
        first_line = f"{method} {self._path}{path} HTTP/1.1\r\n"
        request = (first_line + self._head + head + "\r\n").encode("latin-1") + body
        while True:
            connection = await self._connection()
            response = connection.ask(request)
            try:
                await response.head()
            except BrokenOffError:
                if not connection.num_served:
                    raise
                continue  # the server had closed an idle connection; a fresh one will tell
            except BaseException:
                response.close()
                raise
            return response

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            _, connection = await loop.create_connection(
                lambda: _Connection(self), self._host, self._port, ssl=self._ssl
            )
        return connection

    def keep(self, connection: _Connection) -> None:
        """Its response is read: it can serve again."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.cut()

    def forget(self, connection: _Connection) -> None:
        """It is closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Cut all connections that wait."""
        while self._idle:
            self._idle.pop().cut()
