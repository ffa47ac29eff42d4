"""What the training programs can run, as data: schedules, shardings, axes.

Sources: Megatron-Core's argument checks (megatron/training/arguments.py) and its guide to
Megatron-FSDP (tensor, expert and context parallel, no pipeline); torchtitan's ParallelDims,
pipeline_llm and the schedules of torch.distributed.pipelining (single-stage schedules have one
stage a rank, the others at least two; FSDP under a pipeline keeps parameters gathered for the step
unless told otherwise, which moves and holds what ZeRO-1 does; DDP only by itself);
run/engines/ours.py; ZB-H1 (arXiv:2401.10241) and DualPipe (arXiv:2412.19437) as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from gigafactory.describe.aim import EngineKind
from gigafactory.describe.layout import Recompute, Schedule, Sharding


class Pipe(Enum):
    """Beside which pipelines a sharding runs."""

    ANY = "with or without a pipeline"
    NONE = "without a pipeline"
    SOME = "under a pipeline"
    ALONE = "without any other axis"


@dataclass(frozen=True)
class Ability:
    """One training program."""

    program: str
    schedules: Mapping[Schedule, tuple[int, int]]
    """Virtual stages a rank that each schedule may have, least and most."""
    shardings: Mapping[Sharding, Pipe]
    recomputes: frozenset[Recompute] = frozenset(Recompute)
    recomputes_some_layers: bool = False
    offloads: frozenset[Sharding] = frozenset()
    """Shardings whose optimizer may live on the host."""
    etp_is_one_or_tp: bool = False
    ep_takes_whole_axes: bool = False
    """ep swallows cp (and tp where etp is 1) whole before it takes of dp."""
    has_pipeline: bool = True
    has_context: bool = True
    splits_experts: bool = True
    """etp may be above 1."""


_MANY = 10**6
ABILITIES: Mapping[EngineKind, Ability] = MappingProxyType({
    EngineKind.MEGATRON: Ability(
        program="Megatron-Core",
        schedules={Schedule.ONE_F_ONE_B: (1, _MANY)},
        shardings={
            Sharding.NONE: Pipe.ANY, Sharding.ZERO1: Pipe.ANY, Sharding.ZERO2: Pipe.NONE,
            Sharding.FSDP: Pipe.NONE, Sharding.HSDP: Pipe.NONE,
        },
        recomputes_some_layers=True,
        offloads=frozenset({Sharding.ZERO1}),
    ),
    EngineKind.TORCHTITAN: Ability(
        program="torchtitan",
        schedules={
            Schedule.ONE_F_ONE_B: (1, _MANY), Schedule.ZERO_BUBBLE: (2, _MANY),
            Schedule.DUAL_V: (1, 1),
        },
        shardings={
            Sharding.NONE: Pipe.ALONE, Sharding.ZERO1: Pipe.SOME,
            Sharding.FSDP: Pipe.ANY, Sharding.HSDP: Pipe.ANY,
        },
        etp_is_one_or_tp=True,
        ep_takes_whole_axes=True,
    ),
    EngineKind.OURS: Ability(
        program="our trainer",
        schedules={Schedule.ONE_F_ONE_B: (1, 1)},
        shardings={
            Sharding.NONE: Pipe.NONE, Sharding.ZERO1: Pipe.NONE, Sharding.ZERO2: Pipe.NONE,
            Sharding.FSDP: Pipe.NONE, Sharding.HSDP: Pipe.NONE,
        },
        recomputes=frozenset({Recompute.NONE}),
        has_pipeline=False,
        has_context=False,
        splits_experts=False,
    ),
    EngineKind.RESEARCH: Ability(
        program="the code of the papers",
        schedules={
            Schedule.ONE_F_ONE_B: (1, _MANY), Schedule.ZERO_BUBBLE: (1, 1),
            Schedule.DUAL: (1, 1), Schedule.DUAL_V: (1, 1),
        },
        shardings={Sharding.NONE: Pipe.ANY, Sharding.ZERO1: Pipe.ANY},
    ),
})  # fmt: skip

#: The programs that ``any`` stands for.
_USUAL = (EngineKind.MEGATRON, EngineKind.TORCHTITAN, EngineKind.OURS)


def programs(kind: EngineKind) -> tuple[EngineKind, ...]:
    """The programs of which one must be able to run a layout."""
    return _USUAL if kind is EngineKind.ANY else (kind,)
