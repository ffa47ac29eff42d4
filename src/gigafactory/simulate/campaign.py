"""The public door of the twin: a study and a plan in, a campaign through time out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from gigafactory.control.actions import Action
from gigafactory.control.config import ControlConfig, config_to_json
from gigafactory.control.controller import Controller
from gigafactory.control.events import Event
from gigafactory.control.from_study import config_from_study
from gigafactory.cost.energy import carbon_kg
from gigafactory.describe.errors import InputError
from gigafactory.describe.study import Study
from gigafactory.ledger import entries as book
from gigafactory.ledger.pool import PoolResult
from gigafactory.ledger.power_hours import power_limits
from gigafactory.ledger.sink import Sink
from gigafactory.ledger.summary import Summary
from gigafactory.simulate import faults as fl
from gigafactory.simulate.book import Book
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.fleet import Fleet
from gigafactory.simulate.kernel import Happening, Kernel, Priority
from gigafactory.simulate.lifetimes import Stays
from gigafactory.simulate.loans import Loans
from gigafactory.simulate.pool import SharedPool, shared_pool
from gigafactory.simulate.power import draw_of
from gigafactory.simulate.rng import stream
from gigafactory.simulate.workload import Workload, workload_of
from gigafactory.simulate.world import Brain, World

CONVENTION = (
    "failures by wall clock, also during recovery; MTBF is wall time over interruptions, and a "
    "failure during a recovery belongs to the interruption it prolongs"
)
HORIZON = "horizon"
#: Reports in an undisturbed campaign: every checkpoint of a short one, some of a long one.
_MAX_REPORTS = 2500
#: In a long one, about hourly.
_REPORT_S = 3600.0
S = TypeVar("S", fl.Strike, fl.JobStrike, fl.FalseAlarm, fl.FalseAnomaly)


class Stage:
    """What may be put between the brain and the world; as it stands, nothing is."""

    def brain(self, config: ControlConfig, ledger: Sink) -> Brain:
        """The controller with a scribe at its side."""
        return _recorded(Controller(config), ledger)

    def set_up(self, world: World) -> None:
        """The world exists and has not begun."""

    def set_up_pool(self, pool: SharedPool) -> None:
        """A serving pool shares the fleet, and has not opened."""

    def admits(self, point: fl.Point) -> bool:
        """Whether this fault happens. Asked once for each, in order of time."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult(Summary):
    """What the ledger folds to, and what only the twin knows."""

    convention: str = CONVENTION
    checkpoint_interval_s: float
    """Work between two checkpoints."""
    checkpoint_bytes: float
    carbon_kg: float
    ledger_hash: str
    """Empty where only sums were kept."""
    pool: PoolResult | None = None
    """What the serving pool came to, where the study has one."""


def simulate(study: Study, *, plan: Any, seed: int, ledger: Sink) -> CampaignResult:
    """Follow the planned job of ``study`` until it is done or ``campaign.duration`` is over.

    ``plan.best`` gives layout, step time and FLOPs. Everything that happens is entered in
    ``ledger``, which must be new; the result is folded from it. Same study, plan and seed: same
    bytes of ledger and result. InputError where the mesh does not fit on the cluster.
    """
    return follow(study, workload=workload_of(study, plan=plan), seed=seed, ledger=ledger)


def follow(
    study: Study,
    *,
    workload: Workload,
    seed: int,
    ledger: Sink,
    delays: Delays | None = None,
    stage: Stage | None = None,
) -> CampaignResult:
    """Like `simulate`, for a workload that is known already."""
    stage = stage or Stage()
    own = study.own_cluster
    if workload.num_hosts > own.num_hosts:
        beside = f" less pool.num_hosts {study.pool.num_hosts}" if study.pool else ""
        raise InputError(
            f"the mesh needs {workload.num_hosts} hosts, cluster.num_hosts{beside} is "
            f"{own.num_hosts}"
        )
    config = config_of(study, workload=workload)
    ledger.write(_opening(study, workload, config=config, seed=seed), at_s=0.0)
    world = _world(
        study, workload, seed=seed, ledger=ledger, brain=stage.brain(config, ledger),
        delays=delays or Delays(),
    )  # fmt: skip
    pools = _share(world, study, ledger, seed=seed)
    stage.set_up(world)
    for pool in pools:
        stage.set_up_pool(pool)
    _let_it_run(world, study, seed=seed, stage=stage)
    _close(world, ledger)
    found = _result(study, workload, ledger)
    return replace(found, pool=pools[0].result()) if pools else found


def config_of(study: Study, *, workload: Workload) -> ControlConfig:
    """The controller's bounds for ``workload``."""
    step_s = workload.cadence.step_s
    config = config_from_study(study, num_hosts=workload.num_hosts, step_s=step_s)
    return replace(config, prices=workload.known_prices)


def _share(world: World, study: Study, ledger: Sink, *, seed: int) -> list[SharedPool]:
    """Put the serving pool of the study, if it has one, on the last hosts of the fleet."""
    pools: list[SharedPool] = []
    if study.pool is None:
        return pools
    num_hosts = study.pool.num_hosts

    def enter(num_lent: int, rate: float) -> None:
        entry = book.PoolFrom(num_hosts=num_hosts, num_lent=num_lent, requests_per_s=rate)
        ledger.write(entry, at_s=world.kernel.now_s)

    def pool_of(loans: Loans) -> SharedPool:
        pool = shared_pool(study, kernel=world.kernel, borrower=loans, scribe=enter, seed=seed)
        pools.append(pool)
        return pool

    world.share(pool_of)
    return pools


