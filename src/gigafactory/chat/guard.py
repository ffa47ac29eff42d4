"""Only this machine may ask: a web page from elsewhere must not use the models through a browser.

The service listens on loopback, but a browser on this machine can be led there by a foreign page,
directly or through a name that resolves to 127.0.0.1 (DNS rebinding). Host and Origin tell.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gigafactory.chat.errors import ApiError


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local_request(*, host: str | None, origin: str | None, also: Collection[str] = ()) -> bool:
    """Whether the headers Host and, where there is one, Origin both name this machine.

    An origin in ``also`` may be elsewhere.
    """
    urls = [f"//{host or ''}"] + ([] if origin is None or origin in also else [origin])
    try:
        return all(is_loopback(urlsplit(url).hostname or "") for url in urls)
    except ValueError:
        return False


class OnlyLocal:
    """ASGI middleware: 403 to requests that come by way of a foreign name."""

    def __init__(self, app: ASGIApp, *, also: Collection[str] = ()) -> None:
        self._app = app
        self._also = frozenset(also)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        app = self._app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host"), headers.get("origin")
            if not is_local_request(host=host, origin=origin, also=self._also):
                refusal = ApiError(403, "only this machine may ask; use http://127.0.0.1")
                app = JSONResponse(refusal.body, status_code=403)
        await app(scope, receive, send)
