"""The journal on disk: files of lines, each belonging to one living gateway.

A file is locked by the process that writes it. When all of its requests are in the ledger it is
removed; what a killed process left is folded into the ledger by the next one that starts.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gigafactory.chat.usage import Entry, fold

_MOST_BYTES = 8_000_000


class JournalFile:
    """One file, open for appending."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_open = 0
        self.num_bytes = 0
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, line: bytes) -> None:
        """Hand a line to the operating system; OSError where it does not take it whole."""
        written = os.write(self._fd, line)
        self.num_bytes += written
        if written != len(line):
            raise OSError(f"{self.path}: only {written} of {len(line)} bytes were written")

    def remove(self) -> None:
        """All of it stands in the ledger."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)


class Journal:
    """The files of this process in ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._num_files = 0
        self._current = self._next_file()

    def file(self) -> JournalFile:
        """Where a new request writes all of its lines."""
        if self._current.num_bytes > _MOST_BYTES:
            full, self._current = self._current, self._next_file()
            if not full.num_open:
                full.remove()
        self._current.num_open += 1
        return self._current

    def stored(self, file: JournalFile) -> None:
        """One request of ``file`` stands in the ledger."""
        file.num_open -= 1
        if not file.num_open and file is not self._current:
            file.remove()

    def close(self) -> None:
        """Remove the current file, unless something in it is not stored yet."""
        if not self._current.num_open:
            self._current.remove()

    def _next_file(self) -> JournalFile:
        self._num_files += 1
        name = f"{time.time_ns()}-{os.getpid()}-{self._num_files}.jsonl"
        return JournalFile(self._folder / name)


def left_behind(folder: Path) -> Iterator[tuple[Path, list[Entry]]]:
    """The files that no living process holds, folded; remove each when it is stored."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its gateway lives
            yield path, fold(file)
