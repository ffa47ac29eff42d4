"""Where keys and the usage ledger are kept: SQLite in a file, or a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

from gigafactory.chat.store.base import Store
from gigafactory.describe.errors import InputError


def open_store(where: str) -> Store:
    """``where`` is a path (SQLite) or ``postgresql://...``; InputError says what is wrong."""
    if where.startswith(("postgresql://", "postgres://")):
        from gigafactory.chat.store.postgres import PostgresStore

        return PostgresStore(where)
    if "://" in where:
        raise InputError("a store is the path of a SQLite file or postgresql://HOST/DATABASE")
    from gigafactory.chat.store.sqlite import SqliteStore

    return SqliteStore(Path(where))


def journal_folder(where: str) -> Path:
    """Where the journal of a service on this store lies by default."""
    return Path("giga-usage") if "://" in where else Path(where).with_suffix(".usage")
