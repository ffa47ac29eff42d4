"""How well the model predicts text it has not seen: nats a token and bits a byte, by source."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gigafactory.describe.job import Train
from gigafactory.train.gang import Gang
from gigafactory.train.mixture import judged
from gigafactory.train.nats import IGNORED, target_nats
from gigafactory.train.objective import documents_of
from gigafactory.train.packing import INPUTS, TARGETS, Windows
from gigafactory.train.parallel import autocast
from gigafactory.train.tokens import Text, token_bytes

MAX_WINDOWS = 64
"""Of each source."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of the held-out text, all sources together and one by one."""

    nats_per_token: float
    bits_per_byte: float
    bits_per_byte_by_source: dict[str, float]


@torch.no_grad()
def evaluate(model: nn.Module, text: Text, *, train: Train, seq_len: int, gang: Gang) -> Score:
    """On the held-out text of every source, all ranks taking part.

    Bytes are those of the normalised text; what the marks of the dialogue cost is counted, their
    bytes are not. After fine-tuning only what the assistant says is judged.
    """
    bytes_of = torch.from_numpy(token_bytes(text.tokenizer)).to(gang.device)
    sums = {}
    for stream in text.streams:
        windows = judged(stream, text, train, seq_len=seq_len)
        sums[stream.name] = _sums(model, windows, bytes_of, train=train, gang=gang)
    together = torch.stack(list(sums.values())).sum(0)
    nats, tokens, _bytes = together.tolist()
    by_source = {name: bits_per_byte(each) for name, each in sums.items() if each[2] > 0}
    return Score(nats / max(1, tokens), bits_per_byte(together), by_source)


def bits_per_byte(sums: Tensor) -> float:
    """Of (nats, tokens, bytes)."""
    nats, num_bytes = float(sums[0]), float(sums[2])
    return nats / math.log(2) / max(1, num_bytes)


def _sums(
    model: nn.Module,
    windows: Windows,
    bytes_of: Tensor,
    *,
    train: Train,
    gang: Gang,
) -> Tensor:
    """(nats, tokens, bytes) of one source, the same on every rank."""
    num_windows = min(MAX_WINDOWS, len(windows))
    sums = torch.zeros(3, dtype=torch.float64)
    for first in range(0, num_windows, gang.num_data_ranks):
        index = first + gang.data_rank
        # a sharded model computes only in step with its peers: who has none left repeats one
        sequence = torch.from_numpy(windows.cut(min(index, num_windows - 1)))[None].to(gang.device)
        part = _of_one(model, sequence, bytes_of, train=train, gang=gang)
        sums += part * (index < num_windows)
    dist.all_reduce(sums)
    return sums / gang.layout.tp  # tensor-parallel ranks judged the same windows


def _of_one(
    model: nn.Module,
    sequence: Tensor,
    bytes_of: Tensor,
    *,
    train: Train,
    gang: Gang,
) -> Tensor:
    targets, documents = sequence[:, TARGETS], documents_of(sequence, train)
    with autocast(gang.layout.precision, gang.device):
        logits, _routing = model(sequence[:, INPUTS], documents=documents)
    found = targets[targets != IGNORED].cpu()
    return torch.tensor(
        [target_nats(logits, targets)[1].item(), found.numel(), bytes_of[found].sum().item()],
        dtype=torch.float64,
    )
