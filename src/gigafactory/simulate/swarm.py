"""The swarm: every seed is a factory of its own, with troubles of its own, under the same laws.

Swarm testing (Groce et al., ISSTA 2012): instead of one configuration with everything in it, each
run draws which kinds of trouble exist at all, how often they come and what the factory is like. So
rare combinations meet that an average configuration would drown. The production controller runs
in the twin behind a `Wire`, and `Laws` watches.

A run that breaks a law is shrunk by delta debugging (Zeller and Hildebrandt, IEEE TSE 28, 2002)
over its faults and its disturbed messages, both of which are numbered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig, Prices
from gigafactory.control.controller import Controller
from gigafactory.control.states import Phase as BrainPhase
from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.describe.policy import Policy, Recovery
from gigafactory.describe.study import Campaign, Study
from gigafactory.ledger.fold import Tally
from gigafactory.ledger.sink import Sink
from gigafactory.simulate import faults as fl
from gigafactory.simulate.campaign import CampaignResult, Stage, follow
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.gang import Cadence, Phase
from gigafactory.simulate.kernel import Happening, Priority
from gigafactory.simulate.laws import Law, Laws, Violation
from gigafactory.simulate.rng import stream
from gigafactory.simulate.wire import Noise, Scribe, Trouble, Wire
from gigafactory.simulate.workload import Workload
from gigafactory.simulate.world import Brain, World
from gigafactory.units import DAY_S, HOUR_S

#: What the published fleets lose, interruptions a host and day (arXiv:2410.21680, RSC-1).
BASE_RATE_PER_HOST_DAY = 6.5e-3
#: Faults of one run on average; a fleet that fails more often is followed for fewer days.
MAX_STRIKES = 1500
CAMPAIGN_DAYS = 54.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of the swarm, complete: the same case always takes the same course."""

    seed: int
    num_hosts: int
    """That train; spares come on top."""
    num_spares: int
    days: float
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
    spells: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By class of faults that end by themselves: mean seconds, and times the usual step."""
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
_NOISES = ("lost", "doubled", "late", "stale", "skewed")


def draw_case(seed: int, *, num_hosts: int | None = None, days: float = CAMPAIGN_DAYS) -> Case:
    """The case of ``seed``; ``num_hosts`` fixes the size, which is drawn as well otherwise."""
    dice = stream("swarm", seed=seed)
    size = int(dice.choice(_HOSTS))
    hosts = size if num_hosts is None else num_hosts
    causes = _draw_causes(dice)
    rate_per_day = hosts * sum(rate for _, rate, _ in causes)
    alarms = min(0.9, _sometimes(dice, 0.01, 0.9))
    repair_median_s = _between(dice, 300.0, DAY_S)
    return Case(
        seed=seed,
        num_hosts=hosts,
        num_spares=_draw_spares(dice, num_hosts=hosts),
        days=min(days, max(1.0, MAX_STRIKES / max(rate_per_day / (1.0 - alarms), 1e-9))),
        causes=causes,
        job_rate_per_day=_sometimes(dice, 0.1, 20.0),
        batch_share=_sometimes(dice, 0.01, 0.9),
        batch_hosts=int(dice.choice((2, 4, 8, 32))),
        false_alarm_share=alarms,
        repair_median_s=repair_median_s,
        repair_mean_s=repair_median_s * _between(dice, 1.0, 8.0),
        step_s=_between(dice, 1.0, 30.0),
        checkpoint_steps=int(dice.integers(3, 200)),
        start_s=_between(dice, 10.0, 250.0),
        policy=_draw_policy(dice),
        noise=_draw_noise(dice),
        recovery=_draw_recovery(stream("swarm.recovery", seed=seed)),
        spells=_draw_spells(stream("swarm.spells", seed=seed)),
    )


def _between(dice: np.random.Generator, low: float, high: float) -> float:
    """Evenly over the orders of magnitude."""
    return float(math.exp(dice.uniform(math.log(low), math.log(high))))


def _sometimes(dice: np.random.Generator, low: float, high: float) -> float:
    """Nothing in half of the cases. Draws the same number of dice either way."""
    found = _between(dice, low, high)
    return found if dice.random() < 0.5 else 0.0


def _draw_spares(dice: np.random.Generator, *, num_hosts: int) -> int:
    share = float(dice.choice((0.0, 0.005, 0.02, 0.1, 0.5)))
    return round(share * num_hosts) + int(dice.integers(0, 3))


def _draw_causes(dice: np.random.Generator) -> tuple[tuple[str, float, float], ...]:
    """Each class of faults is there or not; all of them at once in one case of eight."""
    everything = dice.random() < 0.125
    harsh = _between(dice, 0.3, 300.0)
    causes = []
    for fault in FaultClass:
        share, detect_s, is_on = dice.random(), _between(dice, 0.5, 900.0), dice.random() < 0.5
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
        "warm_s": _between(dice, 1.0, 60.0),
        "join_s": _between(dice, 1.0, 200.0),
        "drop_s": _between(dice, 0.1, 30.0),
        "restore_peer_s": _between(dice, 0.1, 30.0),
    }


def _draw_spells(dice: np.random.Generator) -> dict[str, tuple[float, float]]:
    """How long what ends by itself lasts, and how slow it makes its hosts."""
    spells = {}
    for fault, (shortest_s, longest_s) in _LASTS_S.items():
        lasts_s, slowdown = _between(dice, shortest_s, longest_s), 1.0 + _between(dice, 0.01, 5.0)
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
    heartbeat_s = _between(dice, 2.0, 60.0)
    return {
        "heartbeat_timeout_s": heartbeat_s,
        "progress_timeout_s": heartbeat_s * _between(dice, 4.0, 60.0),
        "start_timeout_s": _between(dice, 600.0, 3600.0),
        "max_restarts_without_progress": int(dice.integers(1, 8)),
        "max_evictions_per_h": int(dice.choice((2, 5, 30, 100))),
    }


def _draw_noise(dice: np.random.Generator) -> dict[str, float]:
    drawn = {name: min(0.15, _sometimes(dice, 0.001, 0.15)) for name in _NOISES}
    drawn["crashed"] = _sometimes(dice, 0.0005, 0.02)
    drawn |= {
        "late_s": _between(dice, 0.5, 60.0),
        "stale_s": _between(dice, 10.0, 4 * HOUR_S),
        "skew_s": _between(dice, 0.01, 30.0),
        "down_s": _between(dice, 1.0, 120.0),
    }
    is_quiet = dice.random() < 0.25
    return {} if is_quiet else drawn


# -- a case as a study -----------------------------------------------------------------------


def study_of(case: Case, *, base: Study) -> Study:
    """``base`` (whose money, host and model matter little here) with the traits of ``case``."""
    hosts = {
        "num_hosts": case.num_hosts + case.num_spares,
        "num_spare_hosts": case.num_spares,
    }
    return base.model_copy(
        update={
            "cluster": base.cluster.model_copy(update=hosts),
            "faults": _faults(case),
            "policy": Policy(**case.policy),
            "campaign": Campaign(duration_s=case.days * DAY_S),
        }
    )


def _faults(case: Case) -> Faults:
    return Faults(
        name="swarm",
        causes=tuple(_cause(case, *drawn) for drawn in case.causes),
        job_rate_per_s=case.job_rate_per_day / DAY_S,
        repair=Repair(median_s=case.repair_median_s, mean_s=case.repair_mean_s, source="drawn"),
        batch_share=case.batch_share,
        batch_hosts=case.batch_hosts,
        false_alarm_share=case.false_alarm_share,
        source="drawn",
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
    has_copies = has_copies and recovery is not Recovery.RESTART and case.num_hosts > 1
    rate = case.num_hosts * sum(rate for _, rate, _ in case.causes) + case.job_rate_per_day
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


def _workload(case: Case, *, base: Study) -> Workload:
    num_gpus = case.num_hosts * base.cluster.host.num_gpus
    write_s = 0.5 * case.step_s * case.checkpoint_steps
    return Workload(
        cadence=Cadence(case.step_s, case.checkpoint_steps, 0.1 * case.step_s, write_s),
        num_steps=10**9,
        num_gpus=num_gpus,
        host_gpus=base.cluster.host.num_gpus,
        start_s=case.start_s,
        restore_s=0.2 * case.start_s,
        flops_per_step=0.4 * 989.4e12 * case.step_s * num_gpus,
        tokens_per_step=2**20,
        checkpoint_bytes=1e12,
        peak_flops_per_s=989.4e12,
        prices=_prices(case),
    )


# -- running ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """What one run showed."""

    case: Case
    violations: list[Violation]
    quiet_s: float
    """From then on nothing new breaks."""
    num_events: int = 0
    num_strikes: int = 0
    num_crashes: int = 0
    goodput: float = 0.0
    met: list[tuple[int, Trouble, str]] = field(default_factory=list)
    turns: list[tuple[ev.Event, list[act.Action]]] = field(default_factory=list)
    """Every turn of the controller, where they were kept."""


#: Makes the controller; tests put one with a defect here.
Maker = Callable[[ControlConfig], Controller]


def run_case(case: Case, *, base: Study, keep: bool = False, seeds_replayed: int = 1) -> Report:
    """Run ``case`` under all laws.

    ``keep``: the turns of the controller are kept for printing. One case in ``seeds_replayed`` is
    also fed to a second controller, which must do the same.
    """
    is_replayed = case.seed % seeds_replayed == 0
    stage = _Stage(case, keep=keep or is_replayed)
    ledger = Tally()
    result = follow(
        study_of(case, base=base),
        workload=_workload(case, base=base),
        seed=case.seed,
        ledger=ledger,
        delays=DELAYS,
        stage=stage,
    )
    num_gpus = (case.num_hosts + case.num_spares) * base.cluster.host.num_gpus
    broken = [*stage.laws.broken, *_check_buckets(result, num_gpus=num_gpus)]
    if is_replayed:
        broken += _check_replay(stage)
    return Report(
        case, broken, stage.quiet_s, len(stage.wire.history), stage.num_strikes,
        stage.wire.num_crashes,
        result.goodput, stage.wire.met, stage.turns if keep else [],
    )  # fmt: skip


DELAYS = Delays(notice_s=1800.0, person_s=600.0)


class _Stage(Stage):
    """Puts the wire between brain and world, and lets the faults end before the campaign does."""

    def __init__(self, case: Case, *, keep: bool) -> None:
        self.case = case
        self.keep = keep
        self.num_strikes = 0
        self.turns: list[tuple[ev.Event, list[act.Action]]] = []
        self.is_cut: set[int] = set()
        self._admitted = None if case.strikes is None else frozenset(case.strikes)

    def brain(self, config: ControlConfig, ledger: Sink) -> Brain:
        """The controller at the end of a bad line."""
        self.config = config
        self.bound_s = recovery_bound_s(config) + lease_s(self.case)
        self.quiet_s = self.case.days * DAY_S - self.bound_s
        messages = self.case.messages
        noise = Noise(
            **self.case.noise,  # type: ignore[arg-type]
            until_s=self.quiet_s,
            only=None if messages is None else frozenset(messages),
        )
        self.ground = Ground()
        self.laws = Laws(config, truth=self.ground)
        self.wire = Wire(
            config, noise=noise, seed=self.case.seed, scribe=self._scribe(ledger),
            observers=(self.laws,),
        )  # fmt: skip
        return self.wire

    def _scribe(self, ledger: Sink) -> Scribe:
        def enter(event: ev.Event, actions: list[act.Action], controller: Controller) -> None:
            ledger.decide(
                event, actions, state_hash=controller.state_hash, generation=controller.generation
            )
            if self.keep:
                self.turns.append((event, actions))

        return enter

    def set_up(self, world: World) -> None:
        """The other end of the wire, and the end of all faults."""
        self.ground.world = world
        self.wire.attach(self.ground)
        at_s = self.case.days * DAY_S
        if self.quiet_s > 0:
            world.kernel.schedule(world.heal, at_s=self.quiet_s, priority=Priority.PHYSICS)
            world.kernel.schedule(self._check_life, at_s=at_s, priority=Priority.TICK)

    def admits(self, point: fl.Strike | fl.JobStrike | fl.FalseAlarm) -> bool:
        """Faults are numbered in order of time, and end in time."""
        number = self.num_strikes
        self.num_strikes += 1
        if self.quiet_s > 0 and point.at_s >= self.quiet_s:
            return False
        return self._admitted is None or number in self._admitted

    def _check_life(self) -> None:
        controller = self.wire.controller
        if controller.phase not in (BrainPhase.RUNNING, BrainPhase.DRAINING, BrainPhase.FINISHED):
            held = f", held: {controller.held.value}" if controller.held else ""
            words = (
                f"{self.bound_s:.0f} s after the last fault it is {controller.phase.value}{held}"
            )
            self.laws.broken.append(Violation(Law.LIVES_ON, self.ground.now_s, words))


def recovery_bound_s(config: ControlConfig) -> float:
    """The longest way from anywhere to RUNNING, once every host is well and every word arrives.

    The hour in which no more may be evicted; every deadline of a gang that started just then and
    fails silently, as often as that may happen before a person is called; that person.
    """
    ladder = config.ladder
    stop_s = config.max_stops * ladder.heartbeat_s
    witness_s = 2.0 ** min(config.max_probes + 1, 20) * ladder.heartbeat_s + ladder.join_s
    attempt_s = ladder.watchdog_s + stop_s + witness_s
    num_attempts = config.max_restarts_without_progress + 2
    return HOUR_S + num_attempts * attempt_s + 2 * DELAYS.person_s


def lease_s(case: Case) -> float:
    """The longest promise of silence of the twin's gang: a report an hour, at whole cycles."""
    cycle_s = (case.checkpoint_steps + 1) * case.step_s
    return max(HOUR_S, case.days * DAY_S / 2500.0) + cycle_s + 20.0 * case.step_s


