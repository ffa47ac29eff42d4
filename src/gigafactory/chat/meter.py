"""Metering: what was said goes to the journal at once and to the ledger soon.

One thread does everything with the store, so that a slow database stops no stream. What it has
not taken yet stands in the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gigafactory.chat import usage
from gigafactory.chat.engine import Usage
from gigafactory.chat.errors import ApiError
from gigafactory.chat.gate import Gate, start_of
from gigafactory.chat.journal import Journal, JournalFile, left_behind
from gigafactory.chat.keys import Key
from gigafactory.chat.store.base import Store
from gigafactory.chat.usage import Entry, Outcome

_STORE_EVERY_S = 0.1
LOOK_EVERY_S = 0.2
"""A key revoked elsewhere is noticed within this time."""
Result = TypeVar("Result")
_log = logging.getLogger("gigafactory.chat")


class Tally:
    """The metering of one request."""

    def __init__(self, meter: Meter, file: JournalFile | None, entry: Entry) -> None:
        self.entry = entry
        self._meter, self._file = meter, file

    def said(self, num_tokens: int) -> None:
        """To be called before these tokens are sent; ApiError 503 where they cannot be recorded."""
        if self._file is not None and num_tokens:
            _record(self._file, usage.said(self.entry.id, num_tokens))

    def close(self, count: Usage, outcome: Outcome) -> None:
        """The exact count at the end."""
        if self._file is None:
            return
        with suppress(ApiError):  # the tokens stand in the journal; only the end is missing
            _record(self._file, usage.closed(self.entry.id, count, outcome))
        entry = Entry(
            id=self.entry.id,
            key_id=self.entry.key_id,
            model=self.entry.model,
            route=self.entry.route,
            at_s=self.entry.at_s,
            prompt_tokens=count.prompt_tokens,
            completion_tokens=count.completion_tokens,
            outcome=outcome,
        )
        self._meter.queue(entry, self._file)


class Meter:
    """The journal and the store of one service; without a store nothing is kept."""

    def __init__(self, store: Store | None, folder: Path | None) -> None:
        self._store = store
        self._journal = Journal(folder) if store is not None and folder is not None else None
        self._folder = folder
        self._queue: list[tuple[Entry, JournalFile]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._tasks: list[asyncio.Task[None]] = []

    def recover(self) -> int:
        """Bring what killed gateways left into the ledger; how many requests that were."""
        if self._store is None or self._folder is None:
            return 0
        count = 0
        for path, entries in left_behind(self._folder):
            self._store.append(entries)
            path.unlink(missing_ok=True)
            count += len(entries)
        return count

    def load(self, gate: Gate) -> None:
        """Tell the gate the keys and what they have spent."""
        if self._store is None:
            return
        keys, spent, now_s = self._read()
        gate.replace(keys)
        gate.remember(spent, at_s=now_s)

    def open(self, entry: Entry) -> Tally:
        """A request begins; ApiError 503 where that cannot be recorded."""
        if self._journal is None:
            return Tally(self, None, entry)
        file = self._journal.file()
        _record(file, usage.opened(entry))
        return Tally(self, file, entry)

    def queue(self, entry: Entry, file: JournalFile) -> None:
        """To be stored soon."""
        self._queue.append((entry, file))

    def start(self, gate: Gate, *, on_revoked: Callable[[frozenset[str]], object]) -> None:
        """Begin to store, and to look for changed keys."""
        if self._store is not None:
            self._tasks = [
                asyncio.create_task(self._keep_storing()),
                asyncio.create_task(self._keep_looking(gate, on_revoked)),
            ]

    async def stop(self) -> None:
        """Store what is left and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None and self._journal is not None:
            await self._store_queue()
            self._journal.close()
            await self._in_thread(self._store.close)
        self._thread.shutdown()

    async def _keep_storing(self) -> None:
        while True:
            await asyncio.sleep(_STORE_EVERY_S)
            await self._store_queue()

    async def _store_queue(self) -> None:
        assert self._store is not None
        assert self._journal is not None
        batch, self._queue = self._queue, []
        if not batch:
            return
        try:
            await self._in_thread(self._store.append, [entry for entry, _ in batch])
        except asyncio.CancelledError:
            self._queue = batch + self._queue
            raise
        except Exception as error:
            _log.error("the usage ledger cannot be written: %s", type(error).__name__)
            self._queue = batch + self._queue
            await asyncio.sleep(1.0)
            return
        for _, file in batch:
            self._journal.stored(file)

    async def _keep_looking(
        self, gate: Gate, on_revoked: Callable[[frozenset[str]], object]
    ) -> None:
        assert self._store is not None
        known: object = None
        while True:
            try:
                revision = await self._in_thread(self._store.revision)
                if revision != known:
                    keys = await self._in_thread(self._store.good_keys)
                    on_revoked(gate.replace(keys))
                    known = revision
            except Exception as error:
                _log.error("the keys cannot be read: %s", type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    def _read(self) -> tuple[Iterable[Key], dict[str, int], float]:
        assert self._store is not None
        now_s = time.time()
        keys = self._store.good_keys()
        spent = {
            key.id: self._store.spent_tokens(
                key.id, since_s=start_of(key.allowance.budget_period, now_s)
            )
            for key in keys
            if key.allowance.budget_tokens is not None
        }
        return keys, spent, now_s

    async def _in_thread(self, work: Callable[..., Result], *args: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _record(file: JournalFile, line: bytes) -> None:
    try:
        file.write(line)
    except OSError as error:
        _log.error("the usage journal cannot be written: %s", error.strerror or error)
        raise ApiError(503, "usage cannot be recorded, so nothing is served") from None
