"""What data-parallel ranks share out, and what they tell each other about it.

Legend
    R    ranks that see the same dense parameters, dp*cp;  S  ranks that share one copy of the state
    V    bytes of the parameters on a rank (16 bits), G of their gradients
    ZeRO-1 and DDP   scatter G beside the last backward, gather V beside the first forward
                     (arXiv:1910.02054; DDP moves as much)
    ZeRO-2           scatter G every microbatch
    FSDP (ZeRO-3)    gather V twice and scatter 16-bit gradients once, every microbatch
    HSDP             the same within S ranks, then an all_reduce of the gradients a rank owns
                     over the R/S copies (arXiv:2304.11277 section 3.2.2)

Experts have fewer replicas: tp*R/(ep*etp), and of those tp*S/(ep*etp) share. Parameters are those
of the first stage, which holds the input table. A tied table lives on the first and on the last
stage: once a step the two add up their gradients, beside nothing (Megatron-LM).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.collectives import Network, all_gather_s, group
from gigafactory.cost.columns import Columns, Floats, Ints
from gigafactory.cost.engine import Engine
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.pipeline import parameter_copies
from gigafactory.describe.layout import Schedule, Sharding
from gigafactory.describe.model import Model


@dataclass(frozen=True)
class Traffic:
    """Of one mesh, were nothing hidden; shapes (num_layouts,)."""

    gather_s: Floats
    """All parameters of a rank in 16 bits, within the ranks that share; as long as scattering."""
    scatter_s: Floats
    """All gradients of a rank."""
    between_s: Floats
    """all_reduce of owned 16-bit gradients between the copies of HSDP."""
    tied_s: Floats
    """Gradient of a tied table between first and last stage."""
    own_parameters: Floats
    """Parameters whose optimizer state a rank owns."""

    def take(self, which: Ints) -> Traffic:
        """The rows that ``which`` points at."""
        return Traffic(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def rank_parameters(model: Model, columns: Columns) -> tuple[Floats, Floats]:
    """(dense, expert) parameters on a rank of the first stage, which holds the embedding."""
    p = count_parameters(model)
    layers = p.dense_total - p.embedding - p.head - p.final_norm
    copies = parameter_copies(columns)
    # with one stage, or both ends of the pipeline on a rank, embedding and head share it
    ends_meet = (columns.pp == 1) | columns.runs(Schedule.DUAL, Schedule.DUAL_V)
    tables = np.where(ends_meet, p.embedding + p.head, p.embedding) + p.final_norm
    dense = (copies * layers / columns.pp + tables) / columns.tp
    experts = copies * p.expert_total / (columns.pp * columns.ep * columns.etp)
    return dense, np.asarray(experts, dtype=np.float64)


def expert_sharers(columns: Columns) -> Floats:
    """Ranks that share one copy of an expert's state."""
    own = columns.ep * columns.etp
    return np.asarray(np.maximum(columns.tp * columns.sharing / own, 1.0), dtype=np.float64)


def own_parameters(model: Model, columns: Columns) -> Floats:
    """Parameters whose optimizer state a rank owns; shape (num_layouts,)."""
    dense, experts = rank_parameters(model, columns)
    shared = ~columns.shards(Sharding.NONE)
    return np.where(
        shared, dense / columns.sharing + experts / expert_sharers(columns), dense + experts
    )


def traffic(model: Model, columns: Columns, *, net: Network, constants: Calibration) -> Traffic:
    """What the ranks of a mesh have to move in a step or a microbatch."""
    c = constants
    dense, experts = rank_parameters(model, columns)
    sharing, alike = columns.sharing, expert_sharers(columns)
    replicas, own = columns.dp * columns.cp, columns.ep * columns.etp
    everyone = group(sharing, stride=columns.tp, net=net)
    peers = group(alike, stride=own, net=net)

    def moved_s(number_bytes: float) -> Floats:
        of_dense = all_gather_s(dense * number_bytes, members=everyone, net=net)
        of_experts = all_gather_s(experts * number_bytes, members=peers, net=net)
        return np.asarray(of_dense * (sharing > 1) + of_experts * (alike > 1))

    copies = replicas / sharing
    dense_copies = group(copies, stride=columns.tp * sharing, net=net)
    expert_copies = group(copies, stride=own * alike, net=net)
    between = all_gather_s(dense / sharing * c.sixteen_bit_bytes, members=dense_copies, net=net)
    between = between + all_gather_s(
        experts / alike * c.sixteen_bit_bytes, members=expert_copies, net=net
    )
    return Traffic(
        gather_s=moved_s(c.sixteen_bit_bytes),
        scatter_s=moved_s(c.gradient_bytes),
        between_s=np.where(copies > 1, 2 * between, 0.0),
        tied_s=tied_exchange_s(model, columns, net=net, constants=c),
        own_parameters=own_parameters(model, columns),
    )


def tied_exchange_s(
    model: Model, columns: Columns, *, net: Network, constants: Calibration
) -> Floats:
    """all_reduce of a tied table's gradient over the two stages that hold it."""
    apart = (columns.pp > 1) & ~columns.runs(Schedule.DUAL, Schedule.DUAL_V)
    if not model.tied_embeddings:
        return np.zeros(len(columns))
    stage = columns.tp * columns.cp * columns.dp
    pair = group(2.0, stride=stage * np.maximum(columns.pp - 1, 1), net=net)
    table = model.vocab * model.hidden / columns.tp * constants.gradient_bytes
    return np.where(apart, 2 * all_gather_s(table, members=pair, net=net), 0.0)


def dp_exposed_s(
    moved: Traffic,
    *,
    columns: Columns,
    count: Floats,
    forward_s: Floats,
    backward_s: Floats,
    engine: Engine,
    constants: Calibration,
) -> Floats:
    """Exposed data-parallel traffic of a step of ``count`` microbatches; shape (num_layouts,).

    ``forward_s`` and ``backward_s``: one microbatch on a mean stage, what the traffic runs beside.
    """

    def shown(comm: Floats, beside: Floats) -> Floats:
        if not engine.overlap_dp:
            return comm
        hidden = np.minimum(comm, constants.overlap_window * beside)
        return comm - hidden * (1 - constants.overlap_contention)

    gathered = shown(moved.gather_s, forward_s)
    # groups that are copies of each other add up what they scattered, in the width of gradients
    wider = constants.gradient_bytes / constants.sixteen_bit_bytes
    scattered = shown(moved.scatter_s + wider * moved.between_s, backward_s)
    times = np.where(columns.shards(Sharding.ZERO2), count, 1.0)
    every = columns.shards(Sharding.FSDP, Sharding.HSDP)
    if not every.any():
        return times * scattered + gathered
    back = shown(2 * moved.gather_s + moved.between_s, backward_s)
    return np.where(every, count * (gathered + back), times * scattered + gathered)
