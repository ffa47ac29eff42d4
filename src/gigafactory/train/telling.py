"""How a rank tells the driver what happens: JSON lines into an inherited pipe.

A line is shorter than PIPE_BUF, so the lines of two threads never mix; a closed pipe means that
nobody is left to work for.
"""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

from gigafactory.describe.rank import Failed, Heartbeat, Told

Tell = Callable[[Told], None]
MAX_LINE_BYTES = 4096
_MAX_MESSAGE_CHARS = 600
_ORPHANED = 3


def into_pipe(descriptor: int) -> Tell:
    """A function that writes one report; the process ends when the reader is gone."""
    lock = threading.Lock()

    def tell(report: Told) -> None:
        line = report.model_dump_json().encode() + b"\n"
        try:
            with lock:
                os.write(descriptor, line)
        except BrokenPipeError:
            os._exit(_ORPHANED)

    return tell


def beat(tell: Tell, *, interval_s: float, parent: int) -> threading.Event:
    """Heartbeats from a thread of its own, until the event returned is set.

    The thread also ends the process when the parent is gone, where the kernel does not.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(interval_s):
            if os.getppid() != parent:
                os._exit(_ORPHANED)
            tell(Heartbeat())

    threading.Thread(target=run, name="heartbeat", daemon=True).start()
    return stop


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends (Linux); harmless elsewhere."""
    import ctypes
    import signal

    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_ORPHANED)


def describe_failure(error: BaseException) -> Failed:
    """What went wrong, in a form that is equal for equal causes."""
    return Failed(
        signature=f"{type(error).__name__} in {_place(error.__traceback__)}",
        message=str(error)[:_MAX_MESSAGE_CHARS],
        is_victim=is_victim(error),
    )


def _place(trace: TracebackType | None) -> str:
    """The innermost frame of our own code, else the innermost at all."""
    frames = traceback.extract_tb(trace)
    ours = [f for f in frames if "gigafactory" in f.filename]
    found = (ours or frames)[-1:]
    return f"{os.path.basename(found[0].filename)}:{found[0].name}" if found else "nowhere"


def is_victim(error: BaseException) -> bool:
    """Whether a lost or silent peer is behind it: torch reports that as a broken collective."""
    import torch.distributed as dist
    from torch.distributed.checkpoint.api import CheckpointException

    message = str(error).lower()
    network = ("gloo", "connection closed by peer", "connection reset", "broken pipe", "store")
    kinds = (dist.DistError, RuntimeError, ConnectionError, CheckpointException)
    return isinstance(error, kinds) and any(word in message for word in network)
