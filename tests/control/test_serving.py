"""The scheduler of a serving engine, against an engine that holds real block numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control.batching import (
    Arrived,
    Closing,
    Compute,
    Computed,
    Displaced,
    Ended,
    Evicted,
    Gone,
    Published,
    Refusal,
    Refused,
    ServingLimits,
    Started,
)
from gigafactory.control.serving import Scheduler

BLOCK = 4


def limits(**fields: object) -> ServingLimits:
    plain = {"max_running": 3, "max_waiting": 50, "num_blocks": 12, "block_tokens": BLOCK,
             "max_step_tokens": 6}  # fmt: skip
    return ServingLimits(**(plain | fields))


class Engine:
    """Carries the actions out with numbered blocks, and fails where two would share by mistake."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.free = set(range(scheduler.limits.num_blocks))
        self.published: dict[int, int] = {}
        self.tables: dict[int, list[int]] = {}
        self.asked: dict[int, Arrived] = {}
        self.cached: dict[int, int] = {}
        self.said: dict[int, int] = {}
        self.refused: dict[int, Refusal] = {}
        self.displaced = 0
        self.ended: list[int] = []

    def tell(self, event: object) -> None:
        if isinstance(event, Arrived):
            self.asked[event.id] = event
            self.said[event.id] = 0
        for action in self.scheduler.handle(event):
            self.carry_out(action)
        self.check()

    def carry_out(self, action: object) -> None:
        if isinstance(action, Refused):
            self.refused[action.id] = action.why
        elif isinstance(action, Started):
            keys = self.asked[action.id].keys[: action.num_shared]
            self.tables[action.id] = [self.published[key] for key in keys]
            self.cached[action.id] = BLOCK * action.num_shared
            ready = self.asked[action.id].ready_tokens
            assert not action.decodes or ready == self.asked[action.id].prompt_tokens - 1
            if ready > self.cached[action.id] and not self.said[action.id]:
                self.grow(action.id, ready - self.cached[action.id])
        elif isinstance(action, Evicted):
            self.free |= {self.published.pop(key) for key in action.keys}
        elif isinstance(action, Published):
            for index in action.indices:
                self.published[self.asked[action.id].keys[index]] = self.tables[action.id][index]
        elif isinstance(action, Displaced | Ended):
            mine = set(self.tables.pop(action.id, []))
            self.free |= mine - set(self.published.values())
            if isinstance(action, Ended):
                self.ended.append(action.id)
            else:
                self.displaced += 1
        elif isinstance(action, Compute):
            for chunk in action.chunks:
                assert chunk.first == self.cached[chunk.id]
            assert sum(self.cached[i] for i in action.decodes) == action.held_tokens

    def grow(self, ident: int, num_tokens: int) -> None:
        self.cached[ident] += num_tokens
        table = self.tables[ident]
        while len(table) * BLOCK < self.cached[ident]:
            table.append(self.free.pop())

    def step(self, repeats: int = 1) -> None:
        compute = self.scheduler.step
        assert compute is not None
        for chunk in compute.chunks:
            self.grow(chunk.id, chunk.num_tokens)
            if chunk.is_last:
                assert (
                    self.cached[chunk.id]
                    == self.asked[chunk.id].prompt_tokens + self.said[chunk.id]
                )
                self.said[chunk.id] += 1
        for ident in compute.decodes:
            self.grow(ident, repeats)
            self.said[ident] += repeats
        spoke = [c.id for c in compute.chunks if c.is_last] + list(compute.decodes)
        ended = tuple(i for i in spoke if self.said[i] >= self.asked[i].max_tokens)
        self.tell(Computed(at_s=0.0, num_repeats=repeats, ended=ended))

    def repeats(self) -> int:
        """As often as the scheduler and the first to end permit."""
        compute = self.scheduler.step
        assert compute is not None
        left = [self.asked[i].max_tokens - self.said[i] for i in compute.decodes]
        repeats = min([compute.max_repeats, *left])
        held = [self.cached[i] for i in compute.decodes]
        needed = sum(-(-(n + repeats) // BLOCK) - -(-n // BLOCK) for n in held)
        return repeats if needed <= len(self.free) else 1

    def check(self) -> None:
        blocks = self.scheduler.blocks
        assert 0 <= blocks.num_free <= blocks.num_blocks
        held = [block for table in self.tables.values() for block in table]
        private = [block for block in held if block not in self.published.values()]
        assert len(private) == len(set(private))
        assert blocks.num_published == len(self.published)
        step = self.scheduler.step
        if step is not None:
            assert (
                len(step.decodes) + sum(c.num_tokens for c in step.chunks)
                <= self.scheduler.limits.max_step_tokens
            )
            assert self.scheduler.num_running <= self.scheduler.limits.max_running


def keys_of(prompt_tokens: int, topic: int) -> tuple[int, ...]:
    """Prompts of one topic begin alike."""
    return tuple(1000 * topic + index for index in range(prompt_tokens // BLOCK))


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.integers(1, 30),
            st.integers(1, 25),
            st.integers(0, 2),
            st.integers(0, 3),
        ),
        st.tuples(st.just("step"), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 10)),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(EVENTS)
def test_whatever_happens_memory_is_kept_apart_and_all_get_what_they_asked_for(
    events: list,
) -> None:
    engine = Engine(Scheduler(limits()))
    num_asked = 0
    gone = set()
    for what, *rest in events:
        if what == "ask":
            prompt, most, topic, missing = rest
            ready = max(0, prompt - missing) if missing else 0
            engine.tell(Arrived(at_s=0.0, id=num_asked, prompt_tokens=prompt, max_tokens=most,
                                keys=keys_of(prompt, topic), ready_tokens=ready))  # fmt: skip
            num_asked += 1
        elif what == "leave" and rest[0] < num_asked:
            gone.add(rest[0])
            engine.tell(Gone(at_s=0.0, id=rest[0]))
        elif what == "step" and engine.scheduler.step:
            engine.step(engine.repeats() if rest[0] else 1)
    while engine.scheduler.step:
        engine.step(engine.repeats())
    for ident, asked in engine.asked.items():
        assert (ident in engine.refused) != (ident in engine.ended)
        if ident not in engine.refused and ident not in gone:
            assert engine.said[ident] == asked.max_tokens
    blocks = engine.scheduler.blocks
    assert blocks.num_available == blocks.num_blocks
    assert not engine.tables


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 25)), min_size=1, max_size=12))
def test_many_repeats_are_the_same_as_many_steps(asked: list[tuple[int, int]]) -> None:
    def told(*, at_once: bool) -> tuple[list[int], int, list[int]]:
        engine = Engine(Scheduler(limits()))
        for ident, (prompt, most) in enumerate(asked):
            engine.tell(Arrived(at_s=0.0, id=ident, prompt_tokens=prompt, max_tokens=most))
        while engine.scheduler.step:
            engine.step(engine.repeats() if at_once else 1)
        return engine.ended, engine.displaced, sorted(engine.refused)

    assert told(at_once=True) == told(at_once=False)


