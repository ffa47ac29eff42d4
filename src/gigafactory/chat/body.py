"""Reading the body of a request within the service's bounds."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from gigafactory.chat.errors import ApiError, closing
from gigafactory.chat.service import Service


async def read_body(request: Request, *, service: Service) -> bytes:
    """All bytes; ApiError 408, 413, 499 or, while the service closes, 503."""
    if service.is_closing:
        raise closing()
    bounds = service.bounds
    try:
        async with asyncio.timeout(bounds.body_s):
            return await _read(request, most_bytes=bounds.body_bytes)
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {bounds.body_s:g} s") from None
    except ClientDisconnect:
        raise ApiError(499, "the client is gone") from None


async def _read(request: Request, *, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > most_bytes:
            raise ApiError(413, f"the body is longer than {most_bytes} bytes")
        parts.append(part)
    return b"".join(parts)
