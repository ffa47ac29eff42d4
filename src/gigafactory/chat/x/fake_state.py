"""What the local fake X knows: accounts, posts, rate windows, and the faults it is told to have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

WINDOW_S = 900.0
_NAME = re.compile(r"@(\w+)")


@dataclass(frozen=True, slots=True)
class User:
    """An account and its token."""

    id: str
    username: str
    token: str


@dataclass(frozen=True, slots=True)
class FakePost:
    """A post on the fake."""

    id: str
    author_id: str
    text: str
    replies_to: str | None = None
    quotes: str | None = None
    reposts: str | None = None
    made_with_ai: bool | None = None


@dataclass(slots=True)
class Faults:
    """What goes wrong next; each count is used up."""

    num_server_errors: int = 0
    """So many requests get 503."""
    num_lost_answers: int = 0
    """So many posts are made, and the connection is cut before the answer."""
    stream_posts: int | None = None
    """After so many posts the stream is cut, once; None: never."""
    while_cut: Callable[[], object] | None = None
    """Called when the stream is cut: what it posts, no connection has ever sent."""
    repeats: bool = False
    """Every post comes twice in the stream."""


@dataclass(slots=True)
class World:
    """All of it; time is told by ``clock_s``, which a test may move."""

    limits: dict[str, int] = field(default_factory=dict)
    """Requests per window and route; a route without one is not limited."""
    clock_s: float = 1_790_000_000.0
    users: dict[str, User] = field(default_factory=dict)
    posts: dict[str, FakePost] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    _next_id: int = 1_000
    _used: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    def add_user(self, username: str, *, token: str) -> User:
        """A new account."""
        user = User(str(self._fresh()), username, token)
        self.users[user.id] = user
        return user

    def _fresh(self) -> int:
        self._next_id += 1
        return self._next_id

    def add_post(
        self,
        author: User,
        text: str,
        *,
        replies_to: str | None = None,
        quotes: str | None = None,
        reposts: str | None = None,
        made_with_ai: bool | None = None,
    ) -> FakePost:
        """A new post; ids grow."""
        ident = str(self._fresh())
        post = FakePost(ident, author.id, text, replies_to, quotes, reposts, made_with_ai)
        self.posts[ident] = post
        return post

    def by_token(self, token: str) -> User | None:
        """Whose token it is."""
        return next((user for user in self.users.values() if user.token == token), None)

    def named(self, post: FakePost) -> list[User]:
        """Accounts that the text names."""
        names = {name.lower() for name in _NAME.findall(post.text)}
        return [user for user in self.users.values() if user.username.lower() in names]

    def calls(self, post: FakePost, user: User) -> bool:
        """Whether ``post`` names ``user`` or quotes a post of theirs."""
        quoted = self.posts.get(post.quotes or "")
        return user in self.named(post) or (quoted is not None and quoted.author_id == user.id)

    def mentions(self, user: User, *, since: str | None) -> list[FakePost]:
        """Posts of others that name ``user``, newest first."""
        found = [
            post
            for post in self.posts.values()
            if post.author_id != user.id
            and user in self.named(post)
            and (since is None or int(post.id) > int(since))
        ]
        return sorted(found, key=lambda post: -int(post.id))

    def is_duplicate(self, author: User, text: str, *, replies_to: str | None) -> bool:
        """Whether the account has said exactly this there."""
        return any(
            post.author_id == author.id and post.text == text and post.replies_to == replies_to
            for post in self.posts.values()
        )

    def admit(self, token: str, route: str) -> tuple[bool, dict[str, str]]:
        """Count a request; whether it may pass, and the headers that tell."""
        limit = self.limits.get(route)
        if limit is None:
            return True, {}
        begin_s, used = self._used.get((token, route), (self.clock_s, 0))
        if self.clock_s >= begin_s + WINDOW_S:
            begin_s, used = self.clock_s, 0
        passes = used < limit
        used += passes
        self._used[token, route] = (begin_s, used)
        return passes, {
            "x-rate-limit-limit": str(limit),
            "x-rate-limit-remaining": str(limit - used),
            "x-rate-limit-reset": str(int(begin_s + WINDOW_S)),
        }

    def body(self, post: FakePost, *, for_stream: bool) -> dict[str, object]:
        """A post as the API writes it."""
        fields: dict[str, object] = {"id": post.id, "text": post.text, "author_id": post.author_id}
        named = [
            {"username": u.username, "id": u.id, "start": 0, "end": 1} for u in self.named(post)
        ]
        if named:
            fields["entities"] = {"mentions": named}
        referenced = [
            {"type": kind, "id": ident}
            for kind, ident in (
                ("replied_to", post.replies_to),
                ("quoted", post.quotes),
                ("retweeted", post.reposts),
            )
            if ident
        ]
        if referenced:
            fields["referenced_tweets" if for_stream else "referenced_posts"] = referenced
        return fields

    def includes(self, posts: Sequence[FakePost], *, for_stream: bool) -> dict[str, object]:
        """The posts that ``posts`` refer to."""
        found = {p.id: p for post in posts for p in self._referenced(post)}
        if not found:
            return {}
        bodies = [self.body(post, for_stream=for_stream) for post in found.values()]
        return {"includes": {"tweets" if for_stream else "posts": bodies}}

    def _referenced(self, post: FakePost) -> Iterator[FakePost]:
        for ident in (post.replies_to, post.quotes, post.reposts):
            if ident in self.posts:
                yield self.posts[ident]