def test_the_second_prompt_of_a_kind_is_computed_from_where_the_first_ended() -> None:
    engine = Engine(Scheduler(limits()))
    for ident in (0, 1):
        engine.tell(Arrived(at_s=0.0, id=ident, prompt_tokens=9, max_tokens=2, keys=keys_of(9, 1)))
        while engine.scheduler.step:
            first = engine.scheduler.step.chunks[:1]
            engine.step()
            if ident == 1 and first and engine.said[1] == 1:
                assert (first[0].first, first[0].num_tokens) == (8, 1)
    assert engine.ended == [0, 1]


def test_the_youngest_gives_way_where_memory_ends() -> None:
    engine = Engine(Scheduler(limits(num_blocks=5, max_running=2)))
    for ident in (0, 1):
        engine.tell(Arrived(at_s=0.0, id=ident, prompt_tokens=4, max_tokens=12))
    while engine.scheduler.step:
        engine.step()
    assert engine.displaced >= 1
    assert engine.ended == [0, 1]
    assert engine.said == {0: 12, 1: 12}


def test_refusals_say_why() -> None:
    scheduler = Scheduler(limits(max_running=1, max_waiting=1, max_wait_s=5.0))
    ask = {"prompt_tokens": 4, "max_tokens": 4}
    assert Refused(9, Refusal.TOO_LONG) in scheduler.handle(
        Arrived(at_s=0.0, id=9, prompt_tokens=60, max_tokens=1)
    )
    scheduler.handle(Arrived(at_s=0.0, id=0, **ask))
    assert scheduler.handle(Arrived(at_s=0.0, id=1, **ask)) == ()
    assert scheduler.handle(Arrived(at_s=0.0, id=2, **ask)) == (Refused(2, Refusal.FULL),)
    assert Refused(1, Refusal.WAITED) in scheduler.handle(Computed(at_s=6.0, ended=(0,)))
    scheduler.handle(Closing(at_s=7.0))
    assert scheduler.handle(Arrived(at_s=7.0, id=3, **ask)) == (Refused(3, Refusal.CLOSING),)


