"""What training makes small: nats a target, and a little besides to keep the numbers in bounds.

    loss = sum(nats) / number of targets of the global batch
           + output_z * mean(log Z ^ 2)            Z: partition function of the output
           + balance * imbalance                   of the experts, a mean over sequences
           + router_z * mean(log Z ^ 2)            Z: partition function of the router

Sums over targets are divided by the count of the whole global batch, so that microbatches and
ranks with unequal numbers of targets add up to what one process would compute.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gigafactory.describe.job import Train
from gigafactory.net.experts import Routing
from gigafactory.train.nats import IGNORED, target_nats
from gigafactory.train.packing import DOCUMENTS, TARGETS


def num_targets(batch: NDArray[np.int64]) -> int:
    """Of a global batch (N, 3, T); at least 1."""
    return max(1, int((batch[:, TARGETS] != IGNORED).sum()))


def documents_of(sequences: Tensor, train: Train) -> Tensor | None:
    """(B, T) numbers where attention is to stay within documents, of sequences (B, 3, T)."""
    return sequences[:, DOCUMENTS] if train.separate_documents else None


def objective(
    logits: Tensor,
    targets: Tensor,
    routing: Routing,
    *,
    train: Train,
    target_share: float,
    sequence_share: float,
) -> tuple[Tensor, Tensor]:
    """(what to differentiate, its nats alone) of a microbatch.

    ``target_share``: 1 / targets of the global batch; ``sequence_share``: the microbatch's share of
    its sequences. The gradients of all microbatches on all ranks are added up.
    """
    loss, nats = target_nats(
        logits,
        targets,
        scale=target_share,
        z_weight=train.output_z_weight,
        compiles=train.compile,
    )
    spread = train.balance_weight * routing.imbalance + train.router_z_weight * routing.z
    return loss + spread.mean() * sequence_share, nats
