"""A local fake X: the few routes of its API v2 that the bot uses, with its limits, refusals and
faults.

Routes, fields and answers are those of the SDK's client and models (`xdk` 0.10.6), which are
generated
from X's OpenAPI document; the document itself is not in the package. A test holds every route here
against the client's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gigafactory.chat.x.fake_state import FakePost, User, World
from gigafactory.chat.x.rules import MOST_CHARACTERS, len_on_x

PROBLEMS = "https://api.x.com/2/problems"
_LOOK_EVERY_S = 0.02


def make_fake(world: World) -> Starlette:
    """The fake as an ASGI application."""
    fake = _Fake(world)
    return Starlette(
        routes=[
            Route("/2/users/me", fake.me),
            Route("/2/users/{id}/mentions", fake.mentions),
            Route("/2/tweets/search/stream", fake.stream),
            Route("/2/tweets", fake.posts, methods=["GET", "POST"]),
            Route("/2/tweets/{id}", fake.delete, methods=["DELETE"]),
        ],
        exception_handlers={HTTPException: _told},
    )


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {
        "title": str(error.detail).split(":", 1)[0],
        "detail": str(error.detail),
        "type": f"{PROBLEMS}/about:blank" if error.status_code != 403 else f"{PROBLEMS}/forbidden",
        "status": error.status_code,
    }
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


class _Fake:
    def __init__(self, world: World) -> None:
        self._world = world

    def _enter(self, request: Request, route: str) -> tuple[User, dict[str, str]]:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        user = self._world.by_token(token)
        if user is None:
            raise HTTPException(401, "Unauthorized: a valid access token is needed")
        faults = self._world.faults
        if faults.num_server_errors > 0:
            faults.num_server_errors -= 1
            raise HTTPException(503, "Service Unavailable: try again later")
        passes, headers = self._world.admit(token, route)
        if not passes:
            raise HTTPException(429, "Too Many Requests: the window is used up", headers)
        return user, headers

    async def me(self, request: Request) -> Response:
        user, headers = self._enter(request, "me")
        data = {"id": user.id, "name": user.username, "username": user.username}
        return JSONResponse({"data": data}, headers=headers)

    async def mentions(self, request: Request) -> Response:
        user, headers = self._enter(request, "mentions")
        if request.path_params["id"] != user.id:
            raise HTTPException(403, "Forbidden: mentions of another account")
        query = request.query_params
        size = _whole(query.get("max_results", "10"), least=5, most=100)
        found = self._world.mentions(user, since=query.get("since_id"))
        # the token names the newest post of the page: what comes in meanwhile does not move pages
        token = query.get("pagination_token")
        if token is not None:
            found = [post for post in found if int(post.id) < int(token)]
        page = found[:size]
        meta: dict[str, object] = {"result_count": len(page)}
        if len(found) > size:
            meta["next_token"] = page[-1].id
        body = {"data": [self._world.body(p, for_stream=False) for p in page]} if page else {}
        included = self._world.includes(page, for_stream=False)
        return JSONResponse({**body, **included, "meta": meta}, headers=headers)

    async def posts(self, request: Request) -> Response:
        return await (self._create(request) if request.method == "POST" else self._look(request))

    async def _look(self, request: Request) -> Response:
        _, headers = self._enter(request, "look")
        idents = request.query_params.get("ids", "").split(",")
        if not 1 <= len(idents) <= 100 or not all(i.isdigit() for i in idents):
            raise HTTPException(400, "Invalid Request: ids are 1 to 100 numbers")
        there = [self._world.posts[i] for i in idents if i in self._world.posts]
        errors = [_not_found(i) for i in idents if i not in self._world.posts]
        body: dict[str, object] = {}
        if there:
            body["data"] = [self._world.body(post, for_stream=False) for post in there]
        if errors:
            body["errors"] = errors
        return JSONResponse(body, headers=headers)

    async def _create(self, request: Request) -> Response:
        user, headers = self._enter(request, "create")
        fields = await request.json()
        text = fields.get("text") or ""
        to = (fields.get("reply") or {}).get("in_reply_to_tweet_id")
        self._refuse(user, text, to=to)
        post = self._world.add_post(
            user,
            text,
            replies_to=to,
            quotes=fields.get("quote_tweet_id"),
            made_with_ai=fields.get("made_with_ai"),
        )
        if self._world.faults.num_lost_answers > 0:
            self._world.faults.num_lost_answers -= 1
            raise HTTPException(504, "Gateway Timeout: the answer was lost")
        data = {"id": post.id, "text": post.text}
        return JSONResponse({"data": data}, status_code=201, headers=headers)

    def _refuse(self, user: User, text: str, *, to: str | None) -> None:
        if not text.strip() or len_on_x(text) > MOST_CHARACTERS:
            raise HTTPException(400, f"Invalid Request: text has 1 to {MOST_CHARACTERS} characters")
        if self._world.is_duplicate(user, text, replies_to=to):
            raise HTTPException(403, "Forbidden: you may not create a post with duplicate content")
        if to is None:
            return
        asked = self._world.posts.get(to)
        if asked is None:
            raise HTTPException(
                403, "Forbidden: the post that is replied to is deleted or not visible"
            )
        if not self._world.calls(asked, user):
            raise HTTPException(403, "Forbidden: the author did not mention or quote you")

    async def delete(self, request: Request) -> Response:
        user, headers = self._enter(request, "delete")
        post = self._world.posts.get(request.path_params["id"])
        if post is not None and post.author_id != user.id:
            raise HTTPException(403, "Forbidden: it is not yours")
        if post is None:
            raise HTTPException(404, "Not Found: there is no such post")
        del self._world.posts[post.id]
        return JSONResponse({"data": {"deleted": True}}, headers=headers)

    async def stream(self, request: Request) -> Response:
        user, headers = self._enter(request, "stream")
        newest = max(map(int, self._world.posts), default=0)
        return StreamingResponse(
            self._lines(user, after=newest), media_type="application/json", headers=headers
        )

    async def _lines(self, user: User, *, after: int) -> AsyncIterator[bytes]:
        world = self._world
        while True:
            fresh = [p for p in world.posts.values() if int(p.id) > after and world.calls(p, user)]
            for post in sorted(fresh, key=lambda p: int(p.id)):
                after = int(post.id)
                for _ in range(2 if world.faults.repeats else 1):
                    yield self._line(post)
                if self._is_cut():
                    return
            yield b"\r\n"  # the keep-alive of the real stream
            await asyncio.sleep(_LOOK_EVERY_S)

    def _is_cut(self) -> bool:
        faults = self._world.faults
        if faults.stream_posts is None:
            return False
        faults.stream_posts -= 1
        if faults.stream_posts > 0:
            return False
        faults.stream_posts = None
        if faults.while_cut is not None:
            faults.while_cut()
        return True

    def _line(self, post: FakePost) -> bytes:
        body = {
            "data": self._world.body(post, for_stream=True),
            **self._world.includes([post], for_stream=True),
            "matching_rules": [{"id": "1", "tag": "calls the bot"}],
        }
        return json.dumps(body).encode() + b"\r\n"


def _whole(text: str, *, least: int, most: int) -> int:
    if not text.isdigit() or not least <= int(text) <= most:
        raise HTTPException(400, f"Invalid Request: max_results is {least} to {most}")
    return int(text)


def _not_found(ident: str) -> dict[str, object]:
    return {
        "title": "Not Found Error",
        "detail": f"Could not find post with ids: [{ident}].",
        "type": f"{PROBLEMS}/resource-not-found",
        "resource_type": "post",
        "resource_id": ident,
        "parameter": "ids",
        "value": ident,
    }