class Ground:
    """The world as executor of actions and as the truth behind the laws."""

    world: World

    @property
    def now_s(self) -> float:
        """The time."""
        return self.world.kernel.now_s

    def after(self, wait_s: float, happening: Happening) -> None:
        """Let something happen later."""
        self.world.kernel.after(happening, wait_s=wait_s, priority=Priority.OBSERVATION)

    def carry_out(self, actions: list[act.Action]) -> None:
        """Do what is asked for."""
        self.world.carry_out(actions)

    def keeps(self, event: ev.Event) -> bool:
        """The control plane is out: the event waits for its end."""
        return self.world.keeps(event)

    def report(self) -> None:
        """The gang tells its progress until now."""
        self.world.training.catch_up()

    def report_soon(self) -> None:
        """The gang tells its progress within a few steps."""
        self.after(2.0 * self.world.training.workload.cadence.step_s, self.report)

    def answer_again(self, action: act.Action) -> list[ev.Event]:
        """What the launcher of the gang says of something it has done already."""
        gang, generation, now_s = self.world.training.gang, action.token.generation, self.now_s
        if gang.generation != generation or not isinstance(action, (act.StartGang, act.StopGang)):
            return []
        if gang.phase is Phase.ABSENT:
            return [ev.GangStopped(at_s=now_s, generation=generation)]
        if isinstance(action, act.StartGang) and gang.phase is Phase.RUNNING:
            return [ev.GangReady(at_s=now_s, generation=generation, step=action.step or 0)]
        return []

    def is_fit(self, host: int) -> bool:
        """The host could train."""
        return self.world.fleet.is_up(host)

    def trains(self, generation: int) -> bool:
        """The gang of this generation computes steps at this moment."""
        gang = self.world.training.gang
        return gang.generation == generation and gang.run is not None


