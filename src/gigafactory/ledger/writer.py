"""Writing the book: append only, one JSON line an entry, readable at every moment.

The twin keeps it in memory or in a file; a real run always in a file, line by line, so that a
killed driver leaves a book that ends at its last whole line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

from gigafactory.control.actions import Action
from gigafactory.control.events import Event
from gigafactory.describe.errors import InputError
from gigafactory.ledger.codec import to_json
from gigafactory.ledger.entries import (
    KIND_OF,
    ActionTaken,
    Content,
    Entry,
    EventSeen,
    Resumed,
)
from gigafactory.ledger.exchange import action_to_json, event_to_json
from gigafactory.ledger.reader import read_ledger, whole_bytes

_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode


def line_of(entry: Entry) -> str:
    """The JSON line of an entry, without its end of line."""
    head = {
        "at_s": entry.at_s,
        "seq": entry.seq,
        "generation": entry.generation,
        "kind": KIND_OF[type(entry.content)],
    }
    return _ENCODE(head | to_json(entry.content))


class LedgerWriter:
    """Appends entries to ``path`` (None: only to memory).

    ``resume`` goes on with a book that exists: sequence numbers continue, a torn last line is
    cut off, and a `Resumed` entry says so. Without it an existing file is replaced.
    ``keep`` holds the entries in ``entries`` (default: only where there is no file).
    """

    def __init__(
        self, path: Path | None = None, *, resume: bool = False, keep: bool | None = None
    ) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.seq = 0
        self.at_s = 0.0
        self.generation = 0
        self._keep = path is None if keep is None else keep
        self._sha256 = hashlib.sha256()
        self._file: IO[str] | None = None
        if path is not None:
            self._open(path, resume=resume and path.exists())

    def write(self, content: Content, *, at_s: float, generation: int | None = None) -> Entry:
        """Append one entry. ``generation`` stays what it was unless given."""
        self.at_s = max(self.at_s, at_s)
        if generation is not None:
            self.generation = generation
        entry = Entry(self.at_s, self.seq, self.generation, content)
        line = line_of(entry) + "\n"
        self.seq += 1
        self._sha256.update(line.encode())
        if self._file is not None:
            self._file.write(line)
        if self._keep:
            self.entries.append(entry)
        return entry

    def decide(
        self, event: Event, actions: Iterable[Action], *, state_hash: str, generation: int
    ) -> None:
        """One turn of the controller: the event, its state afterwards, what it asked for."""
        seen = EventSeen(event=event_to_json(event), state_hash=state_hash)
        self.write(seen, at_s=event.at_s, generation=generation)
        for action in actions:
            self.write(ActionTaken(action=action_to_json(action)), at_s=event.at_s)

    @property
    def ledger_hash(self) -> str:
        """sha256 of every line so far."""
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file; the book itself ends with a `Closed` entry."""
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

    def _open(self, path: Path, *, resume: bool) -> None:
        torn_bytes = self._take_over(path) if resume else 0
        try:
            self._file = path.open("a" if resume else "w", encoding="utf-8", buffering=1)
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
        self._sha256.update(path.read_bytes())
        self.entries = entries if self._keep else []
        return size - whole
