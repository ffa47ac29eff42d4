"""A layout: mesh, microbatch, schedule, recompute, sharding, precision."""

from __future__ import annotations

from enum import StrEnum

from pydantic import PositiveInt, model_validator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.spec import Spec


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
    FSDP = "fsdp"
    """Parameters, gradients and optimizer state (ZeRO-3)."""


class Layout(Spec):
    """How one job lies on ``num_gpus`` ranks: tp * pp * cp * dp of them.

    Expert parallelism follows parallel folding (arXiv:2504.14960): the experts of a pipeline
    stage are spread over ``ep`` groups of ``etp`` ranks, carved out of tp * cp * dp.
    """

    tp: PositiveInt = 1
    pp: PositiveInt = 1
    vpp: PositiveInt = 1
    """Virtual stages a rank (interleaved schedule); 1 = plain 1F1B."""
    cp: PositiveInt = 1
    dp: PositiveInt = 1
    ep: PositiveInt = 1
    etp: PositiveInt = 1
    micro_batch: PositiveInt = 1
    """Sequences in a microbatch of one data-parallel rank."""
    recompute: Recompute = Recompute.NONE
    sharding: Sharding = Sharding.ZERO1
    precision: Precision = Precision.BF16

    @property
    def num_gpus(self) -> int:
        """Ranks in the mesh."""
        return self.tp * self.pp * self.cp * self.dp

    @model_validator(mode="after")
    def _experts_fit_the_mesh(self) -> Layout:
        inner = self.tp * self.cp * self.dp
        if inner % (self.ep * self.etp):
            raise ValueError(
                f"ep {self.ep} x etp {self.etp} does not divide tp x cp x dp = {inner}"
            )
        if self.vpp > 1 and self.pp == 1:
            raise ValueError(f"vpp {self.vpp} needs pp above 1")
        return self
