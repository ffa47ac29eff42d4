"""Which sequences a step sees: a pure function of seed and step, whatever the number of ranks.

The numbered sequences of a run are shared out among the sources in blocks, in each of which every
source has its exact share, in an order drawn from (seed, block). A source goes through all of its
windows once an epoch, in an order drawn from (seed, source, epoch), with the cuts shifted by an
offset of its own. So a restarted job sees what an undisturbed one would have seen, and any split
over ranks adds up to the same global batch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.errors import InputError
from gigafactory.describe.job import Stage, Train
from gigafactory.net.dialogue import Mark, mark_id
from gigafactory.train.packing import Sequence, StreamWindows, Windows, in_order, whole_documents
from gigafactory.train.tokens import Ids, Stream, Text, by_assistant

BLOCK = 1024
"""Sequences in which every source has its exact share."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Windows of every source, and how many of a block are its own."""

    windows: tuple[Windows, ...]
    shares: tuple[int, ...]
    seq_len: int
    seed: int

    def batch(self, *, step: int, num_sequences: int) -> NDArray[np.int64]:
        """The global batch of ``step`` (1, 2, ...), (num_sequences, 3, T); see ``packing``."""
        first = (step - 1) * num_sequences
        return np.stack([self.sequence(n) for n in range(first, first + num_sequences)])

    def sequence(self, number: int) -> Sequence:
        """Number 0, 1, ... of the run, (3, T)."""
        source, index = place_of(number, shares=self.shares, seed=self.seed)
        windows = self.windows[source]
        epoch, place = divmod(index, len(windows))
        order, shift = _epoch_order(self.seed, source, epoch, len(windows), self.seq_len)
        return windows.cut(int(order[place]), shift=shift)


def mix(text: Text, train: Train, *, seq_len: int) -> Mixture:
    """The training text as sequences; InputError where a source is too short for one."""
    windows = tuple(_windows(stream, text, train, seq_len=seq_len) for stream in text.streams)
    return Mixture(
        windows=windows,
        shares=shares_of([stream.weight for stream in text.streams]),
        seq_len=seq_len,
        seed=train.seed,
    )


def _windows(stream: Stream, text: Text, train: Train, *, seq_len: int) -> Windows:
    bos = mark_id(text.tokenizer, Mark.BOS)
    windows: Windows = StreamWindows(stream.train, bos, seq_len)
    if train.keeps_documents_whole:
        learnt = learnt_of(stream.train, text, train)
        windows = whole_documents(stream.train, bos=bos, learnt=learnt, seq_len=seq_len)
    if len(windows) > 0:
        return windows
    if train.keeps_documents_whole:
        raise InputError(
            f"train.mixture: {stream.name} has nothing to learn from in stage {train.stage}; "
            "fine-tuning needs conversations in which the assistant speaks"
        )
    raise InputError(
        f"job.seq_len {seq_len} is too long for {stream.name}, a text of {len(stream.train)} "
        f"tokens; at most {(len(stream.train) - 1) // 2} would do"
    )


def judged(stream: Stream, text: Text, train: Train, *, seq_len: int) -> Windows:
    """The held-out text of one source as sequences, in its order."""
    learnt = learnt_of(stream.held_out, text, train)
    return in_order(stream.held_out, learnt=learnt, seq_len=seq_len)


def learnt_of(ids: Ids, text: Text, train: Train) -> NDArray[np.bool_]:
    """Which tokens the stage teaches, (N,)."""
    if train.stage is Stage.SFT:
        return by_assistant(np.asarray(ids), tokenizer=text.tokenizer)
    return np.ones(len(ids), dtype=np.bool_)


def shares_of(weights: list[float]) -> tuple[int, ...]:
    """Sequences of a block for each source: largest remainders, but at least one."""
    exact = np.array(weights) / sum(weights) * BLOCK
    shares = np.maximum(1, exact.astype(int))
    while shares.sum() < BLOCK:
        shares[np.argmax(exact - shares)] += 1
    while shares.sum() > BLOCK:  # where a small weight was raised to one sequence
        shares[np.argmin(np.where(shares > 1, exact - shares, np.inf))] -= 1
    return tuple(shares.tolist())


def place_of(number: int, *, shares: tuple[int, ...], seed: int) -> tuple[int, int]:
    """(source, how many of that source came before) of a numbered sequence."""
    block, place = divmod(number, BLOCK)
    sources, before = _block_order(seed, block, shares)
    source = int(sources[place])
    return source, block * shares[source] + int(before[place])


@functools.lru_cache(maxsize=4)
def _block_order(
    seed: int, block: int, shares: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    dice = np.random.default_rng([seed, block])
    sources = dice.permutation(np.repeat(np.arange(len(shares)), shares))
    before = np.empty(BLOCK, dtype=np.int64)
    for source, share in enumerate(shares):
        before[sources == source] = np.arange(share)
    return sources, before


@functools.lru_cache(maxsize=16)
def _epoch_order(
    seed: int, source: int, epoch: int, num_windows: int, seq_len: int
) -> tuple[NDArray[np.int64], int]:
    dice = np.random.default_rng([seed, source, epoch])
    return dice.permutation(num_windows), int(dice.integers(seq_len))