def test_impossible_limits_and_events_are_refused() -> None:
    with pytest.raises(ValueError, match="num_blocks 0 is below 1"):
        limits(num_blocks=0)
    with pytest.raises(ValueError, match="max_step_tokens 2 < max_running 3"):
        limits(max_step_tokens=2)
    with pytest.raises(ValueError, match="no step"):
        Scheduler(limits()).handle(Computed(at_s=0.0))


def test_tokens_that_come_ready_are_not_computed_again() -> None:
    scheduler = Scheduler(limits())
    actions = scheduler.handle(
        Arrived(at_s=0.0, id=1, prompt_tokens=9, max_tokens=4, ready_tokens=7)
    )
    (step,) = [action for action in actions if isinstance(action, Compute)]
    (chunk,) = step.chunks
    assert (chunk.first, chunk.num_tokens, chunk.is_last) == (7, 2, True)
    # the blocks are the whole prompt's all the same
    assert scheduler.blocks.num_free == 12 - 3
    with pytest.raises(ValueError, match="9 ready of 9"):
        scheduler.handle(Arrived(at_s=0.0, id=2, prompt_tokens=9, max_tokens=4, ready_tokens=9))


def test_who_comes_whole_but_for_the_newest_token_is_answered_at_once() -> None:
    scheduler = Scheduler(limits())
    started, step = scheduler.handle(
        Arrived(at_s=0.0, id=1, prompt_tokens=9, max_tokens=4, ready_tokens=8)
    )
    assert started == Started(1, 0, decodes=True)
    assert isinstance(step, Compute)
    assert (step.chunks, list(step.decodes), step.held_tokens) == ((), [1], 8)
    # two blocks of the prompt, and the one that its newest token begins
    assert scheduler.blocks.num_free == 12 - 3
    assert step.max_repeats > 1


def test_a_long_prompt_is_cut_where_others_may_be_computed_beside_it() -> None:
    scheduler = Scheduler(limits(max_step_tokens=6, max_chunk_tokens=4))
    scheduler.handle(Arrived(at_s=0.0, id=1, prompt_tokens=9, max_tokens=2))
    scheduler.handle(Arrived(at_s=0.0, id=2, prompt_tokens=3, max_tokens=2))
    seen = []
    for _ in range(3):
        seen.append([(c.id, c.num_tokens) for c in scheduler.step.chunks])
        scheduler.handle(Computed(at_s=0.0))
    assert seen == [[(1, 4)], [(1, 4), (2, 2)], [(1, 1), (2, 1)]]


def test_a_prompt_of_one_token_is_computed() -> None:
    scheduler = Scheduler(limits())
    actions = scheduler.handle(Arrived(at_s=0.0, id=1, prompt_tokens=1, max_tokens=4))
    (step,) = [action for action in actions if isinstance(action, Compute)]
    assert [chunk.id for chunk in step.chunks] == [1]


def test_who_gave_way_computes_also_what_came_ready() -> None:
    scheduler = Scheduler(limits(num_blocks=7))
    for ident in (1, 2):
        scheduler.handle(
            Arrived(at_s=0.0, id=ident, prompt_tokens=9, max_tokens=10, ready_tokens=8)
        )
    actions: tuple[object, ...] = ()
    for _ in range(9):
        if not any(isinstance(action, Displaced) for action in actions):
            actions = scheduler.handle(Computed(at_s=0.0))
    assert any(isinstance(action, Displaced) for action in actions)
    (talk,) = scheduler._waiting
    assert talk.done == talk.ready == 0
