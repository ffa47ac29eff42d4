"""Whatever happens to the ranks, every sequence of the run counts exactly once."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.train.batches import pieces, rank_share

BATCH = 7
STEPS = 12


def batch_of(step: int) -> np.ndarray:
    """Sequences that bear their number in the run, (BATCH, 1)."""
    return np.arange((step - 1) * BATCH, step * BATCH)[:, None]


def counted(step: int, *, num_ranks: int, micro_batch: int) -> Counter[int]:
    """How often each sequence counts when all ranks have done the step."""
    found: Counter[int] = Counter()
    for rank in range(num_ranks):
        share = pieces(batch_of(step), rank=rank, num_ranks=num_ranks, micro_batch=micro_batch)
        for piece, num_counted in share:
            found.update(piece[:num_counted, 0].tolist())
    return found


@given(
    lives=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=8
    )
)
def test_killed_and_resized_again_and_again(lives: list[tuple[int, int, int]]) -> None:
    """A life has (ranks, microbatch, steps done); every second of its steps was committed when it
    was killed, and the next life goes on from there with another number of ranks."""
    kept: Counter[int] = Counter()
    step = 0
    for num_ranks, micro_batch, num_steps in [*lives, (3, 2, STEPS)]:
        done = range(step + 1, min(step + num_steps, STEPS) + 1)
        is_last = done.stop == STEPS + 1
        committed = done.stop - 1 if is_last else step + len(done) // 2
        for n in done:
            if n <= committed:
                kept += counted(n, num_ranks=num_ranks, micro_batch=micro_batch)
        step = max(step, committed)
    assert kept == Counter(range(BATCH * STEPS))


@given(num=st.integers(1, 40), num_ranks=st.integers(1, 12), micro_batch=st.integers(1, 5))
def test_shares_are_even_and_every_rank_computes_in_step(
    num: int, num_ranks: int, micro_batch: int
) -> None:
    batch = np.arange(num)[:, None]
    sizes = [len(rank_share(batch, rank=r, num_ranks=num_ranks)) for r in range(num_ranks)]
    assert sum(sizes) == num
    assert max(sizes) - min(sizes) <= 1
    rounds = {
        len(list(pieces(batch, rank=r, num_ranks=num_ranks, micro_batch=micro_batch)))
        for r in range(num_ranks)
    }
    assert rounds == {-(-max(sizes) // micro_batch)}
    for rank in range(num_ranks):
        for piece, num_counted in pieces(
            batch, rank=rank, num_ranks=num_ranks, micro_batch=micro_batch
        ):
            assert len(piece) >= max(1, num_counted)
