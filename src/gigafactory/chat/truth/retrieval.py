"""How a database of posts is searched: which index holds the words, and what puts hits into order.

Both are settings of the database, so that every process that opens it searches and, more so,
forgets in the same way.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.chat.truth.finding import Fts5, Index
from gigafactory.chat.truth.meaning import Meaning

if TYPE_CHECKING:
    from gigafactory.chat.truth.tantivy_index import Tantivy


class Words(StrEnum):
    """Where words are looked up."""

    FTS5 = "fts5"
    """In the database itself."""
    TANTIVY = "tantivy"
    """In a folder beside it."""


class Order(StrEnum):
    """What puts the posts of one authority into order."""

    WORDS = "words"
    """BM25."""
    MEANING = "meaning"
    """The distance of vectors of sentences; words still decide which posts are looked at."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The settings of one database."""

    words: Words = Words.FTS5
    order: Order = Order.WORDS


def settings_of(connection: sqlite3.Connection) -> Retrieval:
    """As it was chosen, else the default."""
    rows = connection.execute("SELECT name, value FROM settings WHERE name IN ('words', 'order')")
    chosen = dict(rows.fetchall())
    words, order = chosen.get("words", Words.FTS5), chosen.get("order", Order.WORDS)
    return Retrieval(Words(words), Order(order))


def retrieval_of(connection: sqlite3.Connection) -> tuple[Index, Meaning | None]:
    """Index and order of ``connection``; InputError where a package that they need is missing."""
    chosen = settings_of(connection)
    meaning = Meaning(connection) if chosen.order is Order.MEANING else None
    if chosen.words is Words.FTS5:
        return Fts5(connection), meaning
    return _tantivy(connection), meaning


def choose_retrieval(connection: sqlite3.Connection, wanted: Retrieval) -> None:
    """From now on the database is searched so; what is no longer needed is removed without a trace.
    InputError where a package is missing; nothing is changed then."""
    before = settings_of(connection)
    meaning = Meaning(connection) if wanted.order is Order.MEANING else None
    index = _tantivy(connection) if Words.TANTIVY in (wanted.words, before.words) else None
    for name, value in (("words", wanted.words), ("order", wanted.order)):
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, str(value)))
    if meaning is None:
        connection.execute("DELETE FROM vectors")
    if index is not None and wanted.words is Words.FTS5:
        index.remove()
    elif index is not None:
        index.refresh()


def _tantivy(connection: sqlite3.Connection) -> Tantivy:
    from gigafactory.chat.truth.tantivy_index import Tantivy

    [(_, _, path)] = connection.execute("PRAGMA database_list").fetchall()
    return Tantivy(connection, Path(f"{path}.tantivy"))
