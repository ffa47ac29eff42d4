"""The platform through X's own SDK, `xdk`; works against X and against the local fake alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from xdk import Client
from xdk.posts.models import CreateRequest
from xdk.streaming import StreamConfig, StreamError

from gigafactory.chat.x.listening import listen
from gigafactory.chat.x.platform import (
    Account,
    Broken,
    Call,
    Forbidden,
    Gap,
    Mention,
    Platform,
    Reply,
    TooMany,
)

_PAGE = 100
_TIMEOUT_S = 30.0
_FIELDS = ["author_id", "entities", "referenced_posts"]
_STREAM_FIELDS = ["author_id", "entities", "referenced_tweets"]
_WAIT_S = 60.0


class XdkPlatform(Platform):
    """One account on X, by its OAuth 2 access token."""

    def __init__(
        self, *, base_url: str, access_token: str, backoff_s: float = 1.0, max_retries: int = 10
    ) -> None:
        self._client = Client(base_url=base_url, access_token=access_token)
        self._client.session.request = _with_timeout(self._client.session.request)
        self._backoff_s, self._max_retries = backoff_s, max_retries
        self._me: Account | None = None

    def me(self) -> Account:
        """Who the token belongs to."""
        with _told():
            found = _plain(self._client.users.get_me())["data"]
        self._me = Account(str(found["id"]), str(found["username"]))
        return self._me

    def mentions(self, *, since: str | None) -> Iterator[list[Mention]]:
        """Pages of mentions, newest first."""
        me = self._me or self.me()
        pages = self._client.users.get_mentions(
            me.id,
            max_results=_PAGE,
            since_id=since,
            post_fields=_FIELDS,
            expansions=["referenced_posts"],
        )
        while True:
            with _told():
                page = next(pages, None)
            if page is None:
                return
            yield mentions_of(_plain(page), me=me)

    def stream(self) -> Iterator[Mention | Gap]:
        """The filtered stream. The SDK connects again after a break; a Gap says so."""
        me = self._me or self.me()
        events = listen(self._events)
        while True:
            with _told():
                event = next(events, None)
            if event is None:
                return
            if isinstance(event, Gap):
                yield event
            else:
                yield from mentions_of(event, me=me)

    def _events(self, connected: Callable[[], None]) -> Iterator[dict[str, Any]]:
        config = StreamConfig(
            max_retries=self._max_retries,
            initial_backoff=self._backoff_s,
            jitter=False,
            on_connect=connected,
        )
        posts = self._client.stream.posts(
            tweet_fields=_STREAM_FIELDS, expansions=["referenced_tweets.id"], stream_config=config
        )
        return (_plain(post) for post in posts)

    def gone(self, idents: Sequence[str]) -> set[str]:
        """Those that X names as not found, withheld or protected; silence about one proves
        nothing."""
        if not idents:
            return set()
        with _told():
            found = _plain(self._client.posts.get_by_ids(list(idents)))
        there = {str(post["id"]) for post in found.get("data") or ()}
        named = {
            str(problem.get("resource_id") or problem.get("value"))
            for problem in found.get("errors") or ()
            if str(problem.get("type", "")).rsplit("/", 1)[-1] in _GONE_PROBLEMS
        }
        return (named & set(idents)) - there

    def reply(self, reply: Reply) -> str:
        """Post it."""
        body = CreateRequest.model_validate(
            {
                "text": reply.text,
                "made_with_ai": reply.made_with_ai,
                "reply": {"in_reply_to_tweet_id": reply.to},
            }
        )
        with _told():
            made = _plain(self._client.posts.create(body))
        return str(made["data"]["id"])

    def delete(self, ident: str) -> None:
        """Take it back."""
        try:
            with _told():
                self._client.posts.delete(ident)
        except Forbidden as gone:
            if gone.why != _GONE:
                raise


_GONE = "gone"
_GONE_PROBLEMS = frozenset(
    ("resource-not-found", "not-authorized-for-resource", "resource-unavailable")
)


def mentions_of(answer: dict[str, Any], *, me: Account) -> list[Mention]:
    """The posts of an answer as the bot sees them."""
    data = answer.get("data") or ()
    included = answer.get("includes") or {}
    others = (*(included.get("posts") or ()), *(included.get("tweets") or ()))
    authors = {str(post["id"]): str(post.get("author_id", "")) for post in others}
    posts = [data] if isinstance(data, dict) else data
    return [_mention(post, me=me, authors=authors) for post in posts]


def _mention(post: dict[str, Any], *, me: Account, authors: dict[str, str]) -> Mention:
    # posts that are read and posts of the stream name this field differently
    referenced = post.get("referenced_posts") or post.get("referenced_tweets") or ()
    kinds = {item["type"] for item in referenced}
    quoted = {authors.get(str(item["id"])) for item in referenced if item["type"] == "quoted"}
    named = {m["username"].lower() for m in (post.get("entities") or {}).get("mentions") or ()}
    call = Call.NONE
    if me.username.lower() in named:
        call = Call.MENTION
    elif me.id in quoted:
        call = Call.QUOTE
    return Mention(
        id=str(post["id"]),
        author_id=str(post.get("author_id", "")),
        text=str(post.get("text", "")),
        call=call,
        is_repost="retweeted" in kinds,
    )


def _plain(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = (
        answer.model_dump(exclude_none=True) if hasattr(answer, "model_dump") else dict(answer)
    )
    return found


def _with_timeout(request: Any) -> Any:
    def timed(*args: Any, **named: Any) -> Any:
        # the SDK waits for ever otherwise
        return request(*args, **{"timeout": _TIMEOUT_S, **named})

    return timed


@contextmanager
def _told() -> Iterator[None]:
    """The SDK's and requests' errors as ours."""
    try:
        yield
    except requests.HTTPError as error:
        raise _error_of(error.response) from None
    except (requests.RequestException, StreamError) as error:
        raise Broken(f"{type(error).__name__}: {error}") from None


def _error_of(response: requests.Response | None) -> Exception:
    status = response.status_code if response is not None else 0
    if response is None or status >= 500:
        return Broken(f"status {status}")
    if status == 429:
        reset = response.headers.get("x-rate-limit-reset", "")
        return TooMany(float(reset) if reset.isdigit() else time.time() + _WAIT_S)
    if status == 404:
        return Forbidden(_GONE)
    detail = _detail(response)
    return Forbidden(
        f"status {status}: {detail}", is_duplicate="duplicate content" in detail.lower()
    )


def _detail(response: requests.Response) -> str:
    try:
        fields = response.json()
    except ValueError:
        return response.text[:200]
    return str(fields.get("detail") or fields.get("title") or fields)[:200]
