"""The brain and the router of a serving fleet, whatever happens."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control.routing import Router
from gigafactory.control.scaling import (
    DrainReplica,
    LoadSeen,
    Phase,
    ReplicaEmpty,
    ReplicaLost,
    ReplicaReady,
    RoleRule,
    RoomSeen,
    ScalingRules,
    ServeController,
    ServeOpened,
    StartReplica,
    StopReplica,
    TakeRequests,
)
from gigafactory.describe.serve import Role

RULES = ScalingRules(
    roles=(
        RoleRule(role=Role.PREFILL, num_gpus=4, requests_per_s=6.0),
        RoleRule(role=Role.DECODE, num_gpus=8, requests_per_s=10.0),
    ),
    headroom=0.2,
    lead_s=300.0,
    cooldown_s=600.0,
    late_share=0.01,
)
LIVING = (Phase.STARTING, Phase.SERVING, Phase.DRAINING)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.floats(0, 500), st.floats(0, 1)),
        st.tuples(st.just("ready"), st.integers(0, 60), st.just(0.0)),
        st.tuples(st.just("lost"), st.integers(0, 60), st.just(0.0)),
        st.tuples(st.just("empty"), st.integers(0, 60), st.just(0.0)),
        st.tuples(st.just("room"), st.integers(0, 900), st.just(0.0)),
    ),
    max_size=60,
)


def event_of(kind: str, value: float, share: float, *, at_s: float) -> object:
    number = int(value)
    match kind:
        case "load":
            late = ((Role.PREFILL, share), (Role.DECODE, share / 2))
            return LoadSeen(at_s=at_s, requests_per_s=value, late_shares=late)
        case "ready":
            return ReplicaReady(at_s=at_s, replica=number)
        case "lost":
            return ReplicaLost(at_s=at_s, replica=number)
        case "empty":
            return ReplicaEmpty(at_s=at_s, replica=number)
    return RoomSeen(at_s=at_s, num_gpus=number)


class World:
    """Carries out what the brain asks for, and fails where it asks for what cannot be."""

    def __init__(self) -> None:
        self.phase: dict[int, str] = {}
        self.role: dict[int, Role] = {}

    def carry_out(self, actions: tuple[object, ...]) -> None:
        for action in actions:
            if isinstance(action, StartReplica):
                assert action.replica not in self.role, "a number is given once"
                self.phase[action.replica], self.role[action.replica] = "starting", action.role
            elif isinstance(action, TakeRequests):
                assert self.phase[action.replica] in ("starting", "draining")
                self.phase[action.replica] = "serving"
            elif isinstance(action, DrainReplica):
                assert self.phase[action.replica] == "serving"
                self.phase[action.replica] = "draining"
            elif isinstance(action, StopReplica):
                assert self.phase.pop(action.replica) in ("starting", "draining")


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_whatever_happens_the_brain_asks_for_what_can_be_done(
    events: list[tuple[str, float, float]],
) -> None:
    brain, twin, world = ServeController(RULES), ServeController(RULES), World()
    opened = ServeOpened(at_s=0.0, requests_per_s=50.0, num_gpus=400)
    world.carry_out(brain.handle(opened))
    twin.handle(opened)
    room = 400
    for number, (kind, value, share) in enumerate(events):
        event = event_of(kind, value, share, at_s=60.0 * (number + 1))
        if isinstance(event, ReplicaLost):
            world.phase.pop(event.replica, None)
        before = sum(RULES.roles[r is Role.DECODE].num_gpus for r in living(brain, world))
        actions = brain.handle(event)
        room = event.num_gpus if isinstance(event, RoomSeen) else room
        world.carry_out(actions)
        assert actions == twin.handle(event)
        assert brain.state_hash == twin.state_hash
        started = [a for a in actions if isinstance(a, StartReplica)]
        used = sum(RULES.roles[r is Role.DECODE].num_gpus for r in living(brain, world))
        assert used <= max(room, before)
        assert not started or used <= room
        for ident, phase in world.phase.items():
            assert brain.phase(ident) == phase
        for role in Role:
            counted = Counter(world.phase[n] for n in world.phase if world.role[n] is role)
            for phase in LIVING:
                assert brain.num_replicas(role, phase) == counted[phase.value]


def living(brain: ServeController, world: World) -> list[Role]:
    return [world.role[n] for n in world.phase if brain.phase(n)]


def opened(rate: float) -> tuple[ServeController, list[int]]:
    brain = ServeController(RULES)
    started = brain.handle(ServeOpened(at_s=0.0, requests_per_s=rate, num_gpus=10_000))
    numbers = [a.replica for a in started if isinstance(a, StartReplica)]
    for number in numbers:
        brain.handle(ReplicaReady(at_s=0.0, replica=number))
    return brain, numbers


def test_there_are_as_many_as_the_demand_needs_with_headroom() -> None:
    brain, _ = opened(100.0)
    assert brain.num_replicas(Role.PREFILL, Phase.SERVING) == 20
    assert brain.num_replicas(Role.DECODE, Phase.SERVING) == 12


def test_one_that_is_lost_is_replaced_at_once() -> None:
    brain, numbers = opened(100.0)
    actions = brain.handle(ReplicaLost(at_s=1.0, replica=numbers[0]))
    assert [type(a) for a in actions] == [StartReplica]
    assert actions[0].role is Role.PREFILL


def test_nothing_is_given_up_before_the_cooldown_is_over() -> None:
    brain, _ = opened(100.0)
    told = {}
    for minute in range(1, 60):
        at_s = 60.0 * minute
        told[at_s] = brain.handle(LoadSeen(at_s=at_s, requests_per_s=20.0))
    drained = [at_s for at_s, actions in told.items() if actions]
    assert min(drained) > RULES.cooldown_s
    assert isinstance(told[min(drained)][0], DrainReplica)
    assert not any(isinstance(a, StartReplica) for actions in told.values() for a in actions)


def test_one_that_drains_is_called_back_before_another_is_ordered() -> None:
    brain, _ = opened(100.0)
    for minute in range(1, 60):
        brain.handle(LoadSeen(at_s=60.0 * minute, requests_per_s=20.0))
    draining = brain.num_replicas(Role.DECODE, Phase.DRAINING)
    assert draining > 3
    actions = brain.handle(LoadSeen(at_s=3601.0, requests_per_s=100.0))
    assert actions
    assert all(isinstance(a, TakeRequests) for a in actions)


def test_where_too_many_are_late_more_replicas_are_wanted_of_the_role_that_is_late() -> None:
    brain, _ = opened(100.0)
    for minute in range(1, 30):
        late = ((Role.PREFILL, 0.05), (Role.DECODE, 0.0))
        brain.handle(LoadSeen(at_s=60.0 * minute, requests_per_s=100.0, late_shares=late))
    assert brain.num_replicas(Role.PREFILL, Phase.SERVING, Phase.STARTING) > 22
    assert brain.num_replicas(Role.DECODE, Phase.SERVING, Phase.STARTING) == 12


def test_a_growing_demand_is_met_before_it_is_there() -> None:
    brain, _ = opened(100.0)
    for minute in range(1, 31):
        brain.handle(LoadSeen(at_s=60.0 * minute, requests_per_s=100.0 + 4 * minute))
    now = 220.0 * 1.2 / 10.0
    assert brain.num_replicas(Role.DECODE, Phase.SERVING, Phase.STARTING) > now


def test_a_rule_without_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="must bear requests"):
        ScalingRules(roles=(RoleRule(role=Role.WHOLE, num_gpus=8, requests_per_s=0.0),))


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 500), min_size=2, max_size=30), st.integers(0, 2**40))
def test_a_conversation_moves_only_when_its_replica_leaves(
    replicas: set[int], conversation: int
) -> None:
    router = Router()
    for replica in sorted(replicas):
        router.add(replica)
    home = router.route(conversation)
    assert home in replicas
    router.ended(home)
    for replica in sorted(replicas - {home}):
        router.remove(replica)
        again = router.route(conversation)
        assert again == home
        router.ended(home)
    router.remove(home)
    assert router.route(conversation) is None


def test_requests_spread_evenly_and_the_less_loaded_of_two_takes_them() -> None:
    router = Router()
    for replica in range(20):
        router.add(replica)
    for conversation in range(4000):
        router.route(conversation)
    loads = [router.load(replica) for replica in range(20)]
    assert sum(loads) == 4000
    assert max(loads) < 1.3 * 200
    assert min(loads) > 0.7 * 200
