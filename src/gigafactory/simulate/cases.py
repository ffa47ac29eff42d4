"""The cases of the swarm: what is drawn for a seed, and how it becomes a study.

Swarm testing (Groce et al., ISSTA 2012): instead of one configuration with everything in it, each
run draws which kinds of trouble exist at all, how often they come and what the factory is like. So
rare combinations meet that an average configuration would drown.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gigafactory.control.config import Prices
from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.describe.policy import Policy, Recovery
from gigafactory.describe.study import Campaign, Study
from gigafactory.simulate.gang import Cadence
from gigafactory.simulate.rng import stream
from gigafactory.simulate.sight import Sight
from gigafactory.simulate.workload import Workload
from gigafactory.units import DAY_S, HOUR_S

#: What the published fleets lose, interruptions a host and day (arXiv:2410.21680, RSC-1).
BASE_RATE_PER_HOST_DAY = 6.5e-3
#: Faults of one run on average; a fleet that fails more often is followed for fewer days.
MAX_STRIKES = 1500
CAMPAIGN_DAYS = 54.0
SHORTEST_DAYS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of the swarm, complete: the same case always takes the same course."""

    seed: int
    num_hosts: int
    """That train; spares come on top."""
    num_spares: int
    days: float
    """Of faults; some hours of peace follow, in which it must find back."""
    causes: tuple[tuple[str, float, float], ...]
    """(fault class, strikes a host and day, seconds until it is seen)."""
    job_rate_per_day: float = 0.0
    batch_share: float = 0.0
    batch_hosts: int = 8
    false_alarm_share: float = 0.0
    repair_median_s: float = 3600.0
    repair_mean_s: float = 3600.0
    step_s: float = 10.0
    checkpoint_steps: int = 30
    start_s: float = 100.0
    policy: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    recovery: dict[str, Any] = field(default_factory=dict)
    """Of `Prices`, what tells the ways to go on apart; empty: plain checkpoint and restart."""
    sight: str = Sight.SILENT
    """What is seen of a hang."""
    spells: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By class of faults that end by themselves: mean seconds, and times the usual step."""
    pool: dict[str, Any] = field(default_factory=dict)
    """A serving pool beside it (pool_cases.py); empty: none."""
    strikes: tuple[int, ...] | None = None
    """Numbers of the faults that happen; None: all."""
    messages: tuple[int, ...] | None = None
    """Numbers of the messages that may be disturbed; None: all."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `case_from_json` is the inverse."""
        return asdict(self)


def case_from_json(source: dict[str, Any]) -> Case:
    """The inverse of `Case.to_json`."""
    tuples = {name: _tuple(source[name]) for name in ("strikes", "messages")}
    causes = tuple((name, rate, detect_s) for name, rate, detect_s in source["causes"])
    spells = {name: (lasts_s, slower) for name, (lasts_s, slower) in source["spells"].items()}
    return Case(**{**source, **tuples, "causes": causes, "spells": spells})


def _tuple(numbers: list[int] | None) -> tuple[int, ...] | None:
    return None if numbers is None else tuple(numbers)


# -- drawing ---------------------------------------------------------------------------------

_HOSTS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 512, 2048, 12500)
#: Troubles that a case may have, besides a controller that dies.
NOISES = ("lost", "doubled", "late", "stale", "skewed")


def draw_case(seed: int, *, num_hosts: int | None = None, days: float = CAMPAIGN_DAYS) -> Case:
    """The case of ``seed``; ``num_hosts`` fixes the size, which is drawn as well otherwise."""
    dice = stream("swarm", seed=seed)
    size = int(dice.choice(_HOSTS))
    hosts = size if num_hosts is None else num_hosts
    causes = _draw_causes(dice)
    rate_per_day = hosts * math.fsum(rate for _, rate, _ in causes)
    alarms = min(0.9, _sometimes(dice, 0.01, 0.9))
    repair_median_s = between(dice, 300.0, DAY_S)
    return Case(
        seed=seed,
        num_hosts=hosts,
        num_spares=_draw_spares(dice, num_hosts=hosts),
        days=min(days, max(SHORTEST_DAYS, MAX_STRIKES / max(rate_per_day / (1.0 - alarms), 1e-9))),
        causes=causes,
        job_rate_per_day=_sometimes(dice, 0.1, 20.0),
        batch_share=_sometimes(dice, 0.01, 0.9),
        batch_hosts=int(dice.choice((2, 4, 8, 32))),
        false_alarm_share=alarms,
        repair_median_s=repair_median_s,
        repair_mean_s=repair_median_s * between(dice, 1.0, 8.0),
        step_s=between(dice, 1.0, 30.0),
        checkpoint_steps=int(dice.integers(3, 200)),
        start_s=between(dice, 10.0, 250.0),
        policy=_draw_policy(dice),
        noise=_draw_noise(dice),
        recovery=_draw_recovery(stream("swarm.recovery", seed=seed))
        | _draw_disks(stream("swarm.disks", seed=seed)),
        spells=_draw_spells(stream("swarm.spells", seed=seed)),
        sight=str(stream("swarm.sight", seed=seed).choice([known.value for known in Sight])),
    )


