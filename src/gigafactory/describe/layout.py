"""A layout: mesh, microbatch, schedule, recompute, sharding, precision."""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import NonNegativeInt, PositiveInt, model_validator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.spec import Spec

EIGHT_BIT_UNIT = 16
"""What is multiplied in eight bits has rows and columns in whole multiples of this."""


class Recompute(StrEnum):
    """Which activations are thrown away in forward and computed again in backward."""

    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"


class Sharding(StrEnum):
    """What the data-parallel ranks share out among themselves."""

    NONE = "none"
    """Plain DDP: every rank holds everything."""
    ZERO1 = "zero1"
    """Optimizer state."""
    ZERO2 = "zero2"
    """Gradients and optimizer state."""
    FSDP = "fsdp"
    """Parameters, gradients and optimizer state (ZeRO-3)."""
    HSDP = "hsdp"
    """As FSDP inside groups of ``shard`` ranks; the groups are copies of each other."""


class Schedule(StrEnum):
    """In which order a pipeline works on its microbatches."""

    ONE_F_ONE_B = "1f1b"
    """One forward, one backward; interleaved where vpp is above 1 (arXiv:2104.04473)."""
    ZERO_BUBBLE = "zero_bubble"
    """ZB-H1: gradients of weights fill the bubble (arXiv:2401.10241)."""
    DUAL = "dual"
    """DualPipe: microbatches enter at both ends, parameters twice (arXiv:2412.19437)."""
    DUAL_V = "dual_v"
    """DualPipeV: the same on half the ranks, each with both ends of a V of 2 x pp stages."""


class Layout(Spec):
    """How one job lies on ``num_gpus`` ranks: tp * pp * cp * dp of them.

    Expert parallelism follows parallel folding (arXiv:2504.14960): the experts of a pipeline
    stage are spread over ``ep`` groups of ``etp`` ranks, carved out of tp * cp * dp.
    """

    tp: PositiveInt = 1
    pp: PositiveInt = 1
    vpp: PositiveInt = 1
    """Virtual stages a rank (interleaved schedule); 1 = plain."""
    schedule: Schedule = Schedule.ONE_F_ONE_B
    cp: PositiveInt = 1
    dp: PositiveInt = 1
    ep: PositiveInt = 1
    etp: PositiveInt = 1
    micro_batch: PositiveInt = 1
    """Sequences in a microbatch of one data-parallel rank."""
    recompute: Recompute = Recompute.NONE
    recompute_layers: NonNegativeInt = 0
    """With recompute full: so many layers of each virtual stage; 0 = all of them."""
    sharding: Sharding = Sharding.ZERO1
    shard: NonNegativeInt = 0
    """With sharding zero1 or hsdp: ranks of dp x cp that share one copy; 0 = all of them."""
    offload: bool = False
    """Optimizer state and step live on the host, behind PCIe."""
    precision: Precision = Precision.BF16

    @property
    def num_gpus(self) -> int:
        """Ranks in the mesh."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def replica_gpus(self) -> int:
        """Ranks that together hold one replica of the model and can compute without the others.

        Experts may be spread over several data-parallel ranks, which then stand or fall together.
        """
        return self.pp * math.lcm(self.tp * self.cp, self.ep * self.etp)

    @model_validator(mode="after")
    def _axes_fit_the_mesh(self) -> Layout:
        wrong = self._mesh_faults()
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _mesh_faults(self) -> list[str]:
        inner, replicas = self.tp * self.cp * self.dp, self.cp * self.dp
        grouped = self.sharding in (Sharding.ZERO1, Sharding.HSDP)
        full = self.recompute is Recompute.FULL
        rules = (
            (inner % (self.ep * self.etp) == 0,
             f"ep {self.ep} x etp {self.etp} does not divide tp x cp x dp = {inner}"),
            (self.vpp == 1 or self.pp > 1, f"vpp {self.vpp} needs pp above 1"),
            (self.pp > 1 or self.schedule is Schedule.ONE_F_ONE_B,
             f"schedule {self.schedule} needs pp above 1"),
            (self.schedule not in (Schedule.DUAL, Schedule.DUAL_V) or self.vpp == 1,
             f"schedule {self.schedule} has its own two stages a rank; vpp must be 1"),
            (not self.shard or grouped, f"shard {self.shard} needs sharding zero1 or hsdp"),
            (replicas % max(self.shard, 1) == 0,
             f"shard {self.shard} does not divide dp x cp = {replicas}"),
            (not self.recompute_layers or full,
             f"recompute_layers {self.recompute_layers} needs recompute full"),
        )  # fmt: skip
        return [text for holds, text in rules if not holds]
