"""Which sequences a step sees: exact shares, every window once an epoch, nothing but the seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.describe.errors import InputError
from gigafactory.describe.job import Stage, Train
from gigafactory.train import tokens
from gigafactory.train.batches import rank_share
from gigafactory.train.mixture import BLOCK, Mixture, mix, place_of, shares_of
from gigafactory.train.nats import IGNORED
from gigafactory.train.packing import (
    DOCUMENTS,
    INPUTS,
    TARGETS,
    StreamWindows,
    in_order,
    whole_documents,
)

BOS = 0
STREAM = np.arange(1, 1001, dtype=np.uint32)


def single(seed: int = 1) -> Mixture:
    return Mixture((StreamWindows(STREAM, BOS, 10),), (BLOCK,), 10, seed)


@given(step=st.integers(1, 500), num_ranks=st.sampled_from([1, 2, 4]))
def test_a_batch_is_a_pure_function_and_ranks_share_it_out(step: int, num_ranks: int) -> None:
    batch = single().batch(step=step, num_sequences=4)
    assert np.array_equal(batch, single().batch(step=step, num_sequences=4))
    assert batch.shape == (4, 3, 10)
    assert (batch[:, TARGETS] == batch[:, INPUTS] + 1).all()  # windows of the stream
    shares = [rank_share(batch, rank=r, num_ranks=num_ranks) for r in range(num_ranks)]
    assert np.array_equal(np.concatenate(shares), batch)


def test_an_epoch_sees_every_window_once_and_the_next_in_another_order() -> None:
    num_windows = 98  # of 10 tokens, in 1000 with one to spare for the shift
    starts = [int(single(3).sequence(n)[INPUTS, 0]) for n in range(2 * num_windows)]
    first, second = starts[:num_windows], starts[num_windows:]
    assert len(set(first)) == num_windows
    assert len(set(second)) == num_windows
    assert first != second
    assert first != [int(single(4).sequence(n)[INPUTS, 0]) for n in range(num_windows)]


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
    seed=st.integers(0, 3),
    block=st.integers(0, 2),
)
@settings(max_examples=30)
def test_sources_have_their_share_of_every_block_and_count_on(
    weights: list[float], seed: int, block: int
) -> None:
    shares = shares_of(weights)
    assert sum(shares) == BLOCK
    assert min(shares) >= 1
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight / sum(weights) * BLOCK) <= len(weights)
    places = [
        place_of(n, shares=shares, seed=seed) for n in range(block * BLOCK, (block + 1) * BLOCK)
    ]
    assert Counter(source for source, _ in places) == Counter(dict(enumerate(shares)))
    for source, share in enumerate(shares):
        indices = [index for s, index in places if s == source]
        assert indices == list(range(block * share, (block + 1) * share))


def documents(sizes: list[int]) -> np.ndarray:
    """A stream of documents of these many tokens, all different but for the first of each."""
    stream = np.arange(1, sum(sizes) + 1, dtype=np.uint32)
    stream[np.cumsum([0, *sizes[:-1]])] = BOS
    return stream


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30), seq_len=st.integers(2, 16))
def test_whole_documents_are_predicted_once_and_cut_only_where_they_must(
    sizes: list[int], seq_len: int
) -> None:
    stream = documents(sizes)
    everything = np.ones(len(stream), dtype=np.bool_)
    windows = whole_documents(stream, bos=BOS, learnt=everything, seq_len=seq_len)
    cut = [windows.cut(i) for i in range(len(windows))]
    targets = np.concatenate([c[TARGETS] for c in cut]) if cut else np.zeros(0)
    found = targets[targets != IGNORED]
    assert sorted(found) == sorted(stream[stream != BOS])
    for inputs, wanted, numbers in cut:
        assert (wanted[wanted != IGNORED] - 1 == inputs[wanted != IGNORED])[
            inputs[wanted != IGNORED] != BOS
        ].all()
        assert (np.diff(numbers)[numbers[1:] > 0] >= 0).all()
    num_short = sum(size <= seq_len + 1 for size in sizes if size > 1)
    whole = sum(1 for row in windows.rows for b, e in row if stream[b] == BOS and e - b > 1)
    assert whole >= num_short


def test_best_fit_leaves_little_room() -> None:
    sizes = np.random.default_rng(0).integers(5, 30, 500).tolist()
    stream = documents(sizes)
    windows = whole_documents(
        stream, bos=BOS, learnt=np.ones(len(stream), dtype=np.bool_), seq_len=63
    )
    assert len(windows) * 64 < 1.03 * len(stream)


def test_evaluation_sees_everything_once_the_last_row_padded() -> None:
    windows = in_order(STREAM[:25], learnt=np.ones(25, dtype=np.bool_), seq_len=10)
    targets = np.concatenate([windows.cut(i)[TARGETS] for i in range(len(windows))])
    assert targets[targets != IGNORED].tolist() == list(range(2, 26))
    assert len(windows) == 3


def test_fine_tuning_learns_what_the_assistant_says(corpus: Path) -> None:
    train = Train(stage=Stage.SFT, base="somewhere")
    text = tokens.load(train, directory=corpus)
    batch = mix(text, train, seq_len=96).batch(step=1, num_sequences=8)
    targets = batch[:, TARGETS]
    said = text.tokenizer.decode(targets[targets != IGNORED].tolist(), skip_special_tokens=False)
    assert set(said.replace("<|end|>", ".").split(".")) - {""} <= {
        " hi, how are you?", " that is good to hear", " i like long walks", " music and good food",
    }  # fmt: skip
    assert batch[:, DOCUMENTS].max() >= 2


def test_texts_that_are_too_short_or_hold_nothing_to_learn(corpus: Path) -> None:
    text = tokens.load(Train(), directory=corpus)
    with pytest.raises(InputError, match=r"job\.seq_len 9000 is too long for chitchat"):
        mix(text, Train(), seq_len=9000)
    plain = tokens.Stream("notes", 1.0, np.array([BOS, *range(10, 30)], dtype=np.uint32), STREAM)
    with pytest.raises(InputError, match="notes has nothing to learn from in stage sft"):
        mix(
            tokens.Text(text.tokenizer, (plain,)),
            Train(stage=Stage.SFT, base="somewhere"),
            seq_len=8,
        )