def _check_buckets(result: CampaignResult, *, num_gpus: int) -> list[Violation]:
    """Conservation of GPU-seconds."""
    whole_gpu_s = result.wall_s * num_gpus
    found = []
    total = sum(result.buckets_gpu_s.values())
    if not math.isclose(total, whole_gpu_s, rel_tol=1e-9, abs_tol=1e-3):
        found.append(f"{total:.1f} GPU-seconds in buckets, {whole_gpu_s:.1f} in the allocation")
    if result.buckets_gpu_s.get("other", 0.0) > 0.01 * whole_gpu_s:
        found.append(f"{result.buckets_gpu_s['other'] / whole_gpu_s:.1%} in other")
    return [Violation(Law.BUCKETS_ADD_UP, result.wall_s, words) for words in found]


def _check_replay(stage: _Stage) -> list[Violation]:
    """A new controller, fed with the book, asks for the same (or more, where one died over it)."""
    controller = Controller(stage.config)
    for event, recorded in stage.turns:
        again = controller.handle(event)
        if again[: len(recorded)] != recorded:
            return [Violation(Law.SAME_AGAIN, event.at_s, f"{recorded}, again: {again}")]
    if controller.state_hash() != stage.wire.controller.state_hash():
        return [Violation(Law.SAME_AGAIN, stage.ground.now_s, "the states differ at the end")]
    return []


