"""Writing the book: append only, one JSON line an entry, readable at every moment.

The twin keeps it in memory or in a file; a real run always in a file, line by line, so that a
killed driver leaves a book that ends at its last whole line.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from gigafactory.control.actions import Action, WakeAt
from gigafactory.control.events import Event
from gigafactory.describe.errors import InputError
from gigafactory.ledger.encode import text_of
from gigafactory.ledger.entries import (
    KIND_OF,
    ActionTaken,
    Content,
    Entry,
    EventSeen,
    Resumed,
)
from gigafactory.ledger.fold import Tally
from gigafactory.ledger.reader import read_ledger, whole_bytes
from gigafactory.ledger.summary import Summary

#: What a disk without room says, or a file that may not grow.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Lines that are written, or hashed, in one go where nobody waits for each.
_MANY_LINES = 512
_KIND = {cls: f'"kind":"{kind}",' for cls, kind in KIND_OF.items()}


def line_of(entry: Entry) -> str:
    """The JSON line of an entry, without its end of line."""
    return (
        f'{{"at_s":{float(entry.at_s)!r},"seq":{entry.seq},"generation":{entry.generation},'
        f'"kind":"{KIND_OF[type(entry.content)]}",{text_of(entry.content)}}}'
    )


class LedgerWriter:
    """Appends entries to ``path`` (None: only to memory), and sums them up on the way.

    ``resume`` goes on with a book that exists: sequence numbers continue, a torn last line is
    cut off, and a `Resumed` entry says so. Without it an existing file is replaced.
    ``keep`` holds the entries in ``entries`` (default: only where there is no file).
    ``on_full`` is called where the disk is full, before each new attempt (default: OSError).
    ``line_by_line``: each line is with the operating system before the next entry, so that a
    driver that is killed loses none; otherwise some hundred lines go there at once.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        resume: bool = False,
        keep: bool | None = None,
        line_by_line: bool = True,
        on_full: Callable[[], None] | None = None,
    ) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.seq = 0
        self.at_s = 0.0
        self.generation = 0
        self._begin = '{"at_s":0.0,"seq":'
        """Of each line at this moment: many entries share one."""
        self._keep = path is None if keep is None else keep
        self._tally = Tally()
        self._sha256 = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self._on_full = on_full
        self._lines: list[str] = []
        self._num_lines = 1 if line_by_line and path is not None else _MANY_LINES
        if path is not None:
            self._open(path, resume=resume and path.exists())

    def write(self, content: Content, *, at_s: float, generation: int | None = None) -> None:
        """Append one entry. Time never runs backwards; ``generation`` stays unless given.

        InputError where the first entry is not `Opened`.
        """
        if at_s > self.at_s:
            self.at_s = float(at_s)
            self._begin = f'{{"at_s":{self.at_s!r},"seq":'
        if generation is not None:
            self.generation = generation
        self._tally.write(content, at_s=self.at_s)
        if self._keep:
            self.entries.append(Entry(self.at_s, self.seq, self.generation, content))
        self._lines.append(
            f'{self._begin}{self.seq},"generation":{self.generation},'
            f"{_KIND[type(content)]}{text_of(content)}}}\n"
        )
        self.seq += 1
        if len(self._lines) >= self._num_lines:
            self._flush()

    def decide(
        self,
        event: Event,
        actions: Sequence[Action],
        *,
        state_hash: Callable[[], str],
        generation: int,
    ) -> None:
        """One turn of the controller: the event, its state afterwards, what it asked for."""
        asked = [action for action in actions if not isinstance(action, WakeAt)]
        wake_at_s = next((a.at_s for a in actions if isinstance(a, WakeAt)), None)
        seen = EventSeen(event=event, state_hash=state_hash(), wake_at_s=wake_at_s)
        self.write(seen, at_s=event.at_s, generation=generation)
        for action in asked:
            self.write(ActionTaken(action=action), at_s=event.at_s)

    def summary(self) -> Summary:
        """The figures so far, without reading the book again; InputError before its opening."""
        return self._tally.summary()

    @property
    def ledger_hash(self) -> str:
        """sha256 of every line so far."""
        self._flush()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file; the book itself ends with a `Closed` entry."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _flush(self) -> None:
        """Lines that wait go into the hash and to the file."""
        if not self._lines:
            return
        block = "".join(self._lines).encode()
        self._lines.clear()
        self._sha256.update(block)
        if self._file is not None:
            self._append(self._file, block)

    def _append(self, file: IO[bytes], block: bytes) -> None:
        """All of it: a disk that fills up takes a part of a line, and the rest when it may."""
        left = memoryview(block)
        while left:
            try:
                left = left[file.write(left) :]
            except OSError as error:
                if self._on_full is None or error.errno not in _FULL:
                    raise
                self._on_full()

    def _open(self, path: Path, *, resume: bool) -> None:
        torn_bytes = self._take_over(path) if resume else 0
        try:
            self._file = path.open("ab" if resume else "wb", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: the ledger cannot be written: {error.strerror}") from None
        if self.seq:
            self.write(Resumed(torn_bytes=torn_bytes), at_s=self.at_s)

    def _take_over(self, path: Path) -> int:
        """Count on from the book at ``path``; the length of the torn line that was cut off."""
        whole, size = whole_bytes(path), path.stat().st_size
        if whole < size:
            with path.open("r+b") as file:
                file.truncate(whole)
        if not whole:
            return size
        entries = read_ledger(path)
        last = entries[-1]
        self.seq, self.at_s, self.generation = last.seq + 1, last.at_s, last.generation
        self._begin = f'{{"at_s":{self.at_s!r},"seq":'
        self._sha256.update(path.read_bytes())
        for entry in entries:
            self._tally.write(entry.content, at_s=entry.at_s)
        self.entries = entries if self._keep else []
        return size - whole
