"""What a layout means for the whole job: days, dollars, megawatts, with the expected failures.

Legend
    N    hosts that take part;  g  goodput, kept work over wall time at N hosts
    duration = tokens / (tokens per second * g)
    cost     = rent of whole hosts over the duration, busy or not
    power    = PUE * (N hosts training + their share of network and storage)

Goodput is the closed form of cost.reliability and cost.tiers for the way the study recovers, at the
checkpoint interval that loses least (or the one that the study fixes), with the detection, start
and restore times of its faults.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np

from gigafactory.cost.checkpoint import CHECKPOINT_BYTES_PER_PARAMETER, stall_s
from gigafactory.cost.columns import Floats, Ints
from gigafactory.cost.money import rent_usd
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.reliability import daly_interval_s, kept_share
from gigafactory.cost.swings import power_share
from gigafactory.cost.tiers import up_share
from gigafactory.cost.watts import power_of
from gigafactory.describe.aim import Goal
from gigafactory.describe.exposure import interruptions_per_s, stops_job, strikes_per_s
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.policy import Recovery
from gigafactory.describe.study import Study

#: Longer than any campaign: the interval where nothing ever fails.
_NEVER_S = 1e12


@dataclass(frozen=True)
class Outlook:
    """Of the whole job; every field has shape (num_layouts,)."""

    goodput: Floats
    duration_s: Floats
    cost_usd: Floats
    power_w: Floats
    tokens_per_j: Floats

    def row(self, index: int) -> dict[str, float]:
        """One layout's figures by name."""
        return {f.name: float(getattr(self, f.name)[index]) for f in fields(self)}

    def loss(self, goal: Goal) -> Floats:
        """What the goal wants to be small."""
        if goal is Goal.CHEAPEST:
            return self.cost_usd
        return -self.tokens_per_j if goal is Goal.TOKENS_PER_JOULE else self.duration_s


def outlook(study: Study, *, num_gpus: Ints, step_s: Floats) -> Outlook:
    """Figures of the whole job for layouts of ``num_gpus`` that take ``step_s`` a step."""
    hosts = np.ceil(num_gpus / study.cluster.host.num_gpus)
    share = goodput(study, num_gpus=num_gpus, step_s=step_s)
    pace = np.asarray(study.job.tokens_per_step / step_s * share)
    never = np.full_like(pace, np.inf)
    duration_s = np.divide(study.job.tokens, pace, out=never, where=pace > 0)
    power_w = draw_w(study, hosts)
    rented = hosts * study.cluster.host.num_gpus
    price = study.money.rent.price_usd_per_s
    return Outlook(
        goodput=share,
        duration_s=duration_s,
        cost_usd=rent_usd(price, num_gpus=rented, duration_s=duration_s),
        power_w=power_w,
        tokens_per_j=study.job.tokens / (power_w * duration_s),
    )


def goodput(study: Study, *, num_gpus: Ints, step_s: Floats) -> Floats:
    """Expected kept work over wall time of a job on so many GPUs; shape (num_layouts,).

    Announced maintenance stops the job like a failure, and loses no work. With `Recovery.RESTART`
    everybody starts cold from the store; else processes stay and, with copies in memory, only the
    step in flight is lost.
    """
    policy, faults, cluster = study.policy, study.faults, study.cluster
    hosts = np.ceil(num_gpus / cluster.host.num_gpus)
    failures = interruptions_per_s(faults, cluster=cluster, num_hosts=hosts)
    announced = [c for c in faults.causes if c.fault is FaultClass.PLANNED]
    rates = (strikes_per_s(c, cluster=cluster, num_hosts=hosts) for c in announced)
    planned = reduce(operator.add, rates, 0.0 * hosts)
    size = CHECKPOINT_BYTES_PER_PARAMETER * count_parameters(study.model).total
    is_plain = policy.recovery is Recovery.RESTART
    restart_s = faults.start_s(num_gpus) if is_plain else faults.warm_start_s(num_gpus)
    restore_s = size / cluster.storage.read_bandwidth_bytes_per_s
    has_copies = (hosts > 1) & (not is_plain and policy.peer_copies)
    unplanned_s = _detect_s(study, hosts=hosts) + restart_s + np.where(has_copies, 0.0, restore_s)
    up = up_share(
        np.stack([failures, planned], axis=-1),
        recovery_s=np.stack([unplanned_s, restart_s + 0.0], axis=-1),
    )
    mtbf_s = np.minimum(1.0 / np.maximum(failures, 1.0 / _NEVER_S), _NEVER_S)
    from_store = _kept_of_store(study, num_gpus=num_gpus, mtbf_s=mtbf_s, size_bytes=size)
    from_memory = kept_share(mtbf_s, interval_s=step_s)
    return np.asarray(up * np.where(has_copies, from_memory, from_store))


def _kept_of_store(study: Study, *, num_gpus: Ints, mtbf_s: Floats, size_bytes: float) -> Floats:
    """Kept share of a job that returns to the store, at the interval that loses least."""
    write_s = size_bytes / study.cluster.storage.write_bandwidth_bytes_per_s
    blocking_s = stall_s(num_gpus)
    fixed_s = study.policy.checkpoint_interval_s
    interval_s = daly_interval_s(blocking_s, mtbf_s=mtbf_s) if fixed_s is None else fixed_s
    return kept_share(
        mtbf_s,
        interval_s=np.maximum(interval_s, write_s),
        blocking_s=blocking_s,
        commit_s=write_s,
    )


def draw_w(study: Study, hosts: Floats) -> Floats:
    """At the site, of the hosts that take part and their share of network and storage.

    A site that may draw less holds the hosts to it.
    """
    cluster, host = study.cluster, study.cluster.host
    power = power_of(cluster)
    share = hosts / cluster.num_hosts
    dynamic = power_share(cluster, num_training_hosts=hosts)
    host_w = host.idle_w + dynamic * (host.training_w - host.idle_w)
    it_w = hosts * host_w + share * (power.network_w + power.storage_w)
    return np.asarray(it_w * power.pue)


def _detect_s(study: Study, *, hosts: Floats) -> Floats:
    """Mean time until a failure is seen, weighted by how often each cause stops the job."""
    faults, cluster = study.faults, study.cluster
    seen = [c for c in faults.causes if stops_job(c, cluster=cluster)]
    rates = [strikes_per_s(c, cluster=cluster, num_hosts=hosts) for c in seen]
    waits = reduce(
        operator.add, (r * c.detect_s for r, c in zip(rates, seen, strict=True)), 0.0 * hosts
    )
    total = reduce(operator.add, rates, faults.job_rate_per_s + 0.0 * hosts)
    return np.asarray(waits / np.maximum(total, 1.0 / _NEVER_S))
