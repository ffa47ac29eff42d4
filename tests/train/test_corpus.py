"""What is trained on, and in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.describe.errors import InputError
from gigafactory.net.dialogue import Mark, mark_id
from gigafactory.train import tokens
from gigafactory.train.batches import global_batch, rank_share
from gigafactory.train.corpus import clean, is_unfit, tidy

STREAM = np.arange(1000, dtype=np.uint32)


@pytest.mark.parametrize(
    "turn",
    [
        "write me at jane.doe@mail.example",
        "call 801-555-0199 any time",
        "see https://somewhere.test/page",
        "it is on mysite.com I think",
        "follow @jane_doe",
        "what the FUCK",
        "word " * 100,
    ],
)
def test_unfit_turns(turn: str) -> None:
    assert is_unfit(turn)


@pytest.mark.parametrize(
    "turn", ["I have 2 dogs and 3 cats", "born in 1996", "that class is a classic", "pass it on"]
)
def test_fit_turns(turn: str) -> None:
    assert not is_unfit(turn)


def test_a_conversation_ends_before_an_unfit_turn() -> None:
    assert clean(iter(["hi", "hello", "my mail is a@b.cd", "thanks"])) == ["hi", "hello"]


def test_tidy() -> None:
    assert tidy("I\u2019m  fine \U0001f600 \u2013 really\n") == "I'm fine - really"


@given(step=st.integers(1, 500), num_ranks=st.sampled_from([1, 2, 4]))
def test_a_batch_is_a_pure_function_and_ranks_share_it_out(step: int, num_ranks: int) -> None:
    def batch(seed: int = 1) -> np.ndarray:
        return global_batch(STREAM, seed=seed, step=step, num_sequences=4, seq_len=10)

    assert np.array_equal(batch(), batch())
    assert batch().shape == (4, 11)
    assert (np.diff(batch(), axis=1) == 1).all()  # windows of the stream, inputs and next tokens
    shares = [rank_share(batch(), rank=r, num_ranks=num_ranks) for r in range(num_ranks)]
    assert np.array_equal(np.concatenate(shares), batch())


def test_an_epoch_sees_every_window_once_and_the_next_in_another_order() -> None:
    num_windows = 98  # of 10 tokens, in 1000 with one to spare for the shift
    steps = range(1, 2 * num_windows // 7 + 1)
    starts = np.concatenate(
        [global_batch(STREAM, seed=3, step=s, num_sequences=7, seq_len=10)[:, 0] for s in steps]
    )
    first, second = starts[:num_windows], starts[num_windows : 2 * num_windows]
    assert len(set(first.tolist())) == num_windows
    assert len(set(second.tolist())) == num_windows
    assert not np.array_equal(first, second)


def test_impossible_batches() -> None:
    with pytest.raises(InputError, match=r"job\.seq_len 600 is too long"):
        global_batch(STREAM, seed=0, step=1, num_sequences=1, seq_len=600)
    with pytest.raises(InputError, match="not a multiple of the 3"):
        rank_share(np.zeros((4, 3), dtype=np.int64), rank=0, num_ranks=3)


def test_text_is_prepared_once_and_whole(corpus: Path) -> None:
    text = tokens.load(corpus)
    decoded = text.tokenizer.decode(list(text.train[:12]), skip_special_tokens=False)
    assert decoded.startswith(f"{Mark.BOS}{Mark.USER} hello there{Mark.END}{Mark.ASSISTANT}")
    assert [mark_id(text.tokenizer, mark) for mark in Mark] == [0, 1, 2, 3]
    sizes = tokens.token_bytes(text.tokenizer)
    turn = "hello there, how are you?"
    ids = text.tokenizer.encode(turn).ids
    assert sizes[ids].sum() == len(turn) + 1  # the space before the first word
    assert sizes[:4].sum() == 0


def test_the_real_corpus_is_clean_and_held_out_text_is_apart() -> None:
    from gigafactory.describe.job import Corpus
    from gigafactory.train.corpus import read_corpus

    train, held_out = read_corpus(Corpus.CHITCHAT)
    assert len(train) > 3000
    assert 50 < len(held_out) < 200
    assert not any(is_unfit(turn) for talk in train + held_out for turn in talk)
    assert {tuple(talk) for talk in train}.isdisjoint(
        tuple(talk) for talk in held_out if len(talk) > 4
    )
