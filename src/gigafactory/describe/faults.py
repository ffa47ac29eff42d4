"""What breaks, how often, how it shows and how long the part stays away."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from gigafactory.describe.spec import Spec
from gigafactory.units import DAY_S, PerS, Ratio, Seconds


class FaultClass(StrEnum):
    """How a fault presents itself to the controller; the action follows from this."""

    HOST = "host"
    """The host is lost (Xid, ECC, kernel, power): evict, swap a spare."""
    CONTAINED = "contained"
    """A process died of an error that the part contained (Xid 94): exchange the host later."""
    FAILING = "failing"
    """Nothing stopped yet, and the host must soon be exchanged (disk, fan)."""
    PROCESS = "process"
    """The program died, the host is well: restart in place."""
    HANG = "hang"
    """Silence: no step, no error."""
    NETWORK = "network"
    """A NIC, cable or switch port: the host cannot take part."""
    FLAP = "flap"
    """A link is down for seconds and comes back: everybody waits, nobody is exchanged."""
    CAPACITY = "capacity"
    """Links above the leaves are gone: all goes on, more slowly."""
    CORRUPTION = "corruption"
    """Silent data corruption: an anomaly shows after ``detect``, a replay finds the host."""
    SLOW = "slow"
    """The host computes slowly, and all wait for it."""
    STORAGE = "storage"
    """The checkpoint store is slow, or does not answer."""
    CONTROL = "control"
    """The control plane is out: nothing is seen and nothing can be asked for; training goes on."""
    PLANNED = "planned"
    """Maintenance announced beforehand: drain at a checkpoint."""


class Scope(StrEnum):
    """The unit that a rate counts, and that a fault takes with all its hosts."""

    HOST = "host"
    LINK = "link"
    """One NIC's way to its leaf."""
    LEAF = "leaf"
    """A leaf switch: one rail of all hosts of a pod."""
    UPLINK = "uplink"
    """A link between switches: capacity, and no host."""
    SPINE = "spine"
    """A switch above the leaves: capacity, and no host."""
    RACK = "rack"
    """Power feed or cooling of one rack."""
    POD = "pod"
    """Power or cooling of the hosts that share leaves."""
    SITE = "site"


class Mode(Spec):
    """One kind of repair (a reset, a part that must come): a lognormal and its share."""

    share: Ratio = Field(gt=0, le=1)
    median_s: Seconds = Field(gt=0)
    mean_s: Seconds = Field(gt=0)

    @model_validator(mode="after")
    def _mean_is_not_below_median(self) -> Mode:
        _check_lognormal(self.median_s, self.mean_s)
        return self


class Repair(Spec):
    """Time until an evicted host is back, by its median and mean: lognormal, or several of them.

    Published repair times are heavy-tailed: the mean is several times the median. One lognormal
    with the median and mean of the trace is too heavy beyond its 99 % and too light before, so
    that ``modes`` may give several: hosts are reset or reseated, exchanged, or wait for parts.
    """

    median_s: Seconds = Field(gt=0)
    mean_s: Seconds = Field(gt=0)
    modes: tuple[Mode, ...] = ()
    """Whose mixture has that median and mean; empty: one lognormal."""
    season_correlation: Ratio = Field(default=0.0, ge=0, lt=1)
    """How alike the modes of repairs close in time are: parts that lack, lack for all."""
    source: str

    @model_validator(mode="after")
    def _modes_are_those_of_the_whole(self) -> Repair:
        _check_lognormal(self.median_s, self.mean_s)
        if not self.modes:
            return self
        shares = math.fsum(mode.share for mode in self.modes)
        if abs(shares - 1.0) > 1e-6:
            raise ValueError(f"the shares of the modes are {shares:g} together; they must be 1")
        mean_s = math.fsum(mode.share * mode.mean_s for mode in self.modes)
        if abs(mean_s / self.mean_s - 1.0) > 0.02:
            raise ValueError(
                f"the modes have a mean of {mean_s:g} s, the whole {self.mean_s:g} s; they must "
                "agree within 2 %"
            )
        return self


def _check_lognormal(median_s: float, mean_s: float) -> None:
    if mean_s < median_s:
        raise ValueError(
            f"a mean of {mean_s:g} s below the median of {median_s:g} s fits no lognormal; the "
            "mean must be at least the median"
        )


