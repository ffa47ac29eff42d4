"""How a global batch is cut into shards, and who computes which: pure functions.

The cut depends on the study alone, never on who is there. A shard's gradient is the same whoever
computes it, and the sum runs over the shards in their order; so the weights after a step are the
same, bit for bit, with three groups, with two, or with one that does all the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from gigafactory.describe.errors import InputError


def num_shards(num_microbatches: int, *, num_replicas: int) -> int:
    """Shards of a step: a multiple of the groups, and of one group fewer where that divides too.

    So nobody waits for anybody, neither when all are there nor when one is missing. InputError
    where the microbatches cannot be shared out among the groups.
    """
    if num_microbatches % num_replicas:
        raise InputError(
            f"{num_microbatches} microbatches a step cannot be shared out among {num_replicas} "
            "replica groups; job.global_batch must be a multiple of groups x layout.micro_batch"
        )
    even = math.lcm(num_replicas, max(1, num_replicas - 1))
    return even if num_microbatches % even == 0 else num_replicas


def share_out(
    num: int, *, members: Iterable[int], held: Mapping[int, Iterable[int]]
) -> dict[int, tuple[int, ...]]:
    """Shards by member, as evenly as may be; who holds a shard already keeps it.

    ``held``: shards of this step whose gradients a member computed before it was interrupted.
    """
    owned: dict[int, list[int]] = {member: [] for member in sorted(members)}
    left = set(range(num))
    for shard in range(num):
        holders = [m for m in owned if shard in held.get(m, ())]
        if holders:
            owned[min(holders, key=lambda m: (len(owned[m]), m))].append(shard)
            left.discard(shard)
    for shard in sorted(left):
        owned[min(owned, key=lambda m: (len(owned[m]), m))].append(shard)
    return {member: tuple(shards) for member, shards in owned.items()}


def slices(num_elements: int, *, members: Iterable[int]) -> dict[int, slice]:
    """Which part of the sum each member works out."""
    order = sorted(members)
    ends = [num_elements * k // len(order) for k in range(len(order) + 1)]
    return {member: slice(ends[k], ends[k + 1]) for k, member in enumerate(order)}
