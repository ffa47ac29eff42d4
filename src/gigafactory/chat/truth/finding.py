"""Where the words of a question stand: the protocol of an index, and SQLite's own (FTS5).

An index names the best posts of one authority, copies collapsed. The posts themselves always come
from the table, so that an index that lags behind cannot show what is deleted.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gigafactory.chat.truth.posts import Authority, Post

COLUMNS = "id, author, text, at_s, authority, title, url"
MOST_COPIES = 2_000
"""Posts of each authority looked at before copies collapse."""
_WORD = re.compile(r"\w+")
_TOO_COMMON = frozenset((
    "a", "an", "the", "of", "in", "on", "at", "by", "for", "from", "to", "with", "and", "or",
    "is", "are", "was", "were", "be", "been", "did", "do", "does", "has", "have", "had", "will",
    "would", "can", "could", "who", "what", "when", "where", "which", "why", "how", "many",
    "much", "it", "its", "he", "she", "they", "that", "this", "there", "not", "i", "you", "we",
    "me", "about", "any",
))  # fmt: skip
_MOST_TERMS = 24

#: the best of one authority; the oldest of all copies stands for them (bare columns of MIN(at_s)
#: are of that row)
_SEARCH = f"""
WITH found AS MATERIALIZED (
    SELECT rowid AS at, -rank AS score FROM words
    WHERE words MATCH ? AND rank MATCH 'bm25(2.0, 1.0, 0.0)' ORDER BY rank LIMIT ?)
SELECT {COLUMNS}, score, COUNT(*), MIN(at_s) FROM found JOIN posts ON posts.rowid = at
GROUP BY fingerprint ORDER BY score DESC, id LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A post that was found; the higher ``score``, the nearer it is to what was asked."""

    post: Post
    score: float
    num_copies: int
    """Posts that say the same, itself included; shown, never counted."""


class Index(Protocol):
    """Where words stand. Whoever changes a post says so, and commits within its transaction."""

    def find(self, words: Sequence[str], authority: Authority, *, most: int) -> list[Hit]:
        """The best posts of one authority, best first, one of each text."""

    def change(self, ident: str) -> None:
        """A post is new, other or gone."""

    def commit(self) -> None:
        """These were all changes."""

    def wipe(self) -> None:
        """Leave no byte of what is gone."""


class Fts5:
    """SQLite's full-text index: triggers keep it, so that it needs telling of nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, words: Sequence[str], authority: Authority, *, most: int) -> list[Hit]:
        """By BM25, the title counting twice."""
        query = " OR ".join(f'{{title text}} : "{word}"' for word in words)
        asked = f"({query}) AND authority : {authority}"
        rows = self._connection.execute(_SEARCH, (asked, MOST_COPIES, most))
        return [Hit(post_of(row[:7]), float(row[7]), int(row[8])) for row in rows]

    def change(self, ident: str) -> None:
        """A trigger does it."""

    def commit(self) -> None:
        """The transaction does it."""

    def wipe(self) -> None:
        """The database does it."""


def terms_asked(text: str) -> list[str]:
    """The words of ``text`` that are worth looking for."""
    words = [w for w in dict.fromkeys(_WORD.findall(text.lower())) if w not in _TOO_COMMON]
    return words[:_MOST_TERMS]


def post_of(row: Sequence[object]) -> Post:
    """From ``COLUMNS``."""
    ident, author, text, at_s, authority, title, url = row
    return Post(
        id=str(ident),
        author=str(author),
        text=str(text),
        at_s=float(str(at_s)),
        authority=Authority(str(authority)),
        title=None if title is None else str(title),
        url=None if url is None else str(url),
    )
