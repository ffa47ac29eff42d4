"""The platform's rules as code: pure, and asked before every post.

Automated replies are accepted only where the author called the bot (X, February 2026); what a model
wrote is marked; a post with a link costs 13 times one without, so sources are cited by quote and
id.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from gigafactory.chat.truth.answers import Answer, Decision
from gigafactory.chat.x.platform import Account, Call, Mention, Reply

MOST_CHARACTERS = 280
_LINK = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|co|dev|app|info|me|ly|gg|ai)\b(?:/\S*)?",
    re.IGNORECASE,
)
_NAME = re.compile(r"@(\w)")


class Refusal(StrEnum):
    """Why a post is not answered."""

    NOT_CALLED = "the author did not mention or quote the bot"
    OWN = "it is the bot's own post"
    REPOST = "it is a repost"
    DONE = "it has been answered"
    EMPTY = "it asks nothing"
    GONE = "it was deleted"
    BUDGET = "the day's budget is spent"
    OFF = "answers are switched off"
    NO_SOURCE = "nothing supports an answer"
    PLATFORM = "the platform refused the reply"


def refusal(mention: Mention, *, me: Account, is_done: bool) -> Refusal | None:
    """Why ``mention`` may not be answered; None: it may."""
    if mention.author_id == me.id:
        return Refusal.OWN
    if mention.is_repost:
        return Refusal.REPOST
    if mention.call is Call.NONE:
        return Refusal.NOT_CALLED
    if is_done:
        return Refusal.DONE
    return None if question_of(mention, me=me) else Refusal.EMPTY


def question_of(mention: Mention, *, me: Account) -> str:
    """What is asked, without the bot's name."""
    words = [
        w for w in mention.text.split() if w.lower().strip(",:.!?") != f"@{me.username.lower()}"
    ]
    return " ".join(words)


def compose(given: Answer, *, to: str) -> Reply:
    """A reply that fits, has no link and calls nobody: whole quotes are dropped from its end,
    never cut
    in the middle of what makes them true; a single long quote is shortened with its id kept."""
    text = plain(given.text)
    if len_on_x(text) <= MOST_CHARACTERS:
        return Reply(text, to)
    lead = plain(given.text[: given.spans[0][0]]) if given.spans else ""
    for num_quotes in range(len(given.spans) - 1, 0, -1):
        if given.decision is Decision.DISPUTED and num_quotes < 2:
            break  # one side of a dispute alone would mislead
        text = plain(given.text[: given.spans[num_quotes - 1][1]])
        if len_on_x(text) <= MOST_CHARACTERS:
            return Reply(text, to)
    idents = " ".join(
        dict.fromkeys(f"[{quote.post.id}; {quote.post.date}]" for quote in given.quotes)
    )
    return Reply(
        fitted(f"{lead} the source is too long to quote here: {plain(idents)}".strip()), to
    )


def fitted(text: str) -> str:
    """At most as many characters as a post may have."""
    while len_on_x(text) > MOST_CHARACTERS:
        text = text[: len(text) - 2].rstrip() + "…"
    return text


def plain(text: str) -> str:
    """Without links, and without calling other accounts."""
    return " ".join(_NAME.sub(r"\1", _LINK.sub("(link)", text)).split())


def has_link(text: str) -> bool:
    """Whether the platform would charge it as a post with a link."""
    return bool(_LINK.search(text))


def len_on_x(text: str) -> int:
    """Characters as X counts them: 1 up to U+10FF and for general punctuation, else 2."""
    normal = unicodedata.normalize("NFC", text)
    return sum(1 if _is_light(ord(sign)) else 2 for sign in normal)


def _is_light(code: int) -> bool:
    return (
        code <= 0x10FF
        or 0x2000 <= code <= 0x200D
        or 0x2010 <= code <= 0x201F
        or 0x2032 <= code <= 0x2037
    )
