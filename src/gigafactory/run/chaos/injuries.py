"""What is done to processes and files from outside; nothing in the program helps with it.

Memory is written through ``/proc/PID/mem``, a single thread is stopped with ptrace, a disk is
filled by the kernel's own limit on the size of files. All of it needs Linux, and the right to trace
the processes: being root, or their ancestor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gigafactory.describe.group import Memory, defect_name, memory_name
from gigafactory.describe.rank import COMMIT_MARK

_SEIZE, _INTERRUPT = 0x4206, 0x4207
_ALL_CHILDREN = 0x40000000
_SET_SUBREAPER, _SET_DEATH_SIGNAL = 36, 1
_FLOAT = struct.Struct("<f")
_WORD = struct.Struct("<I")
#: A float's bit that changes its value and leaves it finite.
_MANTISSA_BITS = 20


def adopt_orphans() -> None:
    """Processes whose parent dies become our children, so that we may still trace them."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1)


def end_with_parent() -> None:
    """This process gets SIGTERM when its parent dies, and stops as a person would stop it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def kill(pid: int) -> None:
    """SIGKILL; no harm where it is gone."""
    _send(pid, signal.SIGKILL)


def pause(pid: int) -> None:
    """SIGSTOP: every thread stands still, and no connection closes."""
    _send(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    """SIGCONT."""
    _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    if pid > 0:  # 0 would be everybody here
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def hang(pid: int) -> None:
    """Stop the main thread alone, for ever: hearts go on beating, no step ends.

    PermissionError where this system does not let us trace the process.
    """
    begun = threading.Event()
    failed: list[int] = []
    threading.Thread(target=_trace, args=(pid, begun, failed), daemon=True).start()
    begun.wait()
    if failed:
        raise PermissionError(failed[0], f"process {pid} may not be traced")


def _trace(pid: int, begun: threading.Event, failed: list[int]) -> None:
    """Whoever traces must be the thread that waits for the end, or the end stays unseen."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(_SEIZE, pid, None, None) or libc.ptrace(_INTERRUPT, pid, None, None):
        failed.append(ctypes.get_errno())
    begun.set()
    while not failed:
        try:
            found, status = os.waitpid(pid, _ALL_CHILDREN | os.WNOHANG)
        except ChildProcessError:
            return
        if found and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            return
        time.sleep(0.005)


def flip_bit(place: Path, replica: int, *, dice: Random) -> bool:
    """Flip one bit of one parameter; False where the process does not say where they lie."""
    memory = _memory(place, replica)
    if memory is None:
        return False
    address, num_bytes = memory.regions["weights"]
    at = address + 4 * dice.randrange(num_bytes // 4)
    with _open(memory.pid) as stream:
        stream.seek(at)
        (word,) = _WORD.unpack(stream.read(4))
        stream.seek(at)
        stream.write(_WORD.pack(word ^ (1 << dice.randrange(_MANTISSA_BITS))))
    return True


def poison_gradients(place: Path, replica: int, *, dice: Random) -> bool:
    """Write NaN into the gradients that lie in memory just now."""
    memory = _memory(place, replica)
    if memory is None:
        return False
    address, num_bytes = memory.regions["gradients"]
    with _open(memory.pid) as stream:
        for _ in range(32):
            stream.seek(address + 4 * dice.randrange(num_bytes // 4))
            stream.write(_FLOAT.pack(float("nan")))
    return True


def make_defective(place: Path, pid: int) -> None:
    """Let this process compute wrongly from now on."""
    (place / defect_name(pid)).touch()


def _memory(place: Path, replica: int) -> Memory | None:
    try:
        memory = Memory.model_validate_json((place / memory_name(replica)).read_text())
        os.kill(memory.pid, 0)
    except (OSError, ValueError):
        return None
    return memory


@contextlib.contextmanager
def _open(pid: int):  # type: ignore[no-untyped-def]
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as stream:
        yield stream


@contextlib.contextmanager
def full_disk(pids: list[int]) -> Iterator[None]:
    """Whatever these processes write to files beyond the first byte fails, as on a full disk."""
    before = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            before[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[pid][1]))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def tear_newest(checkpoints: Path, *, dice: Random) -> bool:
    """Cut a piece off a file of the newest committed checkpoint; False where there is none."""
    marks = sorted(checkpoints.glob(f"step-*/{COMMIT_MARK}"))
    if not marks:
        return False
    files = sorted(f for f in marks[-1].parent.iterdir() if f.name != COMMIT_MARK)
    try:
        victim = dice.choice(files)
        os.truncate(victim, victim.stat().st_size // 2)
    except (OSError, IndexError):
        return False
    return True


def empty(directory: Path) -> None:
    """Remove the stores where processes met."""
    for file in directory.iterdir():
        with contextlib.suppress(OSError):
            file.unlink()
