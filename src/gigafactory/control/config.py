"""What the controller may do and how long it waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gigafactory.control.timeouts import Ladder, ladder
from gigafactory.describe.errors import InputError
from gigafactory.describe.study import Study
from gigafactory.units import DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Every bound of the brain. `config_from_study` fills it in."""

    ladder: Ladder
    max_restarts_without_progress: int = 3
    """Starts after unexplained failures, without a new checkpoint between them."""
    max_evictions_per_h: int = 30
    """Incidents, not hosts: a dead rack is one."""
    max_probes: int = 3
    """Questions to the witness before a silent host blocks the start (NO_WITNESS)."""
    max_stops: int = 5
    """Times StopGang is repeated before the generation counts as fenced off."""
    max_accused: int = 64
    """A hang that accuses more hosts accuses nobody."""
    accusation_s: float = DAY_S
    """Two accusations of one host within this, in different generations, condemn it."""
    max_hold_s: float = 7 * DAY_S
    """A HOLD that nobody lifts, and during which no host comes back, for so long ends the campaign
    as FAILED."""


def config_from_study(
    study: Study,
    *,
    num_hosts: int | None = None,
    step_s: float,
    report_s: float | None = None,
    max_hold_s: float = 7 * DAY_S,
) -> ControlConfig:
    """The controller's bounds for ``study``.

    ``num_hosts``: seats (default: the cluster without its spares); ``report_s``: time between two
    StepsDone (default: every step); ``max_hold_s``: 0 where no person watches.
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
            start_s=faults.start_base_s + faults.start_per_gpu_s * num_gpus,
        ),
        max_restarts_without_progress=policy.max_restarts_without_progress,
        max_evictions_per_h=policy.max_evictions_per_h,
        max_hold_s=max_hold_s,
    )


def config_to_json(config: ControlConfig) -> dict[str, Any]:
    """Plain JSON, for the ledger's first entry."""
    return asdict(config)


def config_from_json(source: dict[str, Any]) -> ControlConfig:
    """The inverse; InputError where a key is missing or unknown."""
    try:
        return ControlConfig(**{**source, "ladder": Ladder(**source["ladder"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"controller: not a configuration of this controller: {error}") from None
