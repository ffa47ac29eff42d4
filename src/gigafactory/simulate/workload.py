"""What the twin must know of a job: how long a step takes and how large a checkpoint is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gigafactory.control.config import Prices
from gigafactory.control.prices import prices_of
from gigafactory.cost.checkpoint import CHECKPOINT_BYTES_PER_PARAMETER, stall_s
from gigafactory.cost.never import too_short, why_never
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.swings import power_slowdown
from gigafactory.describe.errors import ImpossibleError, InputError
from gigafactory.describe.exposure import (
    cause_rate_per_s,
    losses_per_host_s,
    stops_job,
    strikes_per_s,
)
from gigafactory.describe.layout import Layout
from gigafactory.describe.policy import Recovery
from gigafactory.describe.study import Study
from gigafactory.simulate.gang import Cadence
from gigafactory.units import show_time

#: A campaign with more faults than this would take minutes; that of Colossus has 7,000 in 90 days.
MAX_FAULTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A planned job as the twin sees it."""

    cadence: Cadence
    num_steps: int
    num_gpus: int
    """GPUs in the mesh."""
    host_gpus: int
    """GPUs of one host."""
    start_s: float
    """Processes, rendezvous, communicators; the restore comes on top."""
    restore_s: float
    flops_per_step: float
    """Model FLOPs of the whole job in one step, recompute excluded."""
    tokens_per_step: int
    checkpoint_bytes: float
    peak_flops_per_s: float
    """Dense peak of one GPU in the precision of the job."""
    prices: Prices | None = None
    """Of the ways to go on; None: plain checkpoint and restart."""
    layout: Layout | None = None

    @property
    def known_prices(self) -> Prices:
        """What both the brain and the world go by."""
        if self.prices is not None:
            return self.prices
        cadence = self.cadence
        return Prices(
            replica_hosts=self.num_hosts,
            step_s=cadence.step_s,
            cold_s=self.start_s,
            warm_s=self.start_s,
            restore_store_s=self.restore_s,
            store_every_s=cadence.checkpoint_steps * cadence.step_s,
        )

    @property
    def num_hosts(self) -> int:
        """Hosts that the mesh fills."""
        return -(-self.num_gpus // self.host_gpus)


def workload_of(study: Study, *, plan: Any) -> Workload:
    """The job of ``study`` under ``plan``, whose ``best`` carries ``layout``, ``step_s`` and
    ``flops_per_step``. ImpossibleError where the campaign could never end, InputError
    where it is over before a step is."""
    best = plan.best
    num_gpus = int(best.layout.num_gpus)
    num_hosts = -(-num_gpus // study.cluster.host.num_gpus)
    held = float(power_slowdown(study.cluster, num_training_hosts=num_hosts))
    # a plan may already know what the site may draw
    step_s = float(best.step_s) * held / float(getattr(best, "power_slowdown", 1.0))
    checkpoint_bytes = CHECKPOINT_BYTES_PER_PARAMETER * count_parameters(study.model).total
    prices = prices_of(
        study, layout=best.layout, num_gpus=num_gpus, step_s=step_s,
        recovery=study.policy.recovery,
    )  # fmt: skip
    workload = Workload(
        num_steps=study.job.num_steps,
        num_gpus=num_gpus,
        flops_per_step=float(best.flops_per_step),
        tokens_per_step=study.job.tokens_per_step,
        checkpoint_bytes=checkpoint_bytes,
        peak_flops_per_s=study.cluster.host.gpu.peak(study.job.precision),
        cadence=_cadence(
            study,
            prices=prices,
            num_gpus=num_gpus,
            write_s=checkpoint_bytes / study.cluster.storage.write_bandwidth_bytes_per_s,
        ),
        start_s=prices.cold_s,
        restore_s=prices.restore_store_s,
        host_gpus=study.cluster.host.num_gpus,
        prices=prices,
        layout=best.layout,
    )
    _check_it_can_end(study, workload)
    return workload


def _check_it_can_end(study: Study, workload: Workload) -> None:
    """ImpossibleError with the inequality that says why the campaign would make no progress.

    InputError where it is over before a step is."""
    faults, prices, cadence = study.faults, workload.known_prices, workload.cadence
    short = too_short(study.campaign.duration_s, start_s=workload.start_s, step_s=cadence.step_s)
    if short is not None:
        raise InputError(f"campaign.duration: {short}")
    is_near = prices.peer_stride > 0
    start_s = prices.warm_s if prices.recovery is not Recovery.RESTART else prices.cold_s
    told = why_never(
        prices.mtbf_s,
        recovery_s=start_s + _detect_s(study, num_hosts=workload.num_hosts, mtbf_s=prices.mtbf_s),
        interval_s=cadence.step_s if is_near else cadence.checkpoint_steps * cadence.step_s,
        blocking_s=0.0 if is_near else cadence.blocking_s,
        commit_s=0.0 if is_near else cadence.write_s,
        num_hosts=workload.num_hosts,
        num_spares=study.own_cluster.num_hosts - workload.num_hosts,
        host_rate_per_s=losses_per_host_s(faults, cluster=study.cluster),
        repair_s=faults.repair.mean_s,
        shrink=prices.can_shrink,
        least_hosts=prices.min_replicas * prices.replica_hosts,
        copies_in_memory=is_near,
    )
    told = told or _too_much(study)
    if told is not None:
        raise ImpossibleError(f"faults {faults.name}: {told}")


def _detect_s(study: Study, *, num_hosts: int, mtbf_s: float) -> float:
    """Until a failure is seen, by cause: the constant that costs as many attempts, D.

    exp(-D/M) is the mean of exp(-d/M), the share of attempts that no other failure ends before.
    """
    faults, cluster = study.faults, study.cluster
    seen = faults.job_rate_per_s
    for cause in faults.causes:
        if stops_job(cause, cluster=cluster):
            rate = strikes_per_s(cause, cluster=cluster, num_hosts=num_hosts)
            seen += rate * math.exp(-cause.detect_s / mtbf_s)
    share = min(1.0, seen * mtbf_s)
    return -mtbf_s * math.log(share) if share > 0 else 0.0


def _too_much(study: Study) -> str | None:
    """A campaign of more faults than anybody waits for, whatever they do to it."""
    faults, duration_s = study.faults, study.campaign.duration_s
    rates = (cause_rate_per_s(cause, cluster=study.cluster) for cause in faults.causes)
    num = (sum(rates) + faults.job_rate_per_s) / (1.0 - faults.false_alarm_share) * duration_s
    if num <= MAX_FAULTS:
        return None
    return (
        f"the twin would follow {num:,.0f} faults and false alarms in the {show_time(duration_s)} "
        f"of campaign.duration, and follows {MAX_FAULTS:,} at most; rates x duration <= "
        f"{MAX_FAULTS:,}; shorten campaign.duration to {show_time(duration_s * MAX_FAULTS / num)}, "
        "or lower the rates"
    )


def _cadence(study: Study, *, prices: Prices, num_gpus: int, write_s: float) -> Cadence:
    """The rhythm of checkpoints in the store, never faster than it writes."""
    step_s = prices.step_s
    if study.train is not None:
        every = study.train.checkpoint_steps
    else:
        every = max(1, round(prices.store_every_s / step_s))
    fastest = max(1, -int(-write_s // step_s))
    return Cadence(
        step_s=step_s,
        checkpoint_steps=max(every, fastest),
        blocking_s=float(stall_s(num_gpus)),
        write_s=write_s,
        local_steps=_local_steps(prices),
        local_blocking_s=prices.local_blocking_s,
        local_write_s=prices.local_write_s,
    )


def _local_steps(prices: Prices) -> int:
    """Steps between copies on the hosts' own disks, never faster than these write."""
    if not prices.has_local:
        return 0
    fastest = -int(-prices.local_write_s // prices.step_s)
    return max(1, round(prices.local_every_s / prices.step_s), fastest)
