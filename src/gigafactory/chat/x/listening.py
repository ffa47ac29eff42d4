"""A stream is read in a thread: a new connection is told at once, not with the next post."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gigafactory.chat.x.platform import Gap

Event = dict[str, Any]
Open = Callable[[Callable[[], None]], Iterator[Event]]
"""Begins a stream; calls its argument with every connection that stands."""


class _Stop(BaseException):
    """Ends the thread from inside the SDK's callbacks, which swallow every Exception."""


class _Over:
    """The stream ended, with ``error`` where there was one."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


def listen(begin: Open) -> Iterator[Event | Gap]:
    """A Gap for every connection, the first too, and the events of each; raises what the stream
    raises. When the reader has enough, the thread ends with the next sign of life of the stream."""
    inbox: queue.Queue[Event | Gap | _Over] = queue.Queue()
    enough = threading.Event()

    def connected() -> None:
        if enough.is_set():
            raise _Stop
        inbox.put(Gap())

    def read() -> None:
        error: Exception | None = None
        try:
            for event in begin(connected):
                if enough.is_set():
                    return
                inbox.put(event)
        except _Stop:
            return
        except Exception as broken:
            error = broken
        inbox.put(_Over(error))

    threading.Thread(target=read, name="x-stream", daemon=True).start()
    try:
        yield from _emptied(inbox)
    finally:
        enough.set()


def _emptied(inbox: queue.Queue[Event | Gap | _Over]) -> Iterator[Event | Gap]:
    while True:
        found = inbox.get()
        if isinstance(found, _Over):
            if found.error is not None:
                raise found.error
            return
        yield found
