"""`giga run --on ray`: the driver here, its agents on the hosts of a Ray cluster."""

from __future__ import annotations

from pathlib import Path

from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.directory import RunDirectory
from gigafactory.run.engines import ours
from gigafactory.run.floors import Gathering, drive_on
from gigafactory.run.launchers import ray_cluster
from gigafactory.run.launchers.ray_floor import RayFloor, open_floor
from gigafactory.run.launchers.registry import FRONTS, Place, need
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, RunResult

NAME = "ray"


def run_on_ray(
    study: Study,
    *,
    plan: Plan,
    run_dir: Path,
    fresh: bool = False,
    observer: Observer | None = None,
) -> RunResult:
    """Train on as many hosts as the plan takes and the cluster's spares, as far as Ray has them.

    ``run_dir`` must be on a file system that all hosts see. InputError where Ray is not installed
    or the plan cannot be run, JobError where Ray cannot be reached or has too few hosts.
    """
    ours.check(study, plan.best.layout)
    need(FRONTS[Place.RAY])
    run_dir = run_dir.resolve()
    place = RunDirectory(run_dir).of_scheduler(NAME)
    meet = place / "meet.json"
    is_ours = ray_cluster.connect(study.ray)

    def opened() -> RayFloor:
        return open_floor(
            study.ray,
            num_hosts=num_hosts_of(study, plan),
            num_spares=study.own_cluster.num_spare_hosts,
            gpus_per_host=study.cluster.host.num_gpus,
            logs=place,
            meet=meet,
        )

    try:
        return drive_on(
            opened, study=study, plan=plan, run_dir=run_dir, fresh=fresh, observer=observer,
            gathering=Gathering(meet=meet, address=ray_cluster.own_address()),
        )  # fmt: skip
    finally:
        if is_ours:
            ray_cluster.disconnect()
