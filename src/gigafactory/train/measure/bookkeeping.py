"""What python does once a step: the batch, the agreement of the ranks, the report."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist

from gigafactory.describe.job import Train
from gigafactory.describe.measured import Piece, Unit
from gigafactory.describe.rank import Step
from gigafactory.train.batches import rank_share
from gigafactory.train.measure.timing import Case
from gigafactory.train.mixture import BLOCK, Mixture
from gigafactory.train.packing import StreamWindows
from gigafactory.train.schedule import learning_rate
from gigafactory.train.telling import into_pipe

_NUM_SEQUENCES, _SEQ_LEN, _NUM_STEPS = 16, 128, 1000


def steps() -> Iterator[Case]:
    """One step of the training loop without a network."""
    dice = np.random.default_rng(0)
    stream = dice.integers(0, 2048, 1 << 18).astype(np.uint32)
    tell = into_pipe(os.open(os.devnull, os.O_WRONLY))
    train = Train()
    mixture = Mixture((StreamWindows(stream, 0, _SEQ_LEN),), (BLOCK,), _SEQ_LEN, seed=0)
    rank, world = dist.get_rank(), dist.get_world_size()
    sequences = _NUM_SEQUENCES * world

    def run() -> None:
        batch = mixture.batch(step=1, num_sequences=sequences)
        torch.from_numpy(rank_share(batch, rank=rank, num_ranks=world))
        sums = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        dist.all_reduce(sums)
        rate = learning_rate(train, step=1, num_steps=_NUM_STEPS)
        tell(
            Step(
                step=1, loss=sums.tolist()[0], grad_norm=1.0, learning_rate=rate, step_s=1.0,
                tokens=sequences * _SEQ_LEN, finite=True,
            )
        )  # fmt: skip

    yield Case(Piece.STEP, {Unit.CALL: 1.0}, run, num_ranks=world)
