"""Laws of the pool's brain over event sequences nobody would write by hand."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control import events as ev
from gigafactory.control.lending import (
    LENDING_EVENTS,
    DemandSeen,
    HostBack,
    HostLost,
    Lend,
    LendingConfig,
    LendingController,
    PoolOpened,
    Post,
    Recall,
    TrainingReleased,
)
from gigafactory.units import DAY_S

HOSTS = tuple(range(100, 112))
CONFIG = LendingConfig(
    rates_per_s=tuple(10.0 * num for num in range(len(HOSTS) + 1)),
    min_hosts=3,
    headroom=0.0,
    watch_s=900.0,
)
OPEN = PoolOpened(at_s=0.0, hosts=HOSTS)

host = st.integers(98, 113)
rate = st.floats(-10, 200) | st.sampled_from([0.0, 1e308, math.inf, -math.inf, math.nan])
wait = st.sampled_from([0.0, 1.0, 300.0, 901.0, 7200.0, DAY_S, -500.0, 1e300, math.nan])
event = st.one_of(
    st.builds(PoolOpened, at_s=st.just(0.0), hosts=st.lists(host, max_size=5).map(tuple)),
    st.builds(DemandSeen, at_s=st.just(0.0), requests_per_s=rate, is_late=st.booleans()),
    st.builds(HostLost, at_s=st.just(0.0), host=host),
    st.builds(HostBack, at_s=st.just(0.0), host=host),
    st.builds(TrainingReleased, at_s=st.just(0.0), hosts=st.lists(host, max_size=4).map(tuple)),
    st.builds(ev.Ticked, at_s=st.just(0.0)),
)
story = st.lists(st.tuples(event, wait), max_size=50)


def at(what, at_s):
    content = {name: getattr(what, name) for name in what.__dataclass_fields__}
    return type(what)(**(content | {"at_s": at_s}))


def told(sequence):
    now_s = 0.0
    for what, after_s in sequence:
        now_s += after_s
        yield at(what, now_s)


def days(num, *, rates, start_s=0.0):
    """Demand by the quarter of an hour: ``rates`` are those of the hours of a day."""
    for quarter in range(round(num * 96)):
        at_s = start_s + quarter * 900.0
        yield DemandSeen(at_s=at_s, requests_per_s=rates[int(at_s // 3600) % 24])


NIGHT_AND_DAY = [20.0] * 8 + [100.0] * 16


def trained(config=CONFIG, *, num_days=2.0):
    brain = LendingController(config)
    brain.handle(OPEN)
    said = [action for seen in days(num_days, rates=NIGHT_AND_DAY) for action in brain.handle(seen)]
    return brain, said


@given(story, st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_sequence_raises_and_hosts_are_conserved(sequence, is_trained):
    brain = trained()[0] if is_trained else LendingController(CONFIG)
    brain.handle(OPEN)
    for what in told(sequence):
        brain.handle(what)
        brain.state_hash()
        posts = [brain.post(host) for host in HOSTS]
        assert None not in posts
        assert Counter(posts) == +Counter({post: brain.num_in(post) for post in Post})
        assert sorted(h for post in Post for h in brain.hosts_in(post)) == list(HOSTS)


@given(story)
@settings(max_examples=80, deadline=None)
def test_same_events_same_actions_same_hash(sequence):
    one, other = trained()[0], trained()[0]
    for what in told(sequence):
        assert one.handle(what) == other.handle(what)
        assert one.state_hash() == other.state_hash()


@given(story)
@settings(max_examples=200, deadline=None)
def test_actions_are_safe(sequence):
    """Loans leave the minimum, recalls ask for what is lent, tokens only grow."""
    brain, _ = trained()
    newest = None
    for what in told((w, s) for w, s in sequence if not isinstance(w, PoolOpened)):
        lent = {h for h in HOSTS if brain.post(h) in (Post.LENT, Post.RECALLED)}
        for action in brain.handle(what):
            assert newest is None or action.token > newest
            newest = action.token
            if isinstance(action, Lend):
                assert brain.num_in(Post.SERVING) >= CONFIG.min_hosts
                assert all(brain.post(h) is Post.LENT for h in action.hosts)
                assert lent.isdisjoint(action.hosts)
            if isinstance(action, Recall):
                assert set(action.hosts) <= lent
                assert all(brain.post(h) is Post.RECALLED for h in action.hosts)


@given(st.lists(st.floats(0, 130), min_size=24, max_size=24), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_flapping_is_bounded(rates, shift):
    """However the demand jumps, loans are a cool-down apart from each other and from recalls."""
    brain = LendingController(CONFIG)
    brain.handle(OPEN)
    last_s = -math.inf
    for number, seen in enumerate(days(4, rates=rates)):
        jumped = seen.requests_per_s if (number * 7 + shift) % 3 else 0.0
        for action in brain.handle(DemandSeen(at_s=seen.at_s, requests_per_s=jumped)):
            if isinstance(action, Lend):
                assert seen.at_s - last_s >= CONFIG.cooldown_s
            last_s = seen.at_s


def test_it_learns_a_day_before_it_lends():
    _, said = trained(num_days=1.0)
    assert said == []


def test_it_lends_by_night_and_is_whole_before_the_morning():
    brain, said = trained(num_days=1.2)
    (loan,) = said
    # 20 requests a second need 2 hosts, and 3 is the minimum
    assert isinstance(loan, Lend)
    assert loan.hosts == HOSTS[3:]
    recall = None
    for seen in days(0.4, rates=NIGHT_AND_DAY, start_s=1.2 * DAY_S):
        recall = recall or next(iter(brain.handle(seen)), None)
    assert isinstance(recall, Recall)
    assert len(recall.hosts) == 7  # 100 a second need 10
    morning_s = DAY_S + 8 * 3600.0
    assert recall.by_s + CONFIG.cold_start_s <= morning_s


def test_a_burst_recalls_at_once_the_latest_loans_first():
    brain, _ = trained(num_days=1.1)
    now_s = 1.1 * DAY_S + 60.0
    (recall,) = brain.handle(DemandSeen(at_s=now_s, requests_per_s=59.0))
    assert isinstance(recall, Recall)
    assert recall.by_s == now_s + CONFIG.notice_s
    assert recall.hosts == HOSTS[-3:]


def test_late_answers_recall_although_the_equations_see_no_need():
    brain, _ = trained(num_days=1.1)
    (recall,) = brain.handle(DemandSeen(at_s=1.1 * DAY_S + 60.0, requests_per_s=1.0, is_late=True))
    assert isinstance(recall, Recall)


def test_what_training_does_not_return_is_asked_for_again():
    brain, _ = trained(num_days=1.1)
    now_s = 1.1 * DAY_S + 60.0
    first = brain.handle(DemandSeen(at_s=now_s, requests_per_s=59.0))
    assert not brain.handle(DemandSeen(at_s=now_s + 1.0, requests_per_s=59.0))
    later_s = now_s + CONFIG.notice_s + 1.0
    (again,) = brain.handle(DemandSeen(at_s=later_s, requests_per_s=59.0))
    assert again.hosts == first[0].hosts
    assert again.token > first[0].token


def test_an_old_word_of_a_host_is_not_about_its_loan_of_today():
    brain, said = trained(num_days=1.1)
    (host, *_) = said[0].hosts
    lent_s = 1.1 * DAY_S
    for old in (TrainingReleased(at_s=60.0, hosts=(host,)), HostBack(at_s=60.0, host=host)):
        brain.handle(old)
        assert brain.post(host) is Post.LENT
    brain.handle(HostLost(at_s=60.0, host=host))
    assert brain.post(host) is Post.LENT
    assert brain.ignored == {"stale": 3}
    brain.handle(TrainingReleased(at_s=lent_s, hosts=(host,)))
    assert brain.post(host) is Post.LOADING


def test_it_lends_whole_replicas():
    config = LendingConfig(
        rates_per_s=tuple(40.0 * num for num in range(4)), replica_hosts=4, headroom=0.0
    )
    brain, said = trained(config, num_days=1.1)
    (loan,) = said
    assert len(loan.hosts) == 8
    brain.handle(HostLost(at_s=1.1 * DAY_S, host=HOSTS[0]))
    (recall,) = brain.handle(DemandSeen(at_s=1.1 * DAY_S + 1, requests_per_s=20.0))
    assert len(recall.hosts) == 4


def test_only_its_own_events_are_known():
    brain, _ = trained(num_days=0.1)
    before = brain.num_in(Post.SERVING)
    brain.handle(ev.Ticked(at_s=9e9))
    assert brain.ignored == {"unknown_event": 1}
    assert brain.num_in(Post.SERVING) == before
    assert len(LENDING_EVENTS) == 5
