"""The controller's bounds and prices for a study."""

from __future__ import annotations

from gigafactory.control.config import ControlConfig
from gigafactory.control.prices import prices_of
from gigafactory.control.timeouts import ladder
from gigafactory.describe.layout import Layout
from gigafactory.describe.policy import Recovery
from gigafactory.describe.study import Study
from gigafactory.units import DAY_S


def config_from_study(
    study: Study,
    *,
    layout: Layout | None = None,
    num_hosts: int | None = None,
    step_s: float,
    report_s: float | None = None,
    max_hold_s: float = 7 * DAY_S,
    recovery: Recovery | None = None,
) -> ControlConfig:
    """The controller's bounds for ``study``.

    ``layout`` says which hosts form a replica (default: all); ``num_hosts``: seats (default: the
    cluster without its spares); ``report_s``: time between two StepsDone (default: every step);
    ``max_hold_s``: 0 where no person watches; ``recovery``: the most that the launcher is able to,
    where that is less than the policy asks for.
    """
    policy, faults = study.policy, study.faults
    seats = study.cluster.num_hosts - study.cluster.num_spare_hosts
    num_gpus = (num_hosts or seats) * study.cluster.host.num_gpus
    return ControlConfig(
        ladder=ladder(
            heartbeat_floor_s=policy.heartbeat_timeout_s,
            collective_floor_s=policy.progress_timeout_s,
            join_floor_s=policy.start_timeout_s,
            report_s=step_s if report_s is None else max(report_s, step_s),
            start_s=faults.start_s(num_gpus),
        ),
        prices=prices_of(
            study, layout=layout, num_gpus=num_gpus, step_s=step_s,
            recovery=policy.recovery if recovery is None else recovery,
        ),
        max_restarts_without_progress=policy.max_restarts_without_progress,
        max_evictions_per_h=policy.max_evictions_per_h,
        max_hold_s=max_hold_s,
    )  # fmt: skip