def _opening(study: Study, workload: Workload, *, config: ControlConfig, seed: int) -> book.Opened:
    cluster, host = study.own_cluster, study.cluster.host
    return book.Opened(
        world=book.World.TWIN,
        study=study.study,
        num_gpus=workload.num_hosts * host.num_gpus,
        gpus_per_host=host.num_gpus,
        num_spare_gpus=(cluster.num_hosts - workload.num_hosts) * host.num_gpus,
        num_steps=workload.num_steps,
        tokens_per_step=workload.tokens_per_step,
        flops_per_step=workload.flops_per_step,
        peak_flops_per_s=workload.peak_flops_per_s,
        step_s=workload.cadence.step_s,
        rent_usd_per_gpu_s=study.money.rent.price_usd_per_s,
        electricity_usd_per_j=cluster.site.electricity_usd_per_j,
        training_w_per_gpu=host.training_w / host.num_gpus,
        idle_w_per_gpu=host.idle_w / host.num_gpus,
        **power_limits(cluster.site),
        seed=seed,
        controller=config_to_json(config),
    )


def _recorded(controller: Controller, ledger: Sink) -> Brain:
    """The controller with a scribe at its side."""

    def decide(event: Event) -> list[Action]:
        actions = controller.handle(event)
        ledger.decide(
            event,
            actions,
            state_hash=controller.state_hash,
            generation=controller.generation,
        )
        return actions

    return decide


def _world(
    study: Study,
    workload: Workload,
    *,
    seed: int,
    ledger: Sink,
    brain: Brain,
    delays: Delays,
) -> World:
    return World(
        workload=workload,
        kernel=Kernel[Happening](),
        fleet=Fleet(study.cluster.num_hosts),
        stays=Stays(study.faults, seed=seed),
        dice=stream("job.host", seed=seed),
        brain=brain,
        book=Book(
            ledger,
            draw=draw_of(study.own_cluster, num_training_hosts=workload.num_hosts),
            num_bytes=workload.checkpoint_bytes,
        ),
        delays=delays,
    )  # fmt: skip


def _let_it_run(world: World, study: Study, *, seed: int, stage: Stage) -> None:
    """Faults and the world take turns until the job or the time is over."""
    kernel, faults = world.kernel, study.faults
    duration_s, cycle_s = study.campaign.duration_s, world.training.workload.cadence.cycle_s
    world.training.report_every_s = cycle_s * math.ceil(
        max(duration_s / _MAX_REPORTS, _REPORT_S) / cycle_s
    )
    if study.drill is not None:
        world.training.at_step(study.drill.kill_at_step, world.troubles.drill)
    num_hosts = world.training.workload.num_hosts
    strikes = fl.strikes(faults, cluster=study.cluster, num_training_hosts=num_hosts, seed=seed)
    _feed(kernel, strikes, world.troubles.strike, stage)
    _feed(kernel, fl.job_strikes(faults, seed=seed), world.troubles.strike_job, stage)
    alarms = fl.false_alarms(faults, cluster=study.cluster, seed=seed)
    _feed(kernel, alarms, world.troubles.alarm, stage)
    odd_texts = fl.false_anomalies(
        faults, cluster=study.cluster, num_training_hosts=num_hosts, seed=seed
    )
    _feed(kernel, odd_texts, world.troubles.odd_text, stage)
    kernel.schedule(world.reach_horizon, at_s=duration_s, priority=Priority.END)
    world.begin()
    while not world.is_over:
        kernel.next()()


def _feed(
    kernel: Kernel[Happening], points: Iterator[S], strike: Callable[[S], None], stage: Stage
) -> None:
    """Let the next point happen, and after it the one that follows."""
    point = next(points, None)
    if point is not None:

        def happen() -> None:
            if stage.admits(point):
                strike(point)
            _feed(kernel, points, strike, stage)

        kernel.schedule(happen, at_s=point.at_s, priority=Priority.PHYSICS)


def _close(world: World, ledger: Sink) -> None:
    finish = world.outcome
    closed = book.Closed(
        outcome=finish.outcome.value if finish else HORIZON,
        reason=finish.reason if finish else "",
        step=world.training.gang.reported_step,
    )
    ledger.write(closed, at_s=world.kernel.now_s)


def _result(study: Study, workload: Workload, ledger: Sink) -> CampaignResult:
    summary = ledger.summary()
    cadence, site = workload.cadence, study.cluster.site
    return CampaignResult(
        **{f.name: getattr(summary, f.name) for f in fields(summary)},
        checkpoint_interval_s=cadence.checkpoint_steps * cadence.step_s,
        checkpoint_bytes=workload.checkpoint_bytes,
        carbon_kg=float(carbon_kg(summary.energy_j, carbon_kg_per_j=site.carbon_kg_per_j)),
        ledger_hash=ledger.ledger_hash,
    )