# -- shrinking -------------------------------------------------------------------------------


def shrink(case: Case, law: Law, *, base: Study, max_runs: int = 400) -> Case:
    """A smaller case that breaks the same law: simpler settings, fewer faults and messages."""
    budget = [max_runs]

    def fails(candidate: Case) -> bool:
        if budget[0] <= 0:
            return False
        budget[0] -= 1
        return any(v.law is law for v in run_case(candidate, base=base).violations)

    for simpler in _simpler(case):
        candidate = replace(case, **simpler)
        if fails(candidate):
            case = candidate
    report = run_case(case, base=base)
    shorter = _until_violation(report, law)
    if shorter is not None and fails(shorter):
        case = shorter
        report = run_case(case, base=base)
    messages = [number for number, _, _ in report.met]
    case = replace(case, messages=tuple(messages))
    numbers = range(report.num_strikes)
    strikes = reduce(list(numbers), lambda kept: fails(replace(case, strikes=tuple(kept))))
    case = replace(case, strikes=tuple(strikes))
    met = [number for number, _, _ in run_case(case, base=base).met]
    kept = reduce(met, lambda found: fails(replace(case, messages=tuple(found))))
    return replace(case, messages=tuple(kept))


def _simpler(case: Case) -> list[dict[str, Any]]:
    """Changes that make a case simpler, boldest first."""
    changes: list[dict[str, Any]] = [
        {"noise": {}}, {"recovery": {}}, {"job_rate_per_day": 0.0},
        {"false_alarm_share": 0.0}, {"batch_share": 0.0},
        {"num_hosts": 4, "num_spares": 2}, {"repair_mean_s": case.repair_median_s},
    ]  # fmt: skip
    changes += [{"noise": {**case.noise, name: 0.0}} for name in (*_NOISES, "crashed")]
    return changes


