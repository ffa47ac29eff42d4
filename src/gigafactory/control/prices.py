"""What each way to go on takes in a study's job: one place for the brain and for the twin.

Legend
    B       bytes of the whole state: 14 a parameter (bf16 parameter, fp32 master and two moments)
    n, N    GPUs and hosts of the job
    Lam     failures that only the store mends, per second

A host keeps its own state in its memory, and the copy of another host's (Gemini, SOSP 2023). Hosts
that stay take theirs over PCIe; one that steps in gets it from the keeper over its NICs.
"""

from __future__ import annotations

import math

from gigafactory.control.config import Prices
from gigafactory.cost.checkpoint import CHECKPOINT_BYTES_PER_PARAMETER, stall_s
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.reliability import daly_interval_s
from gigafactory.cost.tiers import tier_intervals_s
from gigafactory.describe.errors import ImpossibleError
from gigafactory.describe.exposure import (
    hosts_together,
    interruptions_per_s,
    losses_per_host_s,
    stops_job,
    strikes_per_s,
)
from gigafactory.describe.faults import Cause, FaultClass
from gigafactory.describe.layout import Layout
from gigafactory.describe.policy import Recovery
from gigafactory.describe.study import Study
from gigafactory.units import HOUR_S

#: A store that nothing is known to need is written to this often all the same: what nobody foresaw
#: would cost as much again. An assumption.
LONGEST_INTERVAL_S = 4 * HOUR_S
#: Copies may take this share of a host's memory.
_MEMORY_SHARE = 0.5
_NEVER_S = 1e12
#: What takes a host, and with it all that the host kept.
_LOST = frozenset({FaultClass.HOST, FaultClass.NETWORK})
#: What leaves every host where it is.
_SURVIVED = frozenset({FaultClass.PROCESS, FaultClass.HANG})


