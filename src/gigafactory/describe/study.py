"""A study: one file that holds cluster, model, job, faults and money."""

from __future__ import annotations

from pydantic import Field, model_validator

from gigafactory.describe.acceptance import Acceptance
from gigafactory.describe.aim import Aim
from gigafactory.describe.cluster import Cluster
from gigafactory.describe.faults import Faults
from gigafactory.describe.job import Drill, Job, Train
from gigafactory.describe.launch import KubernetesTarget, OciTarget, RayTarget
from gigafactory.describe.layout import Layout
from gigafactory.describe.measured import DeviceKind, Measured
from gigafactory.describe.model import Model
from gigafactory.describe.money import Money
from gigafactory.describe.policy import Policy
from gigafactory.describe.pool import Pool
from gigafactory.describe.slurm import Slurm
from gigafactory.describe.spec import Spec
from gigafactory.units import DAY_S, Seconds


class Campaign(Spec):
    """How long the twin follows the job."""

    duration_s: Seconds = Field(default=90 * DAY_S, gt=0)


class Study(Spec):
    """The whole question, ready to be described, planned, simulated and run."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    cluster: Cluster
    model: Model
    job: Job
    faults: Faults
    money: Money
    plan: Aim = Aim()
    layout: Layout | None = None
    """Fixes the layout; default: the planner chooses."""
    campaign: Campaign = Campaign()
    policy: Policy = Policy()
    pool: Pool | None = None
    """Hosts that serve, and lend themselves to training; absent: all hosts are training's."""
    train: Train | None = None
    """Present where the study can really be run by our training program."""
    drill: Drill | None = None
    acceptance: Acceptance = Acceptance()
    """What hosts of a cluster must be able to do before they join."""
    slurm: Slurm = Slurm()
    """What to tell Slurm, where the job is asked for there."""
    ray: RayTarget = RayTarget()
    """Where the Ray cluster is, for a job asked for there."""
    kubernetes: KubernetesTarget | None = None
    """The Kubernetes cluster that jobs may be sent to."""
    oci: OciTarget | None = None
    """Where hosts may be rented from Oracle."""
    calibration: Measured | None = None
    """Constants measured on the machine itself by `giga calibrate`; in a file, its path."""

    @property
    def own_cluster(self) -> Cluster:
        """The cluster without its serving pool, which pays for itself."""
        cluster, num_pool = self.cluster, self.pool.num_hosts if self.pool else 0
        if not num_pool:
            return cluster
        num_own, num_spares = cluster.num_hosts - num_pool, cluster.num_spare_hosts - num_pool
        return cluster.model_copy(update={"num_hosts": num_own, "num_spare_hosts": num_spares})

    @model_validator(mode="after")
    def _parts_agree(self) -> Study:
        if self.train and self.train.vocab > self.model.vocab:
            raise ValueError(
                f"train.vocab {self.train.vocab} is larger than model.vocab {self.model.vocab}"
            )
        if self.layout and self.layout.num_gpus > self.cluster.num_training_gpus:
            raise ValueError(
                f"layout needs {self.layout.num_gpus} GPUs, the cluster has "
                f"{self.cluster.num_training_gpus} beside its spares"
            )
        asked, have = self.plan.gpus, self.cluster.num_training_gpus
        if isinstance(asked, int) and asked > have:
            raise ValueError(f"plan.gpus {asked} is more than the {have} that can train")
        self._check_calibration()
        self._check_pool()
        if self.policy.local_copies and not self.cluster.host.nvme_write_bandwidth_bytes_per_s:
            raise ValueError(
                "policy.local_copies needs disks in the hosts; "
                "cluster.host.nvme_write_bandwidth must be above 0"
            )
        try:
            self.cluster.host.gpu.peak(self.job.precision)
        except ValueError as error:
            raise ValueError(f"job.precision: {error}") from None
        return self

    def _check_pool(self) -> None:
        """The pool stands aside from the plan, as spares do, and its replicas fill their hosts."""
        if self.pool is None:
            return
        pool, cluster = self.pool, self.cluster
        if pool.num_hosts > cluster.num_spare_hosts:
            raise ValueError(
                f"pool.num_hosts {pool.num_hosts} is more than the {cluster.num_spare_hosts} of "
                "cluster.num_spare_hosts, which counts every host that the plan leaves alone: "
                "those of the pool and training's own spares"
            )
        if pool.capacity is None and pool.replica.num_gpus != (
            have := pool.replica_hosts * cluster.host.num_gpus
        ):
            raise ValueError(
                f"pool.replica fills {pool.replica.num_gpus} GPUs, pool.replica_hosts have {have}"
            )

    def _check_calibration(self) -> None:
        """What runs here must run as it was measured: as many ranks at once, as many threads."""
        if self.calibration is None or self.train is None:
            return
        measured, threads = self.calibration, self.train.threads_per_worker
        if measured.device is not DeviceKind.CPU:
            raise ValueError(
                f"calibration was measured on {measured.device}, and the training program runs on "
                "the processor; measure again with giga calibrate --device cpu"
            )
        ranks = self.layout.num_gpus if self.layout else self.cluster.num_training_gpus
        if ranks > measured.num_ranks:
            raise ValueError(
                f"calibration was measured with {measured.num_ranks} ranks at once, and {ranks} "
                f"would run; measure again with giga calibrate --ranks {ranks}"
            )
        if threads != measured.num_threads:
            raise ValueError(
                f"calibration was measured with {measured.num_threads} threads a rank; set "
                f"train.threads_per_worker, which is {threads}, to that"
            )
