"""Count the factory: machines, network, what they can do. Prices and watts are in cost/bill.py."""

from __future__ import annotations

from gigafactory.describe.cluster import Cluster, Gpu
from gigafactory.describe.fabric import (
    Wiring,
    leaf_ports,
    num_leaves,
    num_pods,
    ports_per_nic,
    wiring,
)
from gigafactory.describe.figures import Figure, under
from gigafactory.describe.job import Job
from gigafactory.describe.serve import FleetStudy
from gigafactory.describe.study import Study
from gigafactory.units import show


def count(study: Study | FleetStudy) -> tuple[Figure, ...]:
    """Everything that can be counted without a price; InputError for an impossible network."""
    cluster = study.cluster
    return (
        *_machines(cluster),
        *_network(cluster, wiring(cluster)),
        *_capability(cluster),
        *(_job(study.job, cluster.host.gpu) if isinstance(study, Study) else ()),
    )


def _machines(cluster: Cluster) -> list[Figure]:
    hosts, host, spares = cluster.num_hosts, cluster.host, cluster.num_spare_hosts
    figure = under("Machines", source=cluster.source)
    domains = -(-cluster.num_gpus // host.scaleup_domain_gpus)
    return [
        figure("num_hosts", hosts, f"hosts ({host.name})", "stated, hot spares included"),
        figure("num_spare_hosts", spares, "of these hot spares", "stated"),
        figure(
            "num_gpus", cluster.num_gpus, f"GPUs ({host.gpu.name})",
            f"{hosts:,} hosts x {host.num_gpus} GPUs",
        ),
        figure(
            "num_training_gpus", cluster.num_training_gpus, "GPUs that train",
            f"({hosts:,} - {spares:,}) hosts x {host.num_gpus} GPUs",
        ),
        figure(
            "num_scaleup_domains", domains, "scale-up (NVLink) domains",
            f"ceil({cluster.num_gpus:,} GPUs / {host.scaleup_domain_gpus})",
        ),
        figure(
            "num_racks", -(-hosts // cluster.hosts_per_rack), "racks of hosts",
            f"ceil({hosts:,} / {cluster.hosts_per_rack})",
        ),
        figure(
            "num_pods", num_pods(cluster), "pods (hosts under the same leaves)",
            f"ceil({hosts:,} / {cluster.hosts_per_pod})",
        ),
        figure("num_rails", host.num_nics, "rails", "one for each NIC of a host"),
    ]  # fmt: skip


def _network(cluster: Cluster, wires: Wiring) -> list[Figure]:
    fabric, tiers = cluster.fabric, range(1, len(wires.num_switches) + 1)
    if not tiers:
        return []
    figure = under(f"Network ({fabric.name})", source=fabric.source)
    switches = [
        figure(
            f"num_switches_tier_{tier}", wires.num_switches[tier - 1],
            f"switches in tier {tier} ({_tier_name(tier, len(tiers))})",
            _switch_formula(cluster, wires, tier),
        )
        for tier in tiers
    ]  # fmt: skip
    links = [
        figure(
            f"num_links_tier_{tier}", wires.num_links[tier - 1],
            f"links below tier {tier}", _link_formula(cluster, wires, tier),
        )
        for tier in tiers
    ]  # fmt: skip
    num_links = sum(wires.num_links)
    return [
        figure("num_tiers", len(tiers), "tiers of switches", _tiers_formula(cluster)),
        *switches,
        figure("num_switches", sum(wires.num_switches), "switches", _sum(wires.num_switches)),
        *links,
        figure("num_links", num_links, "links", _sum(wires.num_links)),
        figure(
            "num_optics", wires.num_optics, "transceivers, two to an optical link",
            f"2 x ({num_links:,} links - {wires.num_copper:,} of copper)",
        ),
    ]  # fmt: skip


def _tiers_formula(cluster: Cluster) -> str:
    if cluster.fabric.num_tiers is not None:
        return "stated"
    k, down = cluster.fabric.num_switch_ports, leaf_ports(cluster.fabric)[0]
    return f"fewest T with {down} x {k // 2}^(T-2) x {k} >= NIC links (one tier: {k})"


def _switch_formula(cluster: Cluster, wires: Wiring, tier: int) -> str:
    k, last = cluster.fabric.num_switch_ports, len(wires.num_switches)
    links = wires.num_links[tier - 1]
    if last == 1:
        return f"one switch of {k} ports holds all {links:,} links"
    if tier == 1:
        each = num_leaves(cluster) // num_pods(cluster)
        down = leaf_ports(cluster.fabric)[0]
        return (
            f"{num_pods(cluster):,} pods x {each} leaves ({cluster.host.num_nics} rails of "
            f"{cluster.hosts_per_pod} hosts, {down} ports down a leaf)"
        )
    return f"ceil({links:,} links / {k if tier == last else k // 2} ports)"


def _link_formula(cluster: Cluster, wires: Wiring, tier: int) -> str:
    if tier == 1:
        several = f" x {ports_per_nic(cluster)} ports" if ports_per_nic(cluster) > 1 else ""
        return f"{cluster.num_hosts:,} hosts x {cluster.host.num_nics} NICs{several}"
    down, up = leaf_ports(cluster.fabric)
    return f"{wires.num_links[0]:,} NIC links x {up} / {down} (ports up / ports down of a leaf)"


def _capability(cluster: Cluster) -> list[Figure]:
    hosts, host, gpu = cluster.num_hosts, cluster.host, cluster.host.gpu
    gpus, nics = (cluster.num_gpus, "GPUs"), (hosts * host.num_nics, "NICs")
    peaks = [
        _total(gpus, f"peak_{p.value}_flops_per_s", peak, f"dense peak {p.value}", gpu.source)
        for p, peak in gpu.peak_flops_per_s.items()
    ]
    memory_rate = gpu.memory_bandwidth_bytes_per_s
    nic_rate, dram, nvme = host.nic_bandwidth_bytes_per_s, host.dram_bytes, host.nvme_bytes
    each = (hosts, "hosts")
    return [
        *peaks,
        _total(gpus, "gpu_memory_bytes", gpu.memory_bytes, "GPU memory", gpu.source),
        _total(
            gpus, "gpu_memory_bandwidth_bytes_per_s", memory_rate,
            "GPU memory bandwidth", gpu.source,
        ),
        _total(nics, "nic_bandwidth_bytes_per_s", nic_rate, "bandwidth of all NICs", host.source),
        _total(each, "dram_bytes", dram, "host memory", host.source),
        _total(each, "nvme_bytes", nvme, "local flash", host.source),
    ]  # fmt: skip


def _total(of: tuple[int, str], key: str, each: float, label: str, source: str) -> Figure:
    num, noun = of
    unit = next(u for suffix, u in _UNITS.items() if key.endswith(suffix))
    figure = under("What it can do", source=source, unit=unit)
    return figure(key, num * each, label, f"{num:,} {noun} x {show(each, unit)}")


def _job(job: Job, gpu: Gpu) -> list[Figure]:
    source = f"the study: {job.kind.value} in {job.precision.value} on {gpu.name}"
    figure = under("The job", source=source)
    return [
        figure(
            "tokens_per_step", job.tokens_per_step, "tokens a step",
            f"{job.global_batch:,} sequences x {job.seq_len:,} tokens",
        ),
        figure(
            "num_steps", job.num_steps, "optimizer steps",
            f"ceil({job.tokens:.4g} tokens / {job.tokens_per_step:,} a step)",
        ),
    ]  # fmt: skip


def _tier_name(tier: int, tiers: int) -> str:
    if tier == 1:
        return "leaf"
    return "core" if tier == tiers > 2 else "spine"


def _sum(parts: tuple[int, ...]) -> str:
    return " + ".join(f"{part:,}" for part in parts)


_UNITS = {"_flops_per_s": "FLOP/s", "_bytes_per_s": "B/s", "_bytes": "B"}
