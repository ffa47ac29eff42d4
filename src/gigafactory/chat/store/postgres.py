"""A PostgreSQL server, for several gateways that share their keys and one ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gigafactory.chat.store.base import TABLES, Store
from gigafactory.describe.errors import InputError

INSTALL = "pip install 'gigafactory[postgres]'"
_GROWS_ONLY = """CREATE OR REPLACE FUNCTION usage_only_grows() RETURNS trigger AS $$
    BEGIN RAISE EXCEPTION 'the usage ledger only grows'; END $$ LANGUAGE plpgsql"""
_TRIGGER = """CREATE OR REPLACE TRIGGER usage_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON usage
    FOR EACH STATEMENT EXECUTE FUNCTION usage_only_grows()"""
#: two gateways that start at once must not both create the tables
_LOCK = "SELECT pg_advisory_xact_lock(717166)"


class PostgresStore(Store):
    """One connection; opened again where the server dropped it."""

    def __init__(self, address: str) -> None:
        try:
            import psycopg
        except ModuleNotFoundError:
            raise InputError(f"a PostgreSQL store needs psycopg: {INSTALL}") from None
        self._psycopg = psycopg
        self._address = address
        try:
            self._connection = self._connect()
            with self._connection.transaction():
                for statement in (_LOCK, *TABLES, _GROWS_ONLY, _TRIGGER):
                    self._connection.execute(statement)
        except psycopg.Error as error:
            # the message names host and database, never the password
            raise InputError(f"the PostgreSQL store cannot be opened: {error}") from None

    def _connect(self) -> Any:
        return self._psycopg.connect(self._address, autocommit=True, connect_timeout=10)

    def _ready(self) -> Any:
        if self._connection.closed or self._connection.broken:
            self._connection = self._connect()
        return self._connection

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._ready().execute(_marked(sql), values).fetchall()
        return rows

    def _write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        connection = self._ready()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)
            return int(cursor.rowcount)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _marked(sql: str) -> str:
    return sql.replace("?", "%s")
