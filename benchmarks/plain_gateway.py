"""The gateway one writes in an hour: Starlette, httpx, no keys, no metering. Ours beside it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

UPSTREAM = sys.argv[1]
client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None))


async def complete(request: Request) -> Response:
    asked = client.build_request(
        "POST",
        UPSTREAM + "/chat/completions",
        content=await request.body(),
        headers={"content-type": "application/json"},
    )
    answer = await client.send(asked, stream=True)

    async def lines() -> AsyncIterator[str]:
        async for line in answer.aiter_lines():
            if line:
                yield line + "\n\n"
        await answer.aclose()

    return StreamingResponse(lines(), answer.status_code, media_type="text/event-stream")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    yield
    await client.aclose()


app = Starlette(
    routes=[Route("/v1/chat/completions", complete, methods=["POST"])], lifespan=lifespan
)
if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False)
