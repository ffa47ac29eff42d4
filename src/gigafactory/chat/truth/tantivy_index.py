"""The words of the posts in a tantivy index (MIT), a folder beside the database.

It is a copy of what the table says after one change, whose mark is noted in the folder. Changes are
written while the transaction of the database is open, so there is one writer; where the marks
differ (a crash, a copy of the database alone) the index is made anew before it is asked. Deleting
leaves words in old segments, so an erasure makes the index anew.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gigafactory.chat.truth.database import transaction
from gigafactory.chat.truth.finding import COLUMNS, MOST_COPIES, Hit, post_of
from gigafactory.chat.truth.posts import Authority, Post
from gigafactory.describe.errors import InputError

_HEAP_BYTES = 30_000_000
_NOTE = "change"
_OLDEST = (
    f"SELECT {COLUMNS}, (SELECT COUNT(*) FROM posts WHERE fingerprint = ?1 AND authority = ?2) "
    "FROM posts WHERE fingerprint = ?1 AND authority = ?2 ORDER BY at_s, id LIMIT 1"
)


class Tantivy:
    """The index of one database; InputError where the package is missing."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        try:
            import tantivy
        except ModuleNotFoundError:
            raise InputError(
                "this database keeps its words with tantivy: pip install 'gigafactory[retrieval]'"
            ) from None
        self._tantivy: Any = tantivy
        self._connection, self._folder = connection, folder
        self._changed: dict[str, None] = {}
        self._before = ""
        self._shown = ""
        """The mark of what the open searcher shows."""

    def find(self, words: Sequence[str], authority: Authority, *, most: int) -> list[Hit]:
        """By BM25, the title counting twice; looks further only while copies fill the list."""
        self.refresh()
        query = self._query(words, authority)
        num_looked_at = 4 * most
        while True:
            found = self._searcher.search(query, limit=num_looked_at, count=False).hits
            hits = self._collapsed(found, authority)
            if len(hits) >= most or len(found) < num_looked_at or num_looked_at >= MOST_COPIES:
                return hits[:most]
            num_looked_at = min(4 * num_looked_at, MOST_COPIES)

    def _query(self, words: Sequence[str], authority: Authority) -> Any:
        tantivy, index = self._tantivy, self._index
        kind = tantivy.Query.term_query(index.schema, "authority", str(authority))
        asked = index.parse_query(" ".join(words), ["title", "text"], field_boosts={"title": 2.0})
        must = tantivy.Occur.Must
        silent = tantivy.Query.const_score_query(kind, 0.0)
        return tantivy.Query.boolean_query([(must, silent), (must, asked)])

    def _collapsed(self, found: Sequence[Any], authority: Authority) -> list[Hit]:
        hits: dict[str, Hit] = {}
        for score, address in found:
            [text] = self._searcher.doc(address)["fingerprint"]
            if text in hits:
                continue
            row = self._connection.execute(_OLDEST, (text, str(authority))).fetchone()
            if row is not None:
                hits[text] = Hit(post_of(row[:7]), float(score), int(row[7]))
        return list(hits.values())

    def change(self, ident: str) -> None:
        """Read it anew from the table with the next commit."""
        if not self._changed:
            self._before = self._mark()
        self._changed[ident] = None

    def commit(self) -> None:
        """Write the changes; where the index was behind already, the next search makes it anew."""
        changed, self._changed = self._changed, {}
        is_behind = self._noted() != self._before
        self._forget_note()  # until the new one is written, nobody takes the folder for good
        if is_behind:
            return
        writer = self._tantivy.Index.open(str(self._folder)).writer(_HEAP_BYTES, 1)
        for ident in changed:
            writer.delete_documents_by_term("id", ident)
            sql = f"SELECT {COLUMNS} FROM posts WHERE id = ?"
            for row in self._connection.execute(sql, (ident,)):
                writer.add_document(self._document(post_of(row)))
        writer.commit()
        writer.wait_merging_threads()
        self._note()

    def wipe(self) -> None:
        """Make the index anew from what the table has now."""
        with transaction(self._connection):
            self._make()

    def refresh(self) -> None:
        """Show what the table says now."""
        if self._noted() != self._mark():
            with transaction(self._connection):
                if self._noted() != self._mark():  # unless another process was faster
                    self._make()
        noted = self._noted()
        if self._shown != noted:
            self._index = self._tantivy.Index.open(str(self._folder))
            self._searcher = self._index.searcher()
            self._shown = noted

    def remove(self) -> None:
        """Take the folder away."""
        self._shown = ""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _make(self) -> None:
        self.remove()
        self._folder.mkdir()
        writer = self._tantivy.Index(self._schema(), path=str(self._folder)).writer(_HEAP_BYTES, 1)
        for row in self._connection.execute(f"SELECT {COLUMNS} FROM posts"):
            writer.add_document(self._document(post_of(row)))
        writer.commit()
        writer.wait_merging_threads()
        self._note()

    def _schema(self) -> Any:
        builder = self._tantivy.SchemaBuilder()
        builder.add_text_field("id", tokenizer_name="raw", index_option="basic")
        builder.add_text_field("authority", tokenizer_name="raw", index_option="basic")
        builder.add_text_field("fingerprint", stored=True, tokenizer_name="raw")
        for name in ("title", "text"):
            builder.add_text_field(name, tokenizer_name="en_stem")
        return builder.build()

    def _document(self, post: Post) -> Any:
        fields = {"id": post.id, "authority": str(post.authority), "title": post.title or ""}
        fields |= {"text": post.text, "fingerprint": post.fingerprint}
        return self._tantivy.Document(**fields)

    def _mark(self) -> str:
        """Of the last change of the posts."""
        row = self._connection.execute("SELECT value FROM settings WHERE name = 'change'")
        found = row.fetchone()
        return str(found[0]) if found else "none"

    def _noted(self) -> str:
        try:
            return (self._folder / _NOTE).read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def _note(self) -> None:
        draft = self._folder / f"{_NOTE}.new"
        draft.write_text(self._mark(), "ascii")
        draft.replace(self._folder / _NOTE)

    def _forget_note(self) -> None:
        (self._folder / _NOTE).unlink(missing_ok=True)
