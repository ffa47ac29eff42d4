"""What the twin must know of a job: how long a step takes and how large a checkpoint is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gigafactory.cost.checkpoint import CHECKPOINT_BYTES_PER_PARAMETER, stall_s
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.reliability import daly_interval_s, job_mtbf_s
from gigafactory.describe.study import Study
from gigafactory.simulate.gang import Cadence


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

    @property
    def num_hosts(self) -> int:
        """Hosts that the mesh fills."""
        return -(-self.num_gpus // self.host_gpus)


def workload_of(study: Study, *, plan: Any) -> Workload:
    """The job of ``study`` under ``plan``, whose ``best`` carries ``layout``, ``step_s`` and
    ``flops_per_step``."""
    best = plan.best
    num_gpus = int(best.layout.num_gpus)
    checkpoint_bytes = CHECKPOINT_BYTES_PER_PARAMETER * count_parameters(study.model).total
    storage = study.cluster.storage
    return Workload(
        num_steps=study.job.num_steps,
        num_gpus=num_gpus,
        flops_per_step=float(best.flops_per_step),
        tokens_per_step=study.job.tokens_per_step,
        checkpoint_bytes=checkpoint_bytes,
        peak_flops_per_s=study.cluster.host.gpu.peak(study.job.precision),
        cadence=_cadence(
            study,
            step_s=float(best.step_s),
            num_gpus=num_gpus,
            write_s=checkpoint_bytes / storage.write_bandwidth_bytes_per_s,
        ),
        start_s=study.faults.start_s(num_gpus),
        restore_s=checkpoint_bytes / storage.read_bandwidth_bytes_per_s,
        host_gpus=study.cluster.host.num_gpus,
    )


def _cadence(study: Study, *, step_s: float, num_gpus: int, write_s: float) -> Cadence:
    """The rhythm the study fixes, else the Daly interval, never faster than the store writes."""
    blocking_s = float(stall_s(num_gpus))
    num_hosts = -(-num_gpus // study.cluster.host.num_gpus)
    interval_s = study.policy.checkpoint_interval_s
    if study.train is not None:
        every = study.train.checkpoint_steps
    else:
        if interval_s is None:
            mtbf_s = job_mtbf_s(
                num_hosts,
                host_rate_per_s=study.faults.rate_per_host_s,
                job_rate_per_s=study.faults.job_rate_per_s,
            )
            interval_s = float(daly_interval_s(blocking_s, mtbf_s=min(float(mtbf_s), 1e12)))
        every = max(1, round(interval_s / step_s))
    fastest = max(1, -int(-write_s // step_s))
    return Cadence(
        step_s=step_s,
        checkpoint_steps=max(every, fastest),
        blocking_s=blocking_s,
        write_s=write_s,
    )
