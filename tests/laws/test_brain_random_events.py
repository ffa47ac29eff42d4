"""Laws of the controller over event sequences nobody would write by hand."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig, Prices
from gigafactory.control.controller import Controller
from gigafactory.control.states import LIVE, TRANSITIONS, Phase
from gigafactory.control.timeouts import ladder
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.exchange import (
    action_from_json,
    action_to_json,
    event_from_json,
    event_to_json,
)

NUM_STEPS = 60
CONFIG = ControlConfig(
    ladder=ladder(
        heartbeat_floor_s=10, collective_floor_s=60, join_floor_s=300, report_s=1, start_s=30
    ),
    max_evictions_per_h=4,
    max_hold_s=3 * 86400.0,
)
#: Four seats: two replicas of two hosts, and the keeper of a copy sits in the other replica.
GROUPED = Prices(can_shrink=True, num_replicas=2, replica_hosts=2, peer_stride=2, has_local=True)
HOT = replace(CONFIG, prices=replace(GROUPED, recovery=Recovery.HOT))
REPLICAS = replace(CONFIG, prices=replace(GROUPED, recovery=Recovery.REPLICAS))
CONFIGS = (CONFIG, HOT, REPLICAS)
config = st.sampled_from(CONFIGS)
LAUNCH = ev.Launched(at_s=0.0, hosts=(0, 1, 2, 3), spares=(4, 5), num_steps=NUM_STEPS)

host = st.integers(0, 7)
hosts = st.lists(host, max_size=4).map(tuple)
generation = st.integers(0, 4)
step = st.integers(-1, NUM_STEPS + 5)
token = st.builds(act.Token, generation=generation, attempt=st.integers(0, 30))
word = st.sampled_from(["", "OOM", "xid 79"])
FIELDS = {
    "host": host,
    "hosts": hosts,
    "spares": hosts,
    "generation": generation,
    "step": step,
    "num_steps": st.just(NUM_STEPS),
    "committed_step": st.none() | step,
    "clean_step": step,
    "finite": st.booleans(),
    "replicas_agree": st.booleans(),
    "alive": st.booleans(),
    "by_s": st.floats(-100, 5000) | st.just(math.inf) | st.just(math.nan),
    "slowdown": st.sampled_from([0.5, 1.0, 2.0, math.nan]),
    "exit": st.sampled_from(list(ev.Exit)),
    "signature": word,
    "cause": word,
    "reason": word,
    "groups": st.lists(hosts, max_size=3).map(tuple),
    "waiting": hosts,
    "peer_step": st.none() | step,
    "local_step": st.none() | step,
    "lease_s": st.sampled_from([0.0, 30.0, 4000.0]),
    "incarnation": st.integers(0, 30),
    "replica": st.integers(-1, 3),
    "tier": st.sampled_from(list(act.Tier)),
    "differs": st.booleans(),
    "is_contained": st.booleans(),
    "at_s": st.just(0.0),
}
STORAGE_SLOWDOWN = st.sampled_from([0.5, 1.0, 20.0, math.inf, math.nan])


def any_event():
    def build(kind):
        chosen = {name: FIELDS[name] for name in kind.__dataclass_fields__ if name != "token"}
        if kind is ev.WitnessSpoke:
            chosen["token"] = st.none() | token
        if kind in (ev.ActionFailed, ev.Replayed):
            chosen["token"] = token
        if kind is ev.Replayed:
            chosen["clean_step"] = st.none() | step
        if kind is ev.StorageSeen:
            chosen["slowdown"] = STORAGE_SLOWDOWN
        return st.builds(kind, **chosen)

    return st.sampled_from(ev.EVENTS).flatmap(build)


moment = st.tuples(any_event(), st.sampled_from([0.0, 0.5, 3.0, 11.0, 70.0, 400.0, 4000.0]))
story = st.lists(moment, max_size=60)


def told(sequence, *, current=False):
    """Give every event its time; ``current`` moves most of them into the live generation."""
    now_s = 0.0
    for event, after_s in sequence:
        now_s += after_s
        content = {name: getattr(event, name) for name in event.__dataclass_fields__}
        yield type(event)(**(content | {"at_s": now_s}))


def with_generation(event, brain):
    """The same event, out of the generation that lives now."""
    if not hasattr(event, "generation") or isinstance(event, ev.Launched):
        return event
    content = {name: getattr(event, name) for name in event.__dataclass_fields__}
    return type(event)(**(content | {"generation": brain.generation}))


@given(story, st.booleans(), config)
@settings(max_examples=300, deadline=None)
def test_no_sequence_raises_and_every_turn_is_in_the_table(sequence, is_launched, chosen):
    brain = Controller(chosen)
    if is_launched:
        brain.handle(LAUNCH)
    reachable = _reachable()
    for event in told(sequence):
        before = brain.phase
        brain.handle(event)
        assert brain.phase in reachable[before]


def _reachable():
    """Phases that one event may lead to: any chain of turns in the table."""
    found = {phase: {phase} for phase in Phase}
    for _ in Phase:
        for (source, _turn), target in TRANSITIONS.items():
            for targets in found.values():
                if source in targets:
                    targets.add(target)
    return found


@given(story, config)
@settings(max_examples=150, deadline=None)
def test_same_events_same_actions_same_hash(sequence, chosen):
    one, other = Controller(chosen), Controller(chosen)
    for event in [LAUNCH, *told(sequence)]:
        assert one.handle(event) == other.handle(event)
        assert one.state_hash() == other.state_hash()


@given(story, config)
@settings(max_examples=200, deadline=None)
def test_what_it_asks_for_is_always_safe(sequence, chosen):
    """No action breaks a rule, whatever happened before it."""
    brain = Controller(chosen)
    dead: set[int] = set()
    tokens = [act.Token(0, 0)]
    starts: dict[act.Token, act.StartGang] = {}
    good: dict[act.Tier, set[int]] = {tier: set() for tier in act.Tier}
    for raw in [LAUNCH, *told(sequence)]:
        event = with_generation(raw, brain)
        was_live, generation_before = brain.phase in LIVE, brain.generation
        if isinstance(event, ev.HostsDied) and brain.phase is not Phase.IDLE:
            dead |= set(event.hosts)
        if isinstance(event, ev.HostRepaired):
            dead.discard(event.host)
        told_good(event, good)
        for action in brain.handle(event):
            if action.token not in tokens:
                assert action.token > tokens[-1]
                tokens.append(action.token)
            if isinstance(action, act.StartGang) and action.token in starts:
                # a controller that is back asks again for what is open, word for word
                assert isinstance(event, ev.Reattached)
                assert action == starts[action.token]
            elif isinstance(action, act.StartGang):
                starts[action.token] = action
                assert not was_live or isinstance(event, ev.GangStopped) or _is_fenced(brain)
                assert brain.generation == generation_before + 1
                assert len(set(action.hosts)) == len(action.hosts)
                assert len(action.hosts) in ((4,) if chosen is CONFIG else (2, 4))
                assert not dead & set(action.hosts)
                assert action.step is None or action.step in good[action.tier]


def told_good(event, good):
    """Note the steps that an event calls good, each in its tier."""
    if isinstance(event, ev.CheckpointCommitted):
        good[act.Tier.STORE].add(event.step)
    if isinstance(event, ev.StepsDone) and event.finite and event.replicas_agree:
        good[act.Tier.PEER].add(event.peer_step)
        good[act.Tier.LOCAL].add(event.local_step)


def _is_fenced(brain):
    """The old gang did not answer StopGang often enough and was given up."""
    return brain.phase is Phase.STARTING


@given(story, config)
@settings(max_examples=100, deadline=None)
def test_stale_events_leave_the_campaign_alone(sequence, chosen):
    """Events of generations long gone change nothing but their count."""
    brain = Controller(chosen)
    brain.handle(ev.Launched(at_s=0.0, hosts=(0, 1, 2), num_steps=NUM_STEPS, generation=9))
    brain.handle(ev.GangReady(at_s=1.0, generation=10, step=0))
    for raw in told(sequence):
        fenced = (ev.RankExited, ev.GangReady, ev.GangStopped, ev.StepsDone)
        if isinstance(raw, (*fenced, ev.CheckpointCommitted, ev.HangSuspected)):
            content = {name: getattr(raw, name) for name in raw.__dataclass_fields__}
            said = brain.handle(type(raw)(**(content | {"at_s": 2.0})))
            assert not [action for action in said if not isinstance(action, act.WakeAt)]
    assert brain.phase is Phase.RUNNING
    assert brain.committed_step is None


class World:
    """A benign world: everything asked for happens, after a second."""

    def __init__(self, brain, now_s):
        self.brain, self.now_s, self.step = brain, now_s, 0
        self.wake_s, self.todo = now_s + 1.0, []
        self.outcome = None

    def carry_out(self, actions):
        for action in actions:
            match action:
                case act.Finish(outcome=outcome):
                    self.outcome = outcome
                case act.WakeAt(at_s=at_s):
                    self.wake_s = at_s
                case act.StopGang(token=token):
                    self.todo.append(ev.GangStopped(at_s=0.0, generation=token.generation))
                case act.StartGang(token=token, step=step):
                    self.step = step or 0
                    self.todo.append(
                        ev.GangReady(at_s=0.0, generation=token.generation, step=self.step)
                    )
                case act.ProbeHost(host=host, token=token):
                    self.todo.append(ev.WitnessSpoke(at_s=0.0, host=host, alive=True, token=token))
                    self.todo.append(ev.HostReachable(at_s=0.0, host=host))
                case act.JoinReplica(token=token, replica=replica):
                    self.todo.append(
                        ev.ReplicaReady(
                            at_s=0.0,
                            generation=token.generation,
                            replica=replica,
                            incarnation=token.attempt,
                        )
                    )
                case act.ReplaySteps(token=token):
                    self.todo.append(ev.Replayed(at_s=0.0, token=token, differs=False))
                case act.EvictHosts(hosts=hosts):
                    self.todo += [ev.HostRepaired(at_s=0.0, host=host) for host in hosts]

    def advance(self):
        self.now_s += 1.0
        if self.todo:
            self.tell(self.todo.pop(0))
        elif self.brain.phase in (Phase.RUNNING, Phase.DRAINING):
            self.step += 5
            generation = self.brain.generation
            self.tell(ev.StepsDone(at_s=0.0, generation=generation, step=self.step))
            self.tell(ev.CheckpointCommitted(at_s=0.0, generation=generation, step=self.step))
        else:
            self.now_s = max(self.now_s, self.wake_s)
            self.tell(ev.Ticked(at_s=0.0))

    def tell(self, event):
        content = {name: getattr(event, name) for name in event.__dataclass_fields__}
        self.carry_out(self.brain.handle(type(event)(**(content | {"at_s": self.now_s}))))


@given(story, config)
@settings(max_examples=200, deadline=None)
def test_when_faults_stop_the_campaign_gets_done(sequence, chosen):
    """Liveness: only two kinds of HOLD need a person, and then it goes on to the end."""
    brain = Controller(chosen)
    world = World(brain, 0.0)
    world.tell(LAUNCH)
    for raw in told(sequence):
        if not isinstance(raw, ev.StopRequested):
            world.now_s = raw.at_s
            world.carry_out(brain.handle(with_generation(raw, brain)))
    world.tell(ev.LinksUp(at_s=0.0, hosts=tuple(range(8))))
    world.tell(ev.StorageSeen(at_s=0.0, slowdown=1.0))
    world.step = max(world.step, brain.committed_step or 0)
    for _ in range(400):
        if brain.phase is Phase.FINISHED:
            break
        if brain.held in (act.HoldReason.NO_PROGRESS, act.HoldReason.NO_CLEAN_CHECKPOINT):
            world.tell(ev.ResumeRequested(at_s=0.0))
        world.advance()
    assert brain.phase is Phase.FINISHED
    assert world.outcome is act.Outcome.DONE or world.now_s > CONFIG.max_hold_s


@given(any_event())
def test_events_survive_json(event):
    again = event_from_json(event_to_json(event))
    assert repr(again).replace("inf", "nan") == repr(event).replace("inf", "nan")


@given(story, config)
@settings(max_examples=50, deadline=None)
def test_actions_survive_json(sequence, chosen):
    brain = Controller(chosen)
    seats: tuple[int, ...] = ()
    for event in [LAUNCH, *told(sequence)]:
        for action in brain.handle(with_generation(event, brain)):
            assert action_from_json(action_to_json(action), seats=seats) == action
            if isinstance(action, act.StartGang):
                seats = action.hosts