def between(dice: np.random.Generator, low: float, high: float) -> float:
    """Evenly over the orders of magnitude."""
    return float(math.exp(dice.uniform(math.log(low), math.log(high))))


def _sometimes(dice: np.random.Generator, low: float, high: float) -> float:
    """Nothing in half of the cases. Draws the same number of dice either way."""
    found = between(dice, low, high)
    return found if dice.random() < 0.5 else 0.0


def _draw_spares(dice: np.random.Generator, *, num_hosts: int) -> int:
    share = float(dice.choice((0.0, 0.005, 0.02, 0.1, 0.5)))
    return round(share * num_hosts) + int(dice.integers(0, 3))


def _draw_causes(dice: np.random.Generator) -> tuple[tuple[str, float, float], ...]:
    """Each class of faults is there or not; all of them at once in one case of eight."""
    everything = dice.random() < 0.125
    harsh = between(dice, 0.3, 300.0)
    causes = []
    for fault in FaultClass:
        share, detect_s, is_on = dice.random(), between(dice, 0.5, 900.0), dice.random() < 0.5
        rate = BASE_RATE_PER_HOST_DAY * harsh * share
        if is_on or everything:
            causes.append((fault.value, float(rate), detect_s))
    return tuple(causes)


def _draw_recovery(dice: np.random.Generator) -> dict[str, Any]:
    """A third restarts plainly, a third keeps its processes, a third drops replicas."""
    recovery = Recovery(dice.choice([known.value for known in Recovery]))
    return {
        "recovery": recovery.value,
        "can_shrink": bool(dice.random() < 0.5),
        "num_replicas": int(dice.choice((1, 2, 4, 8))),
        "has_copies": bool(dice.random() < 0.7),
        "warm_s": between(dice, 1.0, 60.0),
        "join_s": between(dice, 1.0, 200.0),
        "drop_s": between(dice, 0.1, 30.0),
        "restore_peer_s": between(dice, 0.1, 30.0),
        "has_local": bool(dice.random() < 0.4),
        "local_every_s": between(dice, 10.0, 3600.0),
        "local_blocking_s": between(dice, 0.01, 5.0),
        "local_write_s": between(dice, 1.0, 600.0),
        "restore_local_s": between(dice, 0.1, 60.0),
    }


def _draw_disks(dice: np.random.Generator) -> dict[str, Any]:
    """In a third of the cases copies on disks are all there is near the hosts."""
    return {"has_local": True, "has_copies": False} if dice.random() < 1 / 3 else {}


def _draw_spells(dice: np.random.Generator) -> dict[str, tuple[float, float]]:
    """How long what ends by itself lasts, and how slow it makes its hosts."""
    spells = {}
    for fault, (shortest_s, longest_s) in _LASTS_S.items():
        lasts_s, slowdown = between(dice, shortest_s, longest_s), 1.0 + between(dice, 0.01, 5.0)
        is_stop = dice.random() < 0.5 and fault is FaultClass.STORAGE
        spells[fault.value] = (lasts_s, 1.0 if is_stop else slowdown)
    return spells


#: From a link that trains anew to a switch that is exchanged; the longest of each class.
_LASTS_S = {
    FaultClass.FLAP: (0.5, 900.0),
    FaultClass.SLOW: (60.0, 4 * HOUR_S),
    FaultClass.CAPACITY: (60.0, 4 * HOUR_S),
    FaultClass.STORAGE: (60.0, 4 * HOUR_S),
    FaultClass.CONTROL: (5.0, 2 * HOUR_S),
}


def _draw_policy(dice: np.random.Generator) -> dict[str, Any]:
    heartbeat_s = between(dice, 2.0, 60.0)
    return {
        "heartbeat_timeout_s": heartbeat_s,
        "progress_timeout_s": heartbeat_s * between(dice, 4.0, 60.0),
        "start_timeout_s": between(dice, 600.0, 3600.0),
        "max_restarts_without_progress": int(dice.integers(1, 8)),
        "max_evictions_per_h": int(dice.choice((2, 5, 30, 100))),
    }


def _draw_noise(dice: np.random.Generator) -> dict[str, float]:
    drawn = {name: min(0.15, _sometimes(dice, 0.001, 0.15)) for name in NOISES}
    drawn["crashed"] = _sometimes(dice, 0.0005, 0.02)
    drawn |= {
        "late_s": between(dice, 0.5, 60.0),
        "stale_s": between(dice, 10.0, 4 * HOUR_S),
        "skew_s": between(dice, 0.01, 30.0),
        "down_s": between(dice, 1.0, 120.0),
    }
    is_quiet = dice.random() < 0.25
    return {} if is_quiet else drawn


