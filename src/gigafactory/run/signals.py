"""Ctrl-C and SIGTERM as something to look at, not as something that happens."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_signals() -> Iterator[tuple[deque[int], int]]:
    """SIGINT and SIGTERM as entries of a queue, and a descriptor that wakes the loop.

    Only the main thread can take signals; elsewhere the queue stays empty.
    """
    requests: deque[int] = deque()
    wake, waker = os.pipe()
    os.set_blocking(waker, False)

    def ask(number: int, _frame: FrameType | None) -> None:
        requests.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(waker, b"!")

    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield requests, wake
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        os.close(wake)
        os.close(waker)
