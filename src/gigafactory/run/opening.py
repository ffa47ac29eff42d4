"""The first entry of a real run's book, from its study and plan."""

from __future__ import annotations

from gigafactory.control.config import ControlConfig, config_to_json
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import Opened, World
from gigafactory.ledger.power_hours import power_limits
from gigafactory.plan.chosen import Plan


def num_hosts_of(study: Study, plan: Plan) -> int:
    """Hosts that the mesh fills."""
    return -(-plan.best.layout.num_gpus // study.cluster.host.num_gpus)


def opening(
    study: Study,
    plan: Plan,
    *,
    config: ControlConfig,
    first_step: int = 0,
    num_spare_hosts: int = 0,
) -> Opened:
    """What the bill, the report and the replay need to know; spares are those of the allocation."""
    best, host, site = plan.best, study.cluster.host, study.cluster.site
    return Opened(
        world=World.REAL,
        study=study.study,
        num_gpus=num_hosts_of(study, plan) * host.num_gpus,
        gpus_per_host=host.num_gpus,
        num_spare_gpus=num_spare_hosts * host.num_gpus,
        num_steps=study.job.num_steps,
        tokens_per_step=study.job.tokens_per_step,
        flops_per_step=best.flops_per_step,
        peak_flops_per_s=host.gpu.peak(best.layout.precision),
        step_s=best.step_s,
        first_step=first_step,
        rent_usd_per_gpu_s=study.money.rent.price_usd_per_s,
        electricity_usd_per_j=site.electricity_usd_per_j,
        training_w_per_gpu=host.training_w / host.num_gpus,
        idle_w_per_gpu=host.idle_w / host.num_gpus,
        **power_limits(site),
        seed=study.train.seed if study.train else None,
        controller=config_to_json(config),
    )
