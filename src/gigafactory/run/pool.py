"""Many independent pieces of work on all cores, by processes.

A worker gets one piece at a time through a pipe and holds no other way to us: when this process
ends, however it ends, the pipe closes and the worker goes. Ctrl-C is ours alone; workers ignore
it and are ended by us. Results come in the order of the pieces, whoever was first.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from gigafactory.describe.errors import InputError, JobError

Piece = TypeVar("Piece")
Result = TypeVar("Result")
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class _Failed:
    """What went wrong in a worker, in words; ``is_input``: a person can mend it."""

    message: str
    is_input: bool


@dataclass(slots=True, eq=False)
class _Worker(Generic[Piece]):
    process: BaseProcess
    pipe: Connection
    index: int = -1
    """Of the piece it is at."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    *,
    num_processes: int,
    name: Callable[[Piece], str] = str,
    watch: Callable[[int], None] | None = None,
) -> list[Result]:
    """``work`` of every piece, in their order; with one process here, else in new ones.

    ``work`` must be a function of a module (or a partial of one), pieces and results picklable.
    ``watch`` gets the number of pieces done. The first piece that fails ends all: InputError or
    JobError, with the piece's ``name`` in front; JobError too where a worker was killed.
    """
    num_processes = min(num_processes, len(pieces))
    if num_processes <= 1:
        return _here(work, pieces, name=name, watch=watch)
    found: dict[int, Result] = {}
    with _workers(work, num_processes) as workers:
        for index, result in _results(workers, pieces, name=name):
            found[index] = result
            if watch:
                watch(len(found))
    return [found[index] for index in range(len(pieces))]


def _here(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    *,
    name: Callable[[Piece], str],
    watch: Callable[[int], None] | None,
) -> list[Result]:
    found: list[Result] = []
    for piece in pieces:
        result = _tried(work, piece)
        if isinstance(result, _Failed):
            raise _error(result, name(piece))
        found.append(result)
        if watch:
            watch(len(found))
    return found


def _tried(work: Callable[[Piece], Result], piece: Piece) -> Result | _Failed:
    try:
        return work(piece)
    except InputError as error:
        return _Failed(str(error), is_input=True)
    except Exception as error:
        return _Failed(f"{type(error).__name__}: {error}", is_input=False)


def _error(failed: _Failed, name: str) -> Exception:
    kind = InputError if failed.is_input else JobError
    return kind(f"{name}: {failed.message}")


@contextmanager
def _workers(work: Callable[[Piece], Any], count: int) -> Iterator[list[_Worker[Piece]]]:
    """Fresh processes (spawned, so that no lock or thread of ours is inherited), ended at the
    exit in any case."""
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker[Piece]] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
        yield workers
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_END_S)


def _serve(pipe: Connection, work: Callable[[Piece], Any]) -> None:
    """The life of a worker: until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            piece = pipe.recv()
            pipe.send(_tried(work, piece))
        except (EOFError, OSError):
            return


def _results(
    workers: Sequence[_Worker[Piece]], pieces: Sequence[Piece], *, name: Callable[[Piece], str]
) -> Iterator[tuple[int, Any]]:
    """(index, result) as they come; every idle worker gets the next piece."""
    waiting = iter(range(len(pieces)))
    busy: dict[Connection, _Worker[Piece]] = {}

    def give(worker: _Worker[Piece]) -> None:
        index = next(waiting, None)
        if index is not None:
            worker.index = index
            worker.pipe.send(pieces[index])
            busy[worker.pipe] = worker

    for worker in workers:
        give(worker)
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            worker = busy.pop(pipe)
            result = _received(worker, name(pieces[worker.index]))
            yield worker.index, result
            give(worker)


def _received(worker: _Worker[Piece], name: str) -> Any:
    try:
        result = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join(_END_S)
        status = worker.process.exitcode
        raise JobError(
            f"{name}: its process ended with status {status}; too little memory, or a program "
            'that starts processes without if __name__ == "__main__"'
        ) from None
    if isinstance(result, _Failed):
        raise _error(result, name)
    return result
