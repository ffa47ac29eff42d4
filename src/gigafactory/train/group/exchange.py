"""What the groups of an epoch send each other: gradients to be summed, and states to start from.

A sum over shards runs in their order, element by element, whoever computed them and however many
members there are: floats that are added in another order round differently, and two runs would
part for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigafactory.train.group.gate import Verdict, read_verdict
from gigafactory.train.group.links import Links
from gigafactory.train.group.shards import slices

Floats = NDArray[np.float32]


def add_up(
    own: Mapping[int, Tensor],
    *,
    owned: Mapping[int, tuple[int, ...]],
    num: int,
    me: int,
    links: Links,
) -> Tensor:
    """The sum of all shards' gradients, (num,), the same bits at every member.

    ``own``: this member's shards, (num,) float32 each; ``owned``: shards by member. Each member
    works out one slice of the sum and sends it to all.
    """
    cut = slices(num, members=owned)
    flat = {shard: own[shard].numpy() for shard in owned[me]}
    got = links.swap(
        {peer: [flat[shard][cut[peer]].data for shard in owned[me]] for peer in links.peers}
    )
    parts = {shard: flat[shard][cut[me]] for shard in owned[me]}
    for peer, raw in got.items():
        width = cut[me].stop - cut[me].start
        rows = np.frombuffer(raw, dtype=np.float32).reshape(len(owned[peer]), width)
        parts.update(zip(owned[peer], rows, strict=True))
    total = np.empty(num, dtype=np.float32)
    total[cut[me]] = _in_order(parts)
    for peer, raw in links.tell(total[cut[me]].data).items():
        total[cut[peer]] = np.frombuffer(raw, dtype=np.float32)
    return torch.from_numpy(total)


def _in_order(parts: Mapping[int, Floats]) -> Floats:
    first, *rest = sorted(parts)
    found = parts[first].copy()
    for shard in rest:
        found += parts[shard]
    return found


def verdicts(mine: Verdict, *, me: int, links: Links) -> dict[int, Verdict]:
    """What every member says, by replica."""
    raw = links.tell(mine.to_bytes())
    return {me: mine} | {peer: read_verdict(said) for peer, said in raw.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a member stands when an epoch begins."""

    step: int
    """-1: it holds no state."""
    state: str
    """Checksum of the state."""
    intact: bool = True
    """The state is what it was when the checksum was taken; else nobody may take it over."""
    held: tuple[int, ...] = ()
    """Shards of the next step that it has computed already."""


def standings(mine: Standing, *, me: int, links: Links) -> dict[int, Standing]:
    """Where every member stands."""
    raw = links.tell(json.dumps(asdict(mine)).encode())
    return {me: mine} | {peer: _standing(json.loads(said)) for peer, said in raw.items()}


def _standing(plain: dict[str, Any]) -> Standing:
    return Standing(**(plain | {"held": tuple(plain["held"])}))


def hand_over(tensors: Iterable[Tensor], *, to: Iterable[int], links: Links) -> None:
    """Send the state to members that lack it; the others take part with nothing."""
    views = [_bytes_of(tensor) for tensor in tensors]
    links.swap(dict.fromkeys(to, views))


def take_over(tensors: Iterable[Tensor], *, source: int, links: Links) -> None:
    """Fill the state from ``source``."""
    raw = memoryview(links.swap({})[source])
    begin = 0
    with torch.no_grad():
        for tensor in tensors:
            view = _bytes_of(tensor)
            view[:] = raw[begin : begin + len(view)]
            begin += len(view)
    if begin != len(raw):
        raise ValueError(f"a state of {len(raw)} bytes came where {begin} are held")


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return tensor.detach().view(-1).view(torch.uint8).numpy().data


def leaves(state: Mapping[str, Any]) -> Iterator[Tensor]:
    """Tensors of a nested state in their order; of sharded ones what lies here."""
    for value in state.values():
        if isinstance(value, Mapping):
            yield from leaves(value)
        elif isinstance(value, Tensor):
            local = getattr(value, "to_local", None)
            yield local() if local else value


def findings(mine: Mapping[int, bool], *, links: Links) -> dict[int, bool]:
    """What the members found about shards that they computed for others."""
    raw = links.tell(json.dumps(mine).encode())
    found = dict(mine)
    for said in raw.values():
        found |= {int(shard): finite for shard, finite in json.loads(said).items()}
    return found
