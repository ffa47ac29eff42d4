"""The machine: GPU, host, fabric, storage, site, cluster."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt, model_validator

from gigafactory.describe.spec import Spec
from gigafactory.units import (
    YEAR_S,
    Bytes,
    BytesPerS,
    FlopsPerS,
    Joules,
    KgPerJ,
    Ratio,
    Seconds,
    Usd,
    UsdPerJ,
    Watts,
    WattsPerS,
)


class Precision(StrEnum):
    """The number format of the matrix multiplications."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    NVFP4 = "nvfp4"


class Gpu(Spec):
    """One accelerator (or, for a laptop, one worker's share of the processor)."""

    name: str
    memory_bytes: Bytes = Field(gt=0)
    memory_bandwidth_bytes_per_s: BytesPerS = Field(gt=0)
    peak_flops_per_s: dict[Precision, FlopsPerS] = Field(min_length=1)
    """Dense peak by precision, without structured sparsity."""
    tdp_w: Watts = Field(gt=0)
    scaleup_bandwidth_bytes_per_s: BytesPerS = Field(gt=0)
    """Per direction, inside the scale-up (NVLink) domain."""
    num_sms: PositiveInt = 132
    released: float = Field(default=2020.0, ge=2000.0, le=2100.0)
    """When hosts with its architecture first came, as a decimal year; software ripens from then."""
    kernels_of: str = ""
    """Measured GPU whose kernels stand for this one's; empty: the nearest by its rates."""
    source: str

    def peak(self, precision: Precision) -> float:
        """Dense peak FLOP/s in ``precision``; ValueError where the part has none."""
        try:
            return self.peak_flops_per_s[precision]
        except KeyError:
            have = ", ".join(self.peak_flops_per_s)
            raise ValueError(f"{self.name} has no {precision} peak; it has {have}") from None


class Host(Spec):
    """A server: GPUs, the NICs of the compute fabric, and what it draws and costs."""

    name: str
    gpu: Gpu
    num_gpus: PositiveInt
    num_nics: PositiveInt
    nic_bandwidth_bytes_per_s: BytesPerS = Field(gt=0)
    """Per NIC and direction, in the compute fabric."""
    scaleup_gpus: PositiveInt | None = None
    """GPUs in one NVLink domain where that is larger than the host (NVL72); default: the host."""
    dram_bytes: Bytes = Field(gt=0)
    dram_bandwidth_bytes_per_s: BytesPerS = Field(default=400e9, gt=0)
    """Of the whole host; two sockets with 8 channels of DDR5-4800 have 614 GB/s at the pins."""
    host_link_bandwidth_bytes_per_s: BytesPerS = Field(default=50e9, gt=0)
    """Between a GPU and its host, per direction; PCIe 5.0 x16 measures 47 to 52 GB/s."""
    nvme_bytes: Bytes = 0.0
    nvme_write_bandwidth_bytes_per_s: BytesPerS = 0.0
    rated_w: Watts = Field(gt=0)
    training_w: Watts = Field(gt=0)
    """Measured mean draw while training."""
    idle_w: Watts = Field(gt=0)
    price_usd: Usd = 0.0
    source: str

    @property
    def scaleup_domain_gpus(self) -> int:
        """GPUs that reach each other at scale-up bandwidth."""
        return self.scaleup_gpus or self.num_gpus


class FabricKind(StrEnum):
    """How the hosts are joined."""

    CLOS = "clos"
    """Rail-optimised folded Clos: local rank r of every host meets leaf group r."""
    LOOPBACK = "loopback"
    """All workers on one machine: no switch at all."""


class Fabric(Spec):
    """The scale-out network, by the part that repeats."""

    name: str
    kind: FabricKind
    num_switch_ports: PositiveInt = 1
    """Ports of one switch at ``port_bandwidth``, breakouts counted."""
    port_bandwidth_bytes_per_s: BytesPerS = Field(gt=0)
    num_tiers: PositiveInt | None = Field(default=None, le=8)
    """Tiers of switches; default: the fewest that reach every NIC."""
    oversubscription: float = Field(default=1.0, ge=1.0)
    """Down ports over up ports at the leaf."""
    hop_latency_s: Seconds = 1e-6
    bandwidth_efficiency: Ratio = Field(default=0.9, gt=0, le=1)
    """Share of line rate that large messages keep (congestion control, headers)."""
    switch_w: Watts = 0.0
    optic_w: Watts = 0.0
    """Per transceiver (two ends to an optical link)."""
    switch_price_usd: Usd = 0.0
    optic_price_usd: Usd = 0.0
    copper_price_usd: Usd = 0.0
    host_links_are_copper: bool = False
    dual_tor: bool = False
    """Every NIC is joined to two leaves, and one of them will do."""
    source: str


class Storage(Spec):
    """The checkpoint store, as the whole cluster sees it."""

    name: str
    write_bandwidth_bytes_per_s: BytesPerS = Field(gt=0)
    read_bandwidth_bytes_per_s: BytesPerS = Field(gt=0)
    capacity_bytes: Bytes = 0.0
    price_usd: Usd = 0.0
    power_w: Watts = 0.0
    source: str


class Battery(Spec):
    """A store of energy between the grid and the halls."""

    power_w: Watts = Field(gt=0)
    energy_j: Joules = Field(gt=0)


class Site(Spec):
    """Where it stands: power, cooling, tariff, carbon."""

    name: str
    pue: float = Field(ge=1.0)
    capacity_w: Watts | None = None
    """The most that it may draw."""
    battery: Battery | None = None
    ramp_w_per_s: WattsPerS | None = Field(default=None, gt=0)
    """How fast its draw may change; what the halls do faster the battery must take."""
    electricity_usd_per_j: UsdPerJ = Field(ge=0)
    carbon_kg_per_j: KgPerJ = Field(ge=0)
    build_usd: Usd = 0.0
    """Shell, power and cooling, if they are to be counted."""
    build_life_s: Seconds = Field(default=15 * YEAR_S, gt=0)
    """Straight-line depreciation of the building, which outlives the servers."""
    source: str


class Cluster(Spec):
    """Everything that is switched on together."""

    name: str
    num_hosts: PositiveInt
    """Hosts on the floor, hot spares included."""
    num_spare_hosts: int = Field(default=0, ge=0)
    host: Host
    hosts_per_rack: PositiveInt = 8
    hosts_per_pod: PositiveInt = 64
    """Hosts whose rails meet in the same leaves."""
    fabric: Fabric
    storage: Storage
    site: Site
    source: str

    @model_validator(mode="after")
    def _spares_leave_work(self) -> Cluster:
        if self.num_spare_hosts >= self.num_hosts:
            raise ValueError(
                f"{self.num_spare_hosts} spare hosts of {self.num_hosts} leave none to train; "
                "spares are counted within the hosts"
            )
        return self

    @property
    def num_gpus(self) -> int:
        """GPUs on the floor, spares included."""
        return self.num_hosts * self.host.num_gpus

    @property
    def num_training_gpus(self) -> int:
        """GPUs left for the job when the spares stand aside."""
        return (self.num_hosts - self.num_spare_hosts) * self.host.num_gpus
