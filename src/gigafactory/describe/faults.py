"""What breaks, how often, how it shows and how long the part stays away."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from gigafactory.describe.spec import Spec
from gigafactory.units import PerS, Ratio, Seconds


class FaultClass(StrEnum):
    """How a fault presents itself to the controller; the action follows from this."""

    HOST = "host"
    """The host is lost (Xid, ECC, kernel, power): evict, swap a spare."""
    PROCESS = "process"
    """The program died, the host is well: restart in place."""
    HANG = "hang"
    """Silence: no step, no error."""
    NETWORK = "network"
    """A NIC, cable or switch port: the host cannot take part."""
    CORRUPTION = "corruption"
    """Silent data corruption, found by replay."""
    PLANNED = "planned"
    """Maintenance announced beforehand: drain at a checkpoint."""


class Cause(Spec):
    """One cause of interruption, as a Poisson process per host."""

    name: str
    fault: FaultClass
    rate_per_s: PerS = Field(ge=0)
    """Per host."""
    detect_s: Seconds = Field(ge=0)
    source: str


class Repair(Spec):
    """Lognormal time until an evicted host is back, by its median and mean.

    Published repair times are heavy-tailed: the mean is several times the median.
    """

    median_s: Seconds = Field(gt=0)
    mean_s: Seconds = Field(gt=0)
    source: str

    @model_validator(mode="after")
    def _mean_is_not_below_median(self) -> Repair:
        if self.mean_s < self.median_s:
            raise ValueError(
                f"a mean of {self.mean_s:g} s below the median of {self.median_s:g} s fits no "
                "lognormal; the mean must be at least the median"
            )
        return self


class Faults(Spec):
    """The fault model of a fleet."""

    name: str
    causes: tuple[Cause, ...]
    job_rate_per_s: PerS = Field(default=0.0, ge=0)
    """Hazard of the job itself, whatever its size (software, storage, people)."""
    repair: Repair
    batch_share: Ratio = Field(default=0.0, ge=0, le=1)
    """Share of host faults that strike a whole group (a rack) at once."""
    batch_hosts: int = Field(default=8, ge=1)
    lemon_share: Ratio = Field(default=0.0, ge=0, lt=1)
    """Share of the hosts that are lemons."""
    lemon_factor: float = Field(default=1.0, ge=1)
    """How much more often a lemon fails; the fleet's mean rate stays as stated."""
    false_alarm_share: Ratio = Field(default=0.0, ge=0, lt=1)
    """Share of the alarms behind which there is no fault."""
    start_base_s: Seconds = Field(default=50.0, ge=0)
    start_per_gpu_s: Seconds = Field(default=0.0, ge=0)
    """Cold start of the job: base + per_gpu * GPUs (rendezvous, NCCL)."""
    source: str

    @property
    def rate_per_host_s(self) -> float:
        """All unplanned causes together, per host and second."""
        return sum(c.rate_per_s for c in self.causes if c.fault is not FaultClass.PLANNED)
