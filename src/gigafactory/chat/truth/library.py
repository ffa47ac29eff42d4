"""Finding posts: full-text search by rank of authority, copies collapsed; import, delete, erase."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gigafactory.chat.truth.database import transaction, wipe
from gigafactory.chat.truth.finding import COLUMNS, Hit, post_of, terms_asked
from gigafactory.chat.truth.posts import Authority, Post
from gigafactory.chat.truth.retrieval import retrieval_of

PER_AUTHORITY = 15
"""Posts taken of each authority: a flood of one kind cannot push out another."""
_WIDE = 30
"""Posts of each authority that are put into order by meaning, where that is wanted."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    num_new: int
    num_changed: int
    num_same: int
    num_opted_out: int


class Library:
    """All posts of one database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._index, self._meaning = retrieval_of(connection)

    def add(self, posts: Iterable[Post]) -> Imported:
        """Add or replace by id, all or none; authors who opted out are passed over."""
        counts = {"new": 0, "changed": 0, "same": 0, "out": 0}
        read = list(posts)  # a bad line stops the import before anything is written
        with transaction(self.connection):
            for post in read:
                counts[self._put(post)] += 1
            if counts["new"] or counts["changed"]:
                self._touch()
                self._index.commit()
        return Imported(counts["new"], counts["changed"], counts["same"], counts["out"])

    def _put(self, post: Post) -> str:
        if self._is_out(post.author):
            return "out"
        known = self.get(post.id)
        if known == post:
            return "same"
        if known is not None:
            self._forget_answers([post.id])
            self.connection.execute("DELETE FROM posts WHERE id = ?", (post.id,))
        self._index.change(post.id)
        values = (
            post.id,
            post.author,
            post.text,
            post.at_s,
            str(post.authority),
            post.title,
            post.url,
            post.fingerprint,
        )
        self.connection.execute(
            f"INSERT INTO posts ({COLUMNS}, fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values
        )
        return "new" if known is None else "changed"

    def get(self, ident: str) -> Post | None:
        """By id."""
        row = self.connection.execute(
            f"SELECT {COLUMNS} FROM posts WHERE id = ?", (ident,)
        ).fetchone()
        return post_of(row) if row else None

    def num_posts(self) -> int:
        """How many there are."""
        return int(self.connection.execute("SELECT COUNT(*) FROM posts").fetchone()[0])

    def ids_by(self, author: str) -> list[str]:
        """What ``author`` has posted."""
        rows = self.connection.execute("SELECT id FROM posts WHERE author = ?", (author,))
        return [row[0] for row in rows.fetchall()]

    def opt_out(self, author: str) -> None:
        """Import nothing of ``author`` from now on."""
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR IGNORE INTO opted_out VALUES (?)", (self._digest(author),)
            )

    def remove(self, idents: Sequence[str]) -> tuple[int, int]:
        """Take posts and the remembered answers that quote them away; how many of each."""
        with transaction(self.connection):
            num_answers = self._forget_answers(idents)
            num_posts = 0
            for ident in idents:
                done = self.connection.execute("DELETE FROM posts WHERE id = ?", (ident,))
                num_posts += done.rowcount
                self._index.change(ident)
            if num_posts:
                self._touch()
                self._index.commit()
        return num_posts, num_answers

    def search(self, text: str, *, num_hits: int = 40) -> list[Hit]:
        """Posts with the words of ``text``; one of each text, the one of the highest authority."""
        words = terms_asked(text)
        if not words:
            return []
        best: dict[str, Hit] = {}
        most = PER_AUTHORITY if self._meaning is None else _WIDE
        for authority in Authority:  # highest first
            found = self._index.find(words, authority, most=most)
            if self._meaning is not None:
                found = self._meaning.ordered(text, found)
            for hit in found[:PER_AUTHORITY]:
                best.setdefault(hit.post.fingerprint, hit)
        return sorted(best.values(), key=lambda h: (-h.score, h.post.authority.rank, h.post.id))[
            :num_hits
        ]

    def wipe(self) -> None:
        """Leave no byte of what was removed, in any index."""
        self._index.wipe()
        wipe(self.connection)

    # ---- remembered answers ----

    def revision(self) -> int:
        """Grows with every change of the posts."""
        row = self.connection.execute(
            "SELECT value FROM settings WHERE name = 'revision'"
        ).fetchone()
        return int(row[0]) if row else 0

    def _touch(self) -> None:
        self.connection.execute(
            "INSERT INTO settings VALUES ('revision', '1') "
            "ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
        )
        # a name for this state of the posts, which no other one ever has
        self.connection.execute(
            "INSERT OR REPLACE INTO settings VALUES ('change', ?)", (secrets.token_hex(8),)
        )

    def remember(self, question: str, answer: str, *, cites: Sequence[str]) -> None:
        """Keep an answer until a post changes."""
        key = self._digest(question)
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR REPLACE INTO cache VALUES (?, ?, ?)", (key, answer, self.revision())
            )
            self.connection.execute("DELETE FROM cited WHERE question = ?", (key,))
            self.connection.executemany(
                "INSERT INTO cited VALUES (?, ?)", [(key, c) for c in cites]
            )

    def remembered(self, question: str) -> str | None:
        """The answer given before, if no post has changed since."""
        row = self.connection.execute(
            "SELECT answer FROM cache WHERE question = ? AND revision = ?",
            (self._digest(question), self.revision()),
        ).fetchone()
        return str(row[0]) if row else None

    def _forget_answers(self, idents: Sequence[str]) -> int:
        count = 0
        for ident in idents:
            rows = self.connection.execute("SELECT question FROM cited WHERE post = ?", (ident,))
            for (question,) in rows.fetchall():
                done = self.connection.execute("DELETE FROM cache WHERE question = ?", (question,))
                count += done.rowcount
                self.connection.execute("DELETE FROM cited WHERE question = ?", (question,))
        return count

    # ---- authors who want no part in it ----

    def _is_out(self, author: str) -> bool:
        sql = "SELECT 1 FROM opted_out WHERE digest = ?"
        return self.connection.execute(sql, (self._digest(author),)).fetchone() is not None

    def _digest(self, text: str) -> str:
        # keyed, so that the list of those who opted out is not itself a list of names
        return hmac.new(self._key(), text.casefold().encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        sql = "INSERT OR IGNORE INTO settings VALUES ('key', ?)"
        self.connection.execute(sql, (secrets.token_hex(32),))
        row = self.connection.execute("SELECT value FROM settings WHERE name = 'key'").fetchone()
        return bytes.fromhex(row[0])