class Cause(Spec):
    """One cause of interruption, as a Poisson process for each unit of its scope."""

    name: str
    fault: FaultClass
    scope: Scope = Scope.HOST
    rate_per_s: PerS = Field(ge=0)
    """For each unit of ``scope``."""
    detect_s: Seconds = Field(ge=0)
    lasts: Repair | None = None
    """How long it lasts where it ends by itself (a flap, a slow spell, a store that is out)."""
    slowdown: float = Field(default=1.0, ge=1)
    """Times the usual time, for SLOW and STORAGE; STORAGE with 1 does not answer at all."""
    repair: Repair | None = None
    """How long its host stays away, where that is not as for the others."""
    liable_share: Ratio = Field(default=1.0, gt=0, le=1)
    """Only so many of the hosts ever have it; the fleet's mean rate stays as stated."""
    present_share: Ratio = Field(default=0.0, ge=0, lt=1)
    """So many of the hosts have it from the beginning."""
    source: str

    @property
    def interrupts(self) -> bool:
        """Whether it stops the gang unannounced."""
        return self.fault in _INTERRUPTING


class Faults(Spec):
    """The fault model of a fleet."""

    name: str
    causes: tuple[Cause, ...]
    job_rate_per_s: PerS = Field(default=0.0, ge=0)
    """Hazard of the job itself, whatever its size (software, storage, people)."""
    repair: Repair
    batch_share: Ratio = Field(default=0.0, ge=0, le=1)
    """Share of the hosts lost to host and network faults that are lost together with others."""
    batch_hosts: int = Field(default=8, ge=1)
    """The largest batch; one of 2 is the commonest."""
    lemon_share: Ratio = Field(default=0.0, ge=0, lt=1)
    """Share of the hosts that are lemons."""
    lemon_factor: float = Field(default=1.0, ge=1)
    """How much more often a lemon fails; the fleet's mean rate stays as stated."""
    false_alarm_share: Ratio = Field(default=0.0, ge=0, lt=1)
    """Share of the alarms behind which there is no fault."""
    false_anomaly_share: Ratio = Field(default=0.0, ge=0, lt=1)
    """Share of the anomalies of loss or gradient that are odd text, and no corruption."""
    frailty_shape: float | None = Field(default=None, gt=0)
    """Shape of the gamma law of the hosts' rates; the smaller, the more a few hosts fail."""
    repeat_factor: float = Field(default=1.0, ge=1)
    """Each fault of a host multiplies its rate by this, at most six times."""
    quarantine_faults: int | None = Field(default=None, ge=1)
    """A host with so many faults within ``quarantine_window_s`` is exchanged for a new one."""
    quarantine_window_s: Seconds = Field(default=30 * DAY_S, gt=0)
    fano_factor: float = Field(default=1.0, ge=1)
    """Variance over mean of the hosts lost a day; 1: Poisson, above: good days and bad days."""
    month_fano_factor: float = Field(default=1.0, ge=1)
    """The same of 30 days: good months and bad months."""
    warm_start_base_s: Seconds = Field(default=5.0, ge=0)
    warm_start_per_gpu_s: Seconds = Field(default=0.25e-3, ge=0)
    """New communicators among processes that stayed: base + per_gpu * GPUs."""
    regroup_s: Seconds | None = Field(default=None, ge=0)
    """Replicas that leave or join hold the others up for so long; default: warm_start_base."""
    start_base_s: Seconds = Field(default=50.0, ge=0)
    start_per_gpu_s: Seconds = Field(default=0.0, ge=0)
    """Cold start of the job: base + per_gpu * GPUs (rendezvous, NCCL)."""
    source: str

    def start_s(self, num_gpus: Any) -> Any:
        """Cold start of a job (a number or a column): processes, rendezvous, communicators."""
        return self.start_base_s + self.start_per_gpu_s * num_gpus

    def warm_start_s(self, num_gpus: Any) -> Any:
        """Start of a job whose processes stayed."""
        return self.warm_start_base_s + self.warm_start_per_gpu_s * num_gpus


_INTERRUPTING = frozenset(
    {
        FaultClass.HOST,
        FaultClass.CONTAINED,
        FaultClass.PROCESS,
        FaultClass.HANG,
        FaultClass.NETWORK,
        FaultClass.CORRUPTION,
    }
)
