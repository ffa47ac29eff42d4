"""Sequences out of a stream of documents: inputs, targets, and which document they are of.

Letters: N tokens of the stream, T tokens of a sequence. A target of ``IGNORED`` is no target:
padding, what a document begins with, and in fine-tuning all that the assistant does not say.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gigafactory.train.nats import IGNORED
from gigafactory.train.tokens import Ids

Sequence = NDArray[np.int64]
"""(3, T): inputs; for each the token to be predicted; the number of its document."""
INPUTS, TARGETS, DOCUMENTS = range(3)
Span = tuple[int, int]


class Windows(Protocol):
    """Numbered sequences of one length."""

    def __len__(self) -> int: ...

    def cut(self, index: int, *, shift: int = 0) -> Sequence:
        """One of them, (3, T); ``shift`` moves the cuts along, where that makes sense."""


@dataclass(frozen=True, slots=True)
class StreamWindows:
    """Side by side, whatever begins or ends within; room for a shift by 0 to T - 1 is left."""

    stream: Ids
    bos: int
    """What a document begins with."""
    seq_len: int

    def __len__(self) -> int:
        return max(0, (len(self.stream) - 1) // self.seq_len - 1)

    def cut(self, index: int, *, shift: int = 0) -> Sequence:
        """(3, T), all of it to be learnt."""
        begin = index * self.seq_len + shift
        ids = self.stream[begin : begin + self.seq_len + 1].astype(np.int64)
        return np.stack((ids[:-1], ids[1:], np.cumsum(ids[:-1] == self.bos)))


@dataclass(frozen=True, slots=True)
class PaddedWindows:
    """Rows of whole pieces of the stream, padded; only targets that are ``learnt`` count."""

    stream: Ids
    learnt: NDArray[np.bool_]
    """(N,): which tokens are to be predicted."""
    rows: tuple[tuple[Span, ...], ...]
    """(begin, end) of the pieces of each row, together at most T + 1 tokens."""
    seq_len: int

    def __len__(self) -> int:
        return len(self.rows)

    def cut(self, index: int, *, shift: int = 0) -> Sequence:
        """(3, T); there is nothing to shift. Padding is of document 0."""
        ids, documents = np.zeros((2, self.seq_len + 1), dtype=np.int64)
        targets = np.full(self.seq_len + 1, IGNORED, dtype=np.int64)
        place = 0
        for number, (begin, end) in enumerate(self.rows[index], start=1):
            after = place + end - begin
            ids[place:after] = self.stream[begin:end]
            documents[place:after] = number
            # the first token of a piece has nothing before it to be predicted from
            is_target = self.learnt[begin + 1 : end]
            targets[place + 1 : after][is_target] = ids[place + 1 : after][is_target]
            place = after
        return np.stack((ids[:-1], targets[1:], documents[:-1]))


def whole_documents(
    stream: Ids, *, bos: int, learnt: NDArray[np.bool_], seq_len: int
) -> PaddedWindows:
    """Documents, each with ``bos`` before it, packed whole into as few rows as best fit finds.

    A document longer than a row is cut; the last token of a cut is the first of the next, so that
    every token is predicted once. Rows without anything to learn are left out.
    """
    begins = np.flatnonzero(np.asarray(stream) == bos)
    ends = np.append(begins[1:], len(stream))
    spans = list(_pieces(zip(begins.tolist(), ends.tolist(), strict=True), seq_len))
    rows = _best_fit(spans, room=seq_len + 1)
    kept = (row for row in rows if any(learnt[begin + 1 : end].any() for begin, end in row))
    return PaddedWindows(stream, learnt, tuple(kept), seq_len)


def in_order(stream: Ids, *, learnt: NDArray[np.bool_], seq_len: int) -> PaddedWindows:
    """The stream from its beginning to its end, for evaluation: the last row is padded."""
    spans = _pieces([(0, len(stream))], seq_len)
    rows = tuple((span,) for span in spans if learnt[span[0] + 1 : span[1]].any())
    return PaddedWindows(stream, learnt, rows, seq_len)


def _pieces(spans: Iterator[Span] | list[Span], seq_len: int) -> Iterator[Span]:
    for begin, end in spans:
        for first in range(begin, end - 1, seq_len):
            yield first, min(first + seq_len + 1, end)


def _best_fit(spans: list[Span], *, room: int) -> list[tuple[Span, ...]]:
    """Longest first, each where it leaves the least room; equal ones in their order."""
    rows: list[list[Span]] = []
    left: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for begin, end in sorted(spans, key=lambda s: (s[0] - s[1], s[0])):
        size = end - begin
        place = bisect_left(left, (size, -1))
        if place == len(left):
            rows.append([])
            rest, row = room, len(rows) - 1
        else:
            rest, row = left.pop(place)
        rows[row].append((begin, end))
        if rest > size:
            insort(left, (rest - size, row))
    return [tuple(row) for row in rows]
