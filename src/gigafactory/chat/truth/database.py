"""The file behind retrieval and audit: SQLite, write-ahead log, what is deleted is overwritten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gigafactory.describe.errors import InputError

_WAIT_S = 10.0
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS posts (
        rowid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, author TEXT NOT NULL, text TEXT NOT
        NULL,
        at_s REAL NOT NULL, authority TEXT NOT NULL, title TEXT, url TEXT, fingerprint TEXT NOT
        NULL)""",
    "CREATE INDEX IF NOT EXISTS posts_by_author ON posts (author)",
    # authority stands in the index too, so that a search for one kind reads no other
    "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 "
    "(title, text, authority, content='posts', content_rowid='rowid', tokenize='porter unicode61')",
    """CREATE TRIGGER IF NOT EXISTS post_in AFTER INSERT ON posts BEGIN
        INSERT INTO words (rowid, title, text, authority)
        VALUES (new.rowid, new.title, new.text, new.authority); END""",
    """CREATE TRIGGER IF NOT EXISTS post_out AFTER DELETE ON posts BEGIN
        INSERT INTO words (words, rowid, title, text, authority)
        VALUES ('delete', old.rowid, old.title, old.text, old.authority); END""",
    "CREATE INDEX IF NOT EXISTS posts_by_text ON posts (fingerprint, authority, at_s)",
    "CREATE TABLE IF NOT EXISTS vectors (post TEXT PRIMARY KEY, vector BLOB NOT NULL)",
    """CREATE TRIGGER IF NOT EXISTS vector_out AFTER DELETE ON posts BEGIN
        DELETE FROM vectors WHERE post = old.id; END""",
    "CREATE TABLE IF NOT EXISTS opted_out (digest TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS cache (
        question TEXT PRIMARY KEY, answer TEXT NOT NULL, revision INTEGER NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS cited (question TEXT NOT NULL, post TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS chain (
        seq INTEGER PRIMARY KEY, at_s REAL NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL,
        before TEXT NOT NULL, hash TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS details (
        seq INTEGER PRIMARY KEY, salt TEXT NOT NULL, body TEXT NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS mentioned (seq INTEGER NOT NULL, post TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS mentioned_by_post ON mentioned (post)",
    """CREATE TABLE IF NOT EXISTS ratings (
        user TEXT NOT NULL, note TEXT NOT NULL, record INTEGER NOT NULL, value REAL NOT NULL,
        reason TEXT, at_s REAL NOT NULL, PRIMARY KEY (user, note))""",
    "CREATE INDEX IF NOT EXISTS ratings_by_note ON ratings (note)",
    "CREATE INDEX IF NOT EXISTS ratings_by_record ON ratings (record)",
    """CREATE TRIGGER IF NOT EXISTS chain_no_update BEFORE UPDATE ON chain
        BEGIN SELECT RAISE(ABORT, 'the audit chain only grows'); END""",
    """CREATE TRIGGER IF NOT EXISTS chain_no_delete BEFORE DELETE ON chain
        BEGIN SELECT RAISE(ABORT, 'the audit chain only grows'); END""",
)


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the file; its directory must exist. InputError where it is no such database."""
    try:
        connection = sqlite3.connect(
            path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
        for statement in _SCHEMA:
            connection.execute(statement)
    except sqlite3.Error as error:
        raise InputError(f"{path}: no database of posts can be opened there: {error}") from None
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing; the one writer at a time."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def wipe(connection: sqlite3.Connection) -> None:
    """Leave no bytes of what was deleted: in the index, in free pages, in the write-ahead log."""
    connection.execute("INSERT INTO words (words) VALUES ('optimize')")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
