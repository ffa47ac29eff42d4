"""The swarm: every seed is a factory of its own, with troubles of its own, under the same laws.

The production controller runs in the twin behind a `Wire`, and `Laws` watches; cases.py draws what
a seed is.

A run that breaks a law is shrunk by delta debugging (Zeller and Hildebrandt, IEEE TSE 28, 2002)
over its faults and its disturbed messages, both of which are numbered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig
from gigafactory.control.controller import Controller
from gigafactory.control.states import Phase as BrainPhase
from gigafactory.describe.study import Study
from gigafactory.ledger.fold import Tally
from gigafactory.ledger.sink import Sink
from gigafactory.simulate import faults as fl
from gigafactory.simulate.campaign import CampaignResult, Stage, config_of, follow
from gigafactory.simulate.cases import NOISES, Case, lasting, study_of, workload_of_case
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.gang import Phase
from gigafactory.simulate.kernel import Happening, Priority
from gigafactory.simulate.laws import Law, Laws, Violation
from gigafactory.simulate.pool import SharedPool
from gigafactory.simulate.pool_cases import pool_of
from gigafactory.simulate.pool_laws import PoolLaws
from gigafactory.simulate.pool_line import LineNoise, PoolLine
from gigafactory.simulate.sight import Sight
from gigafactory.simulate.wire import Noise, Scribe, Trouble, Wire
from gigafactory.simulate.world import Brain, World
from gigafactory.units import DAY_S, HOUR_S

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
    num_loans: int = 0
    num_recalls: int = 0


#: Makes the controller; tests put one with a defect here.
Maker = Callable[[ControlConfig], Controller]


def run_case(case: Case, *, base: Study, keep: bool = False, seeds_replayed: int = 1) -> Report:
    """Run ``case`` under all laws.

    ``keep``: the turns of the controller are kept for printing. One case in ``seeds_replayed`` is
    also fed to a second controller, which must do the same.
    """
    is_replayed = case.seed % seeds_replayed == 0
    study, workload = study_of(case, base=base), workload_of_case(case, base=base)
    study = study.model_copy(update={"pool": pool_of(case)})
    bound_s = recovery_bound_s(config_of(study, workload=workload)) + lease_s(case)
    stage = _Stage(case, keep=keep or is_replayed, bound_s=bound_s)
    ledger = Tally()
    result = follow(
        lasting(study, duration_s=stage.end_s),
        workload=workload,
        seed=case.seed,
        ledger=ledger,
        delays=DELAYS,
        stage=stage,
    )
    broken = [*stage.laws.broken, *_check_buckets(result, case, base=base)]
    if stage.pool_laws is not None:
        stage.pool_laws.end(quiet_s=stage.quiet_s)
        broken += stage.pool_laws.broken
    if is_replayed:
        broken += _check_replay(stage)
    return Report(
        case, broken, stage.quiet_s, len(stage.wire.history), stage.num_strikes,
        stage.wire.num_crashes,
        result.goodput, stage.wire.met, stage.turns if keep else [],
        num_loans=stage.pool_laws.num_loans if stage.pool_laws else 0,
        num_recalls=stage.pool_laws.num_recalls if stage.pool_laws else 0,
    )  # fmt: skip


DELAYS = Delays(notice_s=1800.0, person_s=600.0)


_LIVES = frozenset({BrainPhase.RUNNING, BrainPhase.DRAINING, BrainPhase.FINISHED})
#: At a job that shares its hosts, before it counts as dead.
_MAX_LOOKS = 8


class _Stage(Stage):
    """Puts the wire between brain and world, and lets the faults end before the campaign does."""

    def __init__(self, case: Case, *, keep: bool, bound_s: float) -> None:
        self.case = case
        self.keep = keep
        self.bound_s = bound_s
        self.quiet_s = case.days * DAY_S
        self.num_strikes = 0
        self.turns: list[tuple[ev.Event, list[act.Action]]] = []
        self.pool_laws: PoolLaws | None = None
        self._admitted = None if case.strikes is None else frozenset(case.strikes)

    def brain(self, config: ControlConfig, ledger: Sink) -> Brain:
        """The controller at the end of a bad line."""
        self.config = config
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
            generation = controller.generation
            ledger.decide(event, actions, state_hash=controller.state_hash, generation=generation)
            if self.keep:
                self.turns.append((event, actions))

        return enter

    def set_up(self, world: World) -> None:
        """The other end of the wire, and the end of all faults."""
        self.ground.world = world
        world.troubles.sight = Sight(self.case.sight)
        self.wire.attach(self.ground)
        at_s = self.quiet_s + self.bound_s
        world.kernel.schedule(world.heal, at_s=self.quiet_s, priority=Priority.PHYSICS)
        look = partial(self._check_life, _MAX_LOOKS if self.case.pool else 0)
        world.kernel.schedule(look, at_s=at_s, priority=Priority.TICK)

    @property
    def end_s(self) -> float:
        """When all has been checked."""
        return self.quiet_s + self.bound_s + _MAX_LOOKS * self._look_s

    @property
    def _look_s(self) -> float:
        """Between two looks whether it lives: a pool may just then want hosts back."""
        return self.bound_s / _MAX_LOOKS if self.case.pool else 0.0

    def set_up_pool(self, pool: SharedPool) -> None:
        """Its laws, and the bad line to its brain."""
        kernel, noise = self.ground.world.kernel, self.case.noise
        self.pool_laws = PoolLaws(
            pool.brain, hosts=pool.hosts, computing=self.ground.computing,
            now_s=lambda: kernel.now_s,
        )  # fmt: skip
        pool.watch = self.pool_laws.heard
        known = {name: noise[name] for name in ("lost", "doubled", "stale", "stale_s") if noise}
        line_noise = LineNoise(**known, until_s=self.quiet_s)
        pool.line = PoolLine(pool.hear, noise=line_noise, kernel=kernel, seed=self.case.seed)

    def admits(self, point: fl.Point) -> bool:
        """Faults are numbered in order of time, and end in time."""
        number = self.num_strikes
        self.num_strikes += 1
        if point.at_s >= self.quiet_s:
            return False
        return self._admitted is None or number in self._admitted

    def _check_life(self, num_more: int) -> None:
        controller, out = self.wire.controller, self.ground.world.training.gang.out
        lives = controller.phase in _LIVES and not out
        if num_more and not lives:
            again = partial(self._check_life, num_more - 1)
            self.ground.world.kernel.after(again, wait_s=self._look_s, priority=Priority.TICK)
        elif controller.phase not in _LIVES:
            held = f", held: {controller.held.value}" if controller.held else ""
            words = (
                f"{self.bound_s:.0f} s after the last fault it is {controller.phase.value}{held}"
            )
            self.laws.broken.append(Violation(Law.LIVES_ON, self.ground.now_s, words))
        elif out:
            words = f"{self.bound_s:.0f} s after the last fault replicas {sorted(out)} are out"
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
        if isinstance(action, act.JoinReplica) and gang.generation == generation:
            return self._answer_join(action)
        if gang.generation != generation or not isinstance(action, (act.StartGang, act.StopGang)):
            return []
        if gang.phase is Phase.ABSENT:
            return [ev.GangStopped(at_s=now_s, generation=generation)]
        if isinstance(action, act.StartGang) and gang.phase is Phase.RUNNING:
            return [ev.GangReady(at_s=now_s, generation=generation, step=action.step or 0)]
        return []

    def _answer_join(self, action: act.JoinReplica) -> list[ev.Event]:
        gang, incarnation = self.world.training.gang, action.token.attempt
        if action.replica in gang.out or gang.incarnations.get(action.replica) != incarnation:
            return []
        ready = ev.ReplicaReady(
            at_s=self.now_s,
            generation=gang.generation,
            replica=action.replica,
            incarnation=incarnation,
        )
        return [ready]

    def computing(self) -> Set[int]:
        """The hosts whose processes take part in a step at this moment."""
        gang = self.world.training.gang
        return gang.members if gang.run is not None else frozenset()

    def is_fit(self, host: int) -> bool:
        """The host could train."""
        return self.world.fleet.is_up(host)

    def is_cut_off(self, host: int) -> bool:
        """Its links are down."""
        return self.world.training.gang.is_cut_off(host)

    @property
    def storage(self) -> float:
        """How many times its usual time the store takes."""
        return self.world.training.saving.store.slowdown

    def trains(self, generation: int) -> bool:
        """The gang of this generation computes steps at this moment."""
        gang = self.world.training.gang
        return gang.generation == generation and gang.run is not None


def _check_buckets(result: CampaignResult, case: Case, *, base: Study) -> list[Violation]:
    """Conservation of GPU-seconds; of a pool's hosts just what the pool itself says it lent."""
    lent_host_s, precision = (result.pool.lent_host_s if result.pool else 0.0), 1e-9
    if lent_host_s and case.noise.get("skewed"):
        # a clock that goes before makes the book learn of a loan too late
        precision = 1e-4
    num_own = case.num_hosts + case.num_spares
    whole_gpu_s = (result.wall_s * num_own + lent_host_s) * base.cluster.host.num_gpus
    found = []
    total = sum(result.buckets_gpu_s.values())
    if not math.isclose(total, whole_gpu_s, rel_tol=precision, abs_tol=1e-3):
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


def shrink(case: Case, law: StrEnum, *, base: Study, max_runs: int = 400) -> Case:
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
    changes += [{"pool": {}}] if case.pool else []
    changes += [{"noise": {**case.noise, name: 0.0}} for name in (*NOISES, "crashed")]
    return changes


def _until_violation(report: Report, law: StrEnum) -> Case | None:
    """The same case, over soon after the law was broken; None where the end itself broke it."""
    at_s = next((v.at_s for v in report.violations if v.law is law), None)
    if at_s is None or at_s >= report.quiet_s:
        return None
    return replace(report.case, days=(at_s + 60.0) / DAY_S)


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
