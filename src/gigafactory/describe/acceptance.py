"""What a host must be able to do before it joins, and what it is asked and answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from gigafactory.describe.cluster import Precision
from gigafactory.describe.measured import DeviceKind
from gigafactory.describe.rank import Told
from gigafactory.describe.spec import Spec
from gigafactory.units import BytesPerS, Ratio, Seconds


class Acceptance(Spec):
    """How hosts are examined before they join; None: what is usual for the device.

    Hosts with GPUs are held to their catalog entry and to their peers: 97 % of the median, as
    published for clusters of H100. Processors are shared with who knows whom, and catalog entries
    for them are assumptions: there only a host far below its peers is left out.
    """

    enabled: bool = True
    catalog_share: Ratio | None = Field(default=None, ge=0, le=1)
    """Least share of the rates in its catalog entry: GEMM, memory, network; default 0.55 on GPUs,
    where good H100 hosts measure 0.65 or more of each, 0 on processors."""
    peers_share: Ratio | None = Field(default=None, ge=0, le=1)
    """Least share of the median of all hosts; default 0.97 on GPUs, 0.25 on processors."""
    disk_bandwidth_bytes_per_s: BytesPerS = Field(default=1e6, ge=0)
    """Least rate at which a host writes into the run's folder."""
    clock_offset_s: Seconds = Field(default=2.0, gt=0)
    """The most that its clock may differ from the driver's."""


class Talk(Spec):
    """One all_reduce between two hosts."""

    rank: NonNegativeInt
    address: str
    """Of the host of rank 0."""
    port: PositiveInt


class Exam(Spec):
    """What one host is asked."""

    num_gpus: PositiveInt
    """Where the host has so many CUDA devices they are measured, else its processor, as the
    training program chooses."""
    precision: Precision
    num_threads: PositiveInt
    folder: str
    """Of the run; a few MiB are written there and read back."""
    talks: tuple[Talk | None, ...]
    """One a round; None: it has no partner in this round."""
    timeout_s: float = Field(default=20.0, gt=0)
    """For a partner that does not come."""


class Fitness(Told):
    """What it can do: the best of several short tries, the worst of its GPUs."""

    kind: Literal["fitness"] = "fitness"
    device: DeviceKind
    gemm_flops_per_s: float = Field(gt=0)
    memory_bytes_per_s: float = Field(gt=0)
    disk_bytes_per_s: float = Field(ge=0)
    """0: what was written could not be read back."""
    talks_bytes_per_s: tuple[float | None, ...] = ()
    """Bus bandwidth of each round; None: nothing came through, or no partner."""
