"""SQLite in a file: write-ahead log, so that readers never wait; writers wait for one another."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gigafactory.chat.store.base import TABLES, Store
from gigafactory.describe.errors import InputError

_WAIT_S = 10.0
_AGAIN_S = 0.02
_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS usage_no_{verb.lower()} BEFORE {verb} ON usage "
    "BEGIN SELECT RAISE(ABORT, 'the usage ledger only grows'); END"
    for verb in ("UPDATE", "DELETE")
)


class SqliteStore(Store):
    """One file; its directory must exist."""

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(
                path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            _log_ahead(self._connection)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            for statement in (*TABLES, *_TRIGGERS):
                self._connection.execute(statement)
        except sqlite3.Error as error:
            raise InputError(f"{path}: no SQLite store can be opened there: {error}") from None

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            cursor.executemany(sql, rows)
            count = cursor.rowcount
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        return count

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Turn to the write-ahead log; for that SQLite does not wait by itself while others open."""
    deadline_s = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(_AGAIN_S)
