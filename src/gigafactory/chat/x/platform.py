"""What the bot needs of a platform, and what can go wrong there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Call(StrEnum):
    """How a post calls the bot."""

    MENTION = "mention"
    QUOTE = "quote"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Account:
    """Who the bot is."""

    id: str
    username: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A post that came in."""

    id: str
    author_id: str
    text: str
    call: Call
    is_repost: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """The stream was broken off: what was posted meanwhile has to be fetched."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be posted."""

    text: str
    to: str
    """The id of the post that is answered."""
    made_with_ai: bool = True


@dataclass(eq=False)
class TooMany(Exception):  # noqa: N818
    """Status 429; ``reset_s`` is when it may be tried again, Unix time."""

    reset_s: float


@dataclass(eq=False)
class Forbidden(Exception):  # noqa: N818
    """Status 403: the platform does not take it, and would not take it a second time."""

    why: str
    is_duplicate: bool = False


@dataclass(eq=False)
class Broken(Exception):  # noqa: N818
    """The connection broke or the platform failed: it is not known whether anything was done."""

    why: str


class Platform(Protocol):
    """One account's view of the platform. Every method may raise TooMany and Broken."""

    def me(self) -> Account:
        """Who the bot is."""

    def mentions(self, *, since: str | None) -> Iterator[list[Mention]]:
        """Pages of posts that mention the bot and are newer than ``since``, newest first."""

    def stream(self) -> Iterator[Mention | Gap]:
        """Posts that call the bot, as they come."""

    def gone(self, idents: Sequence[str]) -> set[str]:
        """Those of at most 100 posts that the platform says are deleted or no longer public."""

    def reply(self, reply: Reply) -> str:
        """Post it; its id. Forbidden where the platform refuses."""

    def delete(self, ident: str) -> None:
        """Take a post of the bot back; nothing happens where it is gone already."""