# -- a case as a study -----------------------------------------------------------------------


def study_of(case: Case, *, base: Study) -> Study:
    """``base`` (whose money, host and model matter little here) with the traits of ``case``."""
    num_beside = case.num_spares + case.pool.get("num_hosts", 0)
    hosts = {"num_hosts": case.num_hosts + num_beside, "num_spare_hosts": num_beside}
    return base.model_copy(
        update={
            "cluster": base.cluster.model_copy(update=hosts),
            "faults": _faults(case),
            "policy": Policy(**case.policy),
        }
    )


def lasting(study: Study, *, duration_s: float) -> Study:
    """The same, followed for so long."""
    return study.model_copy(update={"campaign": Campaign(duration_s=duration_s)})


def _faults(case: Case) -> Faults:
    return Faults(
        name="swarm",
        causes=tuple(_cause(case, *drawn) for drawn in case.causes),
        job_rate_per_s=case.job_rate_per_day / DAY_S,
        repair=Repair(median_s=case.repair_median_s, mean_s=case.repair_mean_s, source="drawn"),
        batch_share=case.batch_share,
        batch_hosts=case.batch_hosts,
        false_alarm_share=case.false_alarm_share,
        false_anomaly_share=case.false_alarm_share,
        source="drawn",
    )


def workload_of_case(case: Case, *, base: Study) -> Workload:
    """A job that never ends on the hosts of ``case``, with its rhythm."""
    num_gpus = case.num_hosts * base.cluster.host.num_gpus
    write_s = 0.5 * case.step_s * case.checkpoint_steps
    prices = _prices(case)
    cadence = Cadence(case.step_s, case.checkpoint_steps, 0.1 * case.step_s, write_s)
    return Workload(
        cadence=_with_copies_on_disks(cadence, prices) if prices else cadence,
        num_steps=10**9,
        num_gpus=num_gpus,
        host_gpus=base.cluster.host.num_gpus,
        start_s=case.start_s,
        restore_s=0.2 * case.start_s,
        flops_per_step=0.4 * 989.4e12 * case.step_s * num_gpus,
        tokens_per_step=2**20,
        checkpoint_bytes=1e12,
        peak_flops_per_s=989.4e12,
        prices=prices,
    )


def _with_copies_on_disks(cadence: Cadence, prices: Prices) -> Cadence:
    """Where the gang makes them, as often as its disks write and no oftener."""
    if not prices.has_local:
        return cadence
    wanted_s = max(prices.local_every_s, prices.local_write_s)
    return replace(
        cadence,
        local_steps=max(1, math.ceil(wanted_s / cadence.step_s)),
        local_blocking_s=prices.local_blocking_s,
        local_write_s=prices.local_write_s,
    )


def _cause(case: Case, fault: str, rate_per_day: float, detect_s: float) -> Cause:
    lasts_s, slowdown = case.spells.get(fault, (0.0, 1.0))
    lasts = Repair(median_s=lasts_s / 2.0, mean_s=lasts_s, source="drawn") if lasts_s else None
    return Cause(
        name=fault,
        fault=FaultClass(fault),
        rate_per_s=rate_per_day / DAY_S,
        detect_s=detect_s,
        lasts=lasts,
        slowdown=slowdown,
        source="drawn",
    )


def _prices(case: Case) -> Prices | None:
    """As `control.prices` would have it; replicas are whole hosts, as many as divide the gang."""
    drawn = dict(case.recovery)
    if not drawn:
        return None
    recovery, has_copies = Recovery(drawn.pop("recovery")), drawn.pop("has_copies")
    num = math.gcd(drawn.pop("num_replicas"), case.num_hosts)
    can_shrink = drawn.pop("can_shrink") and num > 1
    size = case.num_hosts // num
    drawn["has_local"] = drawn["has_local"] and recovery is not Recovery.RESTART
    has_copies = has_copies and recovery is not Recovery.RESTART and case.num_hosts > 1
    rate = case.num_hosts * math.fsum(rate for _, rate, _ in case.causes) + case.job_rate_per_day
    return Prices(
        recovery=recovery,
        can_shrink=can_shrink,
        num_replicas=num,
        replica_hosts=size,
        min_replicas=max(1, math.ceil(num / 2)),
        step_s=case.step_s,
        mtbf_s=DAY_S / max(rate, 1e-3),
        cold_s=case.start_s,
        restore_store_s=0.2 * case.start_s,
        repair_s=case.repair_mean_s,
        peer_stride=(size if num > 1 else 1) if has_copies else 0,
        store_every_s=case.checkpoint_steps * case.step_s,
        **drawn,
    )
