"""How well the model predicts text it has not seen: nats a token and bits a byte."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from gigafactory.describe.errors import InputError
from gigafactory.train.tokens import Text, token_bytes

MAX_WINDOWS = 64


@torch.no_grad()
def evaluate(
    model: nn.Module, text: Text, *, seq_len: int, precision: torch.autocast
) -> tuple[float, float]:
    """(nats per token, bits per byte) on the held-out text, all ranks taking part.

    Bytes are those of the normalised text; what the marks of the dialogue cost is counted, their
    bytes are not. The windows lie side by side from the start of the stream.
    """
    num_windows = min(MAX_WINDOWS, (len(text.held_out) - 1) // seq_len)
    if num_windows == 0:
        raise InputError(f"job.seq_len {seq_len} is longer than the text held out for evaluation")
    bytes_of = torch.from_numpy(token_bytes(text.tokenizer))
    sums = torch.zeros(3, dtype=torch.float64)
    for first in range(0, num_windows, dist.get_world_size()):
        index = first + dist.get_rank()
        # a sharded model computes only in step with its peers: who has none left repeats one
        begin = min(index, num_windows - 1) * seq_len
        ids = torch.from_numpy(text.held_out[begin : begin + seq_len + 1].astype(np.int64))
        sums += _sums(model, ids[None], bytes_of, precision) * (index < num_windows)
    dist.all_reduce(sums)
    nats, tokens, num_bytes = sums.tolist()
    return nats / tokens, nats / math.log(2) / num_bytes


def _sums(
    model: nn.Module, ids: torch.Tensor, bytes_of: torch.Tensor, precision: torch.autocast
) -> torch.Tensor:
    inputs, targets = ids[:, :-1], ids[:, 1:]
    with precision:
        logits, _routing = model(inputs)
    nats = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="sum"
    )
    return torch.tensor(
        [nats.item(), targets.numel(), bytes_of[targets].sum().item()], dtype=torch.float64
    )