def _until_violation(report: Report, law: Law) -> Case | None:
    """The same case, over soon after the law was broken; None where the end itself broke it."""
    at_s = next((v.at_s for v in report.violations if v.law is law), None)
    if at_s is None or at_s >= report.quiet_s:
        return None
    tail_s = report.case.days * DAY_S - report.quiet_s
    return replace(report.case, days=(at_s + tail_s + 60.0) / DAY_S)


def reduce(items: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
    """Delta debugging: a short sub-list of ``items`` that still fails (ddmin)."""
    kept, parts = list(items), 2
    if fails([]):
        return []
    while len(kept) >= 2:
        size = -(-len(kept) // parts)
        chunks = [kept[at : at + size] for at in range(0, len(kept), size)]
        smaller = next(
            (rest for chunk in chunks if fails(rest := [n for n in kept if n not in chunk])), None
        )
        if smaller is not None:
            kept, parts = smaller, max(parts - 1, 2)
        elif parts >= len(kept):
            break
        else:
            parts = min(len(kept), 2 * parts)
    return kept


def story(report: Report) -> list[str]:
    """The turns of the controller that say something, one line each."""
    lines = []
    for event, actions in report.turns:
        spoken = [a for a in actions if not isinstance(a, act.WakeAt)]
        if spoken or not isinstance(event, (ev.Ticked, ev.StepsDone, ev.CheckpointCommitted)):
            answer = "; ".join(_short(action) for action in spoken) or "-"
            lines.append(f"{_short(event)} => {answer}")
    return lines


def _short(message: ev.Event | act.Action) -> str:
    """One message in a few words; a long row of hosts is cut."""
    fields = {name: getattr(message, name) for name in message.__dataclass_fields__}
    parts = []
    for name, value in fields.items():
        if isinstance(value, act.Token):
            parts.append(f"{value.generation}.{value.attempt}")
        elif isinstance(value, tuple) and len(value) > 8:
            parts.append(f"{name}=({len(value)})")
        elif isinstance(value, float):
            parts.append(f"{value:.1f}" if name == "at_s" else f"{name}={value:.6g}")
        elif value not in (None, "", ()):
            parts.append(f"{name}={value}")
    return f"{type(message).__name__}({', '.join(parts)})"