def prices_of(
    study: Study, *, layout: Layout | None, num_gpus: int, step_s: float, recovery: Recovery
) -> Prices:
    """The prices of the job of ``study`` on ``num_gpus``; ``recovery``: what it is able to.

    Without a layout, or where its replicas do not fill whole hosts, all hosts are one replica.
    """
    host, faults, policy = study.cluster.host, study.faults, study.policy
    num_hosts = -(-num_gpus // host.num_gpus)
    replica_hosts, num_replicas = _replicas(layout, num_hosts=num_hosts, host_gpus=host.num_gpus)
    has_peers = recovery is not Recovery.RESTART and _keeps_copies(study, num_hosts, step_s)
    has_local = recovery is not Recovery.RESTART and policy.local_copies
    peer_stride = (replica_hosts if num_replicas > 1 else 1) if has_peers else 0
    peer_s = _peer_restore_s(study, num_hosts=num_hosts)
    warm_s = float(faults.warm_start_s(num_gpus))
    return Prices(
        recovery=recovery,
        can_shrink=policy.shrink and num_replicas > 1,
        num_replicas=num_replicas,
        replica_hosts=replica_hosts,
        min_replicas=max(1, math.ceil(policy.min_replicas_share * num_replicas)),
        step_s=step_s,
        mtbf_s=_mtbf_s(study, num_hosts),
        cold_s=float(faults.start_s(num_gpus)),
        warm_s=warm_s,
        join_s=float(faults.warm_start_s(replica_hosts * host.num_gpus)) + peer_s,
        drop_s=faults.warm_start_base_s if faults.regroup_s is None else faults.regroup_s,
        restore_peer_s=peer_s,
        restore_store_s=_state_bytes(study) / study.cluster.storage.read_bandwidth_bytes_per_s,
        repair_s=faults.repair.mean_s,
        peer_stride=peer_stride,
        has_local=has_local,
        store_every_s=_store_every_s(
            study, num_gpus=num_gpus, peer_stride=peer_stride, has_local=has_local
        ),
        **(_local_prices(study, num_gpus=num_gpus, has_peers=has_peers) if has_local else {}),
        slow_from=policy.slow_from,
    )


def _replicas(layout: Layout | None, *, num_hosts: int, host_gpus: int) -> tuple[int, int]:
    """(hosts of a replica, number of replicas)."""
    if (
        layout is None
        or layout.replica_gpus % host_gpus
        or num_hosts * host_gpus % (layout.replica_gpus)
    ):
        return num_hosts, 1
    hosts = layout.replica_gpus // host_gpus
    return hosts, num_hosts // hosts


def _state_bytes(study: Study) -> float:
    return CHECKPOINT_BYTES_PER_PARAMETER * count_parameters(study.model).total


def _keeps_copies(study: Study, num_hosts: int, step_s: float) -> bool:
    """Whether the policy wants copies, memory holds them, and a step hides their way."""
    host = study.cluster.host
    each_bytes = _state_bytes(study) / num_hosts
    fits = 2.0 * each_bytes <= _MEMORY_SHARE * host.dram_bytes
    nics = host.num_nics * host.nic_bandwidth_bytes_per_s
    return study.policy.peer_copies and num_hosts > 1 and fits and each_bytes / nics < step_s


def _peer_restore_s(study: Study, *, num_hosts: int) -> float:
    host = study.cluster.host
    each_bytes = _state_bytes(study) / num_hosts
    nics = host.num_nics * host.nic_bandwidth_bytes_per_s
    efficiency = study.cluster.fabric.bandwidth_efficiency
    links = host.num_gpus * host.host_link_bandwidth_bytes_per_s
    return each_bytes / (nics * efficiency) + each_bytes / links


def _local_prices(study: Study, *, num_gpus: int, has_peers: bool) -> dict[str, float]:
    """Of copies on the hosts' own disks: a snapshot over PCIe, and its write behind the training.

    Where memory cannot hold the snapshot, the write itself holds the training up. Disks read at
    least as fast as they write.
    """
    host, policy = study.cluster.host, study.policy
    num_hosts = -(-num_gpus // host.num_gpus)
    each_bytes = _state_bytes(study) / num_hosts
    if 2.0 * each_bytes > host.nvme_bytes:
        raise ImpossibleError(
            f"policy.local_copies: two copies of {each_bytes / 1e12:.3g} TB, the newest and the "
            f"one being written, do not fit on the {host.nvme_bytes / 1e12:.3g} TB of "
            "cluster.host.nvme; use more hosts, or set policy.local_copies=false"
        )
    write_s = each_bytes / host.nvme_write_bandwidth_bytes_per_s
    snapshot_s = each_bytes / (host.num_gpus * host.host_link_bandwidth_bytes_per_s)
    fits = each_bytes <= _MEMORY_SHARE * host.dram_bytes
    blocking_s = snapshot_s if fits else snapshot_s + write_s
    rate = 0.0 if has_peers else _local_rate_per_s(study, num_hosts)
    daly_s = float(daly_interval_s(blocking_s, mtbf_s=1.0 / max(rate, 1.0 / _NEVER_S)))
    every_s = policy.local_interval_s or min(daly_s, LONGEST_INTERVAL_S)
    return {
        "local_every_s": max(every_s, write_s),
        "local_blocking_s": blocking_s,
        "local_write_s": write_s if fits else 0.0,
        "restore_local_s": write_s + snapshot_s,
    }


def _local_rate_per_s(study: Study, num_hosts: int) -> float:
    """What a host survives with its disk: crashes and hangs, and the hazard of the job itself."""
    faults, cluster = study.faults, study.cluster
    mended = (c for c in faults.causes if c.fault in _SURVIVED)
    hits = (strikes_per_s(c, cluster=cluster, num_hosts=num_hosts) for c in mended)
    return math.fsum(map(float, hits)) + faults.job_rate_per_s


def _mtbf_s(study: Study, num_hosts: int) -> float:
    rate = interruptions_per_s(study.faults, cluster=study.cluster, num_hosts=num_hosts)
    return 1.0 / max(float(rate), 1.0 / _NEVER_S)


def _store_every_s(study: Study, *, num_gpus: int, peer_stride: int, has_local: bool) -> float:
    """What the study fixes, else Young/Daly by the failures that only the store mends."""
    if study.policy.checkpoint_interval_s is not None:
        return study.policy.checkpoint_interval_s
    blocking_s, num_hosts = float(stall_s(num_gpus)), -(-num_gpus // study.cluster.host.num_gpus)
    if not peer_stride and not has_local:
        return float(daly_interval_s(blocking_s, mtbf_s=_mtbf_s(study, num_hosts)))
    if not peer_stride:
        beside = 1.0 / _mtbf_s(study, num_hosts) - _local_rate_per_s(study, num_hosts)
        return min(float(tier_intervals_s(blocking_s, rate_per_s=beside)), LONGEST_INTERVAL_S)
    rate = _store_rate_per_s(study, num_hosts, peer_stride=peer_stride)
    return min(float(tier_intervals_s(blocking_s, rate_per_s=rate)), LONGEST_INTERVAL_S)


def _store_rate_per_s(study: Study, num_hosts: int, *, peer_stride: int) -> float:
    """What copies in memory do not mend.

    Corruption, which taints every copy; a unit that takes a host and the keeper of its copy at
    once; and a keeper lost within the hour in which the host that it keeps is.
    """
    faults, cluster = study.faults, study.cluster

    def hits_per_s(cause: Cause) -> float:
        return float(strikes_per_s(cause, cluster=cluster, num_hosts=num_hosts))

    tainted = math.fsum(hits_per_s(c) for c in faults.causes if c.fault is FaultClass.CORRUPTION)
    lost = [c for c in faults.causes if c.fault in _LOST and stops_job(c, cluster=cluster)]
    both = math.fsum(
        hits_per_s(c) for c in lost if hosts_together(c.scope, cluster=cluster) > peer_stride
    )
    soon = 2.0 * losses_per_host_s(faults, cluster=cluster) * HOUR_S
    return tainted + both + math.fsum(map(hits_per_s, lost)) * min(1.0, soon)
