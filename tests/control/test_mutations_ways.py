"""Mutants of the ways to go on: tiers, keepers, leases, replicas, shrinking, storage, replays.

As in `test_mutations`: each scenario says what must follow, and each mutant is our controller with
one defect, which the scenario must find.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gigafactory.control import actions as act
from gigafactory.control import deadlines as due
from gigafactory.control import events as ev
from gigafactory.control import leaving, observe, recovery, replicas, see_gang, see_replays
from gigafactory.control import start as begin
from gigafactory.control.actions import HoldReason, Tier
from gigafactory.control.config import Prices
from gigafactory.control.fleet import Fleet
from gigafactory.control.progress import Progress
from gigafactory.control.states import Phase
from gigafactory.describe.policy import Recovery

HOT = Prices(
    recovery=Recovery.HOT, num_replicas=4, replica_hosts=2, peer_stride=2, can_shrink=True,
    store_every_s=600.0,
)  # fmt: skip
GROUPS = replace(HOT, recovery=Recovery.REPLICAS, can_shrink=False, drop_s=0.1, join_s=0.1)


def running(bench_with, prices=HOT, *, num_spares=4, **bounds):
    """Eight hosts in four replicas; step 100 in the store, 101 in memory."""
    bench = bench_with(prices=prices, **bounds)
    bench.run(num_hosts=8, num_spares=num_spares)
    bench.tell(ev.StepsDone, step=101, peer_step=101)
    return bench


def started_after(bench, *hosts):
    """The start that follows when these hosts die."""
    bench.tell(ev.HostsDied, hosts=hosts, cause="xid 79")
    bench.tell(ev.GangStopped)
    return bench.start()


# -- what must follow --------------------------------------------------------------------------


def copy_in_memory_that_survives(bench_with):
    start = started_after(running(bench_with), 0)
    assert (start.tier, start.step, start.how) == (Tier.PEER, 101, act.Start.WARM)


def store_that_is_newer(bench_with):
    bench = running(bench_with)
    bench.commit(150)
    start = started_after(bench, 0)
    assert (start.tier, start.step) == (Tier.STORE, 150)


def host_lost_with_its_keeper(bench_with):
    start = started_after(running(bench_with), 0, 2)
    assert (start.tier, start.step) == (Tier.STORE, 100)


def keeper_beyond_a_replica_that_is_out(bench_with):
    bench = running(bench_with, GROUPS, num_spares=0)
    bench.tell(ev.HostsDied, hosts=(6,), cause="xid 79")
    bench.tell(ev.StepsDone, step=200, peer_step=200)
    bench.tell(ev.HostsDied, hosts=(0, 4), cause="xid 79")
    for host in (0, 4, 6):
        bench.tell(ev.HostRepaired, host=host)
    bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().step) == (Tier.STORE, 100)


def disk_that_left_with_its_host(bench_with):
    bench = bench_with(prices=replace(HOT, has_local=True, peer_stride=0))
    bench.run(num_hosts=8, num_spares=2)
    bench.tell(ev.StepsDone, step=110, local_step=110)
    start = started_after(bench, 3)
    assert (start.tier, start.step) == (Tier.STORE, 100)


def disk_of_a_host_that_was_given_up(bench_with):
    """Nobody told the gang yet: it goes on, and saves to a disk that nobody may restore from."""
    bench = bench_with(prices=replace(HOT, has_local=True, peer_stride=0))
    bench.run(num_hosts=8, num_spares=2)
    bench.tell(ev.HostsDied, hosts=(3,), cause="xid 79")
    bench.tell(ev.StepsDone, step=110, local_step=110)
    bench.tell(ev.GangStopped)
    start = bench.start()
    assert (start.tier, start.step) == (Tier.STORE, 100)


def near_copies_that_do_not_start(bench_with):
    """Warm starts from memory that fail again and again: cold, and from the store."""
    bench = running(bench_with)
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    for _ in range(2):
        bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
        bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().how) == (Tier.STORE, act.Start.COLD)


def sensor_that_promised_to_speak_again(bench_with):
    bench = running(bench_with)
    bench.tell(ev.StepsDone, step=102, lease_s=600.0)
    bench.tell(ev.Ticked, after_s=599.0)
    assert bench.brain.phase is Phase.RUNNING


def sensor_that_broke_its_promise(bench_with):
    bench = running(bench_with)
    bench.tell(ev.StepsDone, step=102, lease_s=600.0)
    bench.tell(ev.Ticked, after_s=601.0)
    assert "StopGang" in bench.kinds()


def rejoined(bench_with):
    """Replica 0 was lost and trains again."""
    bench = running(bench_with, GROUPS)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (join,) = bench.asked(act.JoinReplica)
    bench.tell(ev.ReplicaReady, replica=0, incarnation=join.token.attempt)
    return bench


def process_of_an_earlier_life(bench_with):
    bench = rejoined(bench_with)
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED, incarnation=0)
    assert bench.kinds() == []
    assert bench.brain.ignored.get("stale_generation") == 1


def answer_to_an_earlier_join(bench_with):
    bench = running(bench_with, GROUPS)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (first,) = bench.asked(act.JoinReplica)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.ReplicaReady, replica=0, incarnation=first.token.attempt)
    assert bench.brain.ignored.get("repeated") == 1


def one_replica_that_breaks(bench_with):
    bench = running(bench_with, GROUPS)
    bench.tell(ev.RankExited, host=4, exit=ev.Exit.KILLED)
    assert bench.asked(act.DropReplicas)[0].replicas == (2,)
    assert bench.brain.phase is Phase.RUNNING


def too_few_replicas_left(bench_with):
    bench = running(bench_with, replace(GROUPS, min_replicas=3))
    bench.tell(ev.HostsDied, hosts=(0, 2), cause="xid 79")
    assert "StopGang" in bench.kinds()
    assert not bench.asked(act.DropReplicas)


def replica_that_never_joins(bench_with):
    bench = running(bench_with, GROUPS)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    for _ in range(bench.config.max_restarts_without_progress):
        bench.tell(ev.StepsDone, step=200, lease_s=5000.0)
        bench.tell(ev.Ticked, after_s=bench.ladder.join_s)
    assert "StopGang" in bench.kinds()


def join_that_nobody_may_have_heard(bench_with):
    bench = running(bench_with, GROUPS)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (join,) = bench.asked(act.JoinReplica)
    bench.tell(ev.Reattached)
    assert bench.asked(act.JoinReplica) == [join]


def slow_host_of_one_replica(bench_with):
    bench = running(bench_with, GROUPS)
    bench.tell(ev.HostSlow, host=5, slowdown=2.0)
    assert bench.kinds() == ["DropReplicas", "EvictHosts", "JoinReplica"]


def hosts_too_few_for_all(bench_with):
    start = started_after(running(bench_with, num_spares=0), 1)
    assert len(start.hosts) == 6
    assert 1 not in start.hosts


def shrunk_gang_whose_hosts_are_back(bench_with):
    bench = running(bench_with, replace(HOT, warm_s=1.0, mtbf_s=1e6), num_spares=0)
    assert len(started_after(bench, 1).hosts) == 6
    bench.tell(ev.GangReady, step=101)
    bench.tell(ev.HostRepaired, host=1)
    assert bench.asked(act.SaveNow)


def host_that_is_awaited_in_vain(bench_with):
    bench = running(bench_with, replace(HOT, repair_s=20.0), num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_SPARES
    bench.tell(ev.Ticked, after_s=600.0)
    assert len(bench.start().hosts) == 6


def store_that_does_not_answer(bench_with):
    bench = running(bench_with)
    bench.tell(ev.StorageSeen, slowdown=math.inf)
    bench.tell(ev.HostsDied, hosts=(0, 2), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_STORAGE
    bench.tell(ev.StorageSeen, slowdown=1.0)
    assert bench.start().step == 100


def store_that_is_not_needed(bench_with):
    bench = running(bench_with)
    bench.tell(ev.StorageSeen, slowdown=math.inf)
    assert started_after(bench, 0).tier is Tier.PEER


def replayed(bench_with, **verdict):
    """An anomaly at step 120; the replay of the step before it says ``verdict``."""
    bench = running(bench_with)
    bench.commit(110)
    bench.tell(ev.StepsDone, step=120, peer_step=120)
    bench.tell(ev.AnomalySeen, step=120)
    (replay,) = bench.asked(act.ReplaySteps)
    bench.tell(ev.Replayed, **({"token": replay.token} | verdict))
    return bench


def odd_text(bench_with):
    bench = replayed(bench_with, differs=False)
    assert (bench.kinds(), bench.brain.phase) == ([], Phase.RUNNING)


def replay_that_names_a_host(bench_with):
    bench = replayed(bench_with, differs=True, hosts=(3,), clean_step=105)
    assert bench.asked(act.EvictHosts)[0].hosts == (3,)
    bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().step) == (Tier.STORE, 100)


def replay_that_differs_and_names_nobody(bench_with):
    bench = replayed(bench_with, differs=True)
    assert bench.asked(act.ReplaySteps)[0].localise


def verdict_on_another_replay(bench_with):
    bench = replayed(bench_with, token=act.Token(1, 1), differs=True, hosts=(3,))
    assert bench.kinds() == []
    assert bench.brain.ignored.get("stale_token") == 1


def links_that_are_back_before_the_eviction(bench_with):
    bench = running(bench_with, Prices(), num_spares=2, max_evictions_per_h=1)
    bench.tell(ev.HostsDied, hosts=(8,), cause="xid 79")
    bench.tell(ev.LinksDown, hosts=(1,), cause="flap", after_s=bench.ladder.heartbeat_s)
    bench.tell(ev.Ticked, after_s=bench.ladder.flap_s)
    bench.tell(ev.GangStopped)
    bench.tell(ev.LinksUp, hosts=(1,))
    assert bench.start().hosts == (0, 1, 2, 3, 4, 5, 6, 7)


def hosts_that_leave_with_their_keepers(bench_with):
    bench = running(bench_with)
    for host in (1, 3):
        bench.tell(ev.MaintenanceAnnounced, host=host, by_s=10_000.0)
    bench.tell(ev.StepsDone, step=102, peer_step=102)
    assert bench.brain.phase is Phase.DRAINING
    bench.tell(ev.CheckpointCommitted, step=102)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 102


# -- the mutants -------------------------------------------------------------------------------


def nothing_near_is_used(patch):
    patch.setattr(
        Progress, "in_tiers", lambda self: [(Tier.STORE, n)] if (n := self.newest()) else []
    )


def nearest_is_best_however_old(patch):
    patch.setattr(begin, "sorted", lambda places, key: places, raising=False)


def copies_outlast_everything(patch):
    patch.setattr(begin, "survives", lambda *lost, **ring: True)


def keepers_that_are_out_keep_on(patch):
    copied = Fleet.copied
    patch.setattr(Fleet, "copied", lambda self, *, without: copied(self, without=frozenset()))


def disks_stay_behind(patch):
    patch.setattr(Progress, "lose_near", lambda self, *, are_copies_whole: None)
    patch.setattr(Progress, "forget_tier", lambda self, tier: None)
    patch.setattr(begin, "_gone_tiers", lambda state: set())


def disks_are_always_whole(patch):
    patch.setattr(see_gang, "_are_disks_whole", lambda state: True)


def failed_starts_are_forgotten(patch):
    patch.setattr(begin, "_is_failed_start", lambda state: False)


def _steps_with(patch, **changed):
    look = observe.OBSERVERS[ev.StepsDone]
    patch.setitem(
        observe.OBSERVERS,
        ev.StepsDone,
        lambda state, event: look(state, replace(event, **changed)),
    )


def promises_are_nothing(patch):
    _steps_with(patch, lease_s=0.0)


def promises_last_for_ever(patch):
    _steps_with(patch, lease_s=1e9)


def every_life_is_this_one(patch):
    patch.setattr(see_gang, "_is_of_old", lambda state, seat, incarnation: False)


def every_answer_is_to_this_join(patch):
    def ready(state, event):
        current = state.gang.replicas[event.replica].incarnation
        replicas.joined(state, event.replica, current)

    patch.setitem(observe.OBSERVERS, ev.ReplicaReady, ready)


def nobody_goes_on_without(patch):
    patch.setattr(replicas, "may_drop", lambda state, num_lost: False)


def any_number_may_be_dropped(patch):
    patch.setattr(replicas, "may_drop", lambda state, num_lost: True)


def joins_take_as_long_as_they_like(patch):
    patch.setattr(due, "expire_joins", lambda state: None)


def open_joins_are_forgotten(patch):
    patch.setattr(observe, "open_joins", lambda state: [])


def an_exchange_stops_everybody(patch):
    patch.setattr(leaving, "_part", lambda state: None)
    patch.setattr(recovery, "may_drop", lambda state, num_lost: False)


def never_fewer(patch):
    for place in (begin, recovery):
        patch.setattr(place, "num_seats", lambda state: 0)


def torn_replicas_train(patch):
    def as_many_as_there_are(state):
        fleet = state.fleet
        return min(fleet.num_seats, len(fleet.seat_of) + fleet.num_usable())

    for place in (begin, recovery):
        patch.setattr(place, "num_seats", as_many_as_there_are)


def never_more(patch):
    patch.setattr(recovery, "growth_is_due", lambda state: False)


def hosts_are_awaited_for_ever(patch):
    patch.setattr(recovery, "patience_s", lambda alternative_s: math.inf)


def a_store_always_answers(patch):
    patch.setitem(observe.OBSERVERS, ev.StorageSeen, lambda state, event: None)


def without_a_store_from_nothing(patch):
    obstacle = recovery._obstacle_of_progress

    def not_the_store(state):
        found = obstacle(state)
        return None if found and found[0] is HoldReason.NO_STORAGE else found

    patch.setattr(recovery, "_obstacle_of_progress", not_the_store)


def a_store_is_always_needed(patch):
    may = begin.may_start_from
    for place in (begin, recovery):
        patch.setattr(place, "may_start_from", lambda s: [] if math.isinf(s.storage) else may(s))


def _verdicts(patch, change):
    look = observe.OBSERVERS[ev.Replayed]
    patch.setitem(observe.OBSERVERS, ev.Replayed, lambda s, event: look(s, change(s, event)))


def anomalies_are_corruption(patch):
    _verdicts(patch, lambda state, event: replace(event, differs=True))


def differences_are_odd_text(patch):
    _verdicts(patch, lambda state, event: replace(event, differs=False))


def tainted_states_are_kept(patch):
    patch.setattr(see_replays, "taint", lambda state, clean_step: None)


def any_verdict_counts(patch):
    _verdicts(patch, lambda state, event: replace(event, token=state.replay.token))


def the_condemned_stay_condemned(patch):
    patch.setattr(Fleet, "revoke", lambda self, host, ended: False)


def drains_trust_every_copy(patch):
    patch.setattr(recovery, "survives", lambda *lost, **ring: True)


WAYS = [
    (nothing_near_is_used, copy_in_memory_that_survives),
    (nearest_is_best_however_old, store_that_is_newer),
    (copies_outlast_everything, host_lost_with_its_keeper),
    (keepers_that_are_out_keep_on, keeper_beyond_a_replica_that_is_out),
    (disks_stay_behind, disk_that_left_with_its_host),
    (disks_are_always_whole, disk_of_a_host_that_was_given_up),
    (failed_starts_are_forgotten, near_copies_that_do_not_start),
    (promises_are_nothing, sensor_that_promised_to_speak_again),
    (promises_last_for_ever, sensor_that_broke_its_promise),
    (every_life_is_this_one, process_of_an_earlier_life),
    (every_answer_is_to_this_join, answer_to_an_earlier_join),
    (nobody_goes_on_without, one_replica_that_breaks),
    (any_number_may_be_dropped, too_few_replicas_left),
    (joins_take_as_long_as_they_like, replica_that_never_joins),
    (open_joins_are_forgotten, join_that_nobody_may_have_heard),
    (an_exchange_stops_everybody, slow_host_of_one_replica),
    (never_fewer, hosts_too_few_for_all),
    (torn_replicas_train, hosts_too_few_for_all),
    (never_more, shrunk_gang_whose_hosts_are_back),
    (hosts_are_awaited_for_ever, host_that_is_awaited_in_vain),
    (a_store_always_answers, store_that_does_not_answer),
    (without_a_store_from_nothing, store_that_does_not_answer),
    (a_store_is_always_needed, store_that_is_not_needed),
    (anomalies_are_corruption, odd_text),
    (differences_are_odd_text, replay_that_names_a_host),
    (tainted_states_are_kept, replay_that_names_a_host),
    (differences_are_odd_text, replay_that_differs_and_names_nobody),
    (any_verdict_counts, verdict_on_another_replay),
    (the_condemned_stay_condemned, links_that_are_back_before_the_eviction),
    (drains_trust_every_copy, hosts_that_leave_with_their_keepers),
]


@pytest.mark.parametrize(
    "scenario", dict.fromkeys(s for _, s in WAYS), ids=lambda scenario: scenario.__name__
)
def test_the_controller_stands(scenario, bench_with):
    scenario(bench_with)


@pytest.mark.parametrize(
    ("mutant", "scenario"), WAYS, ids=[f"{m.__name__}-{s.__name__}" for m, s in WAYS]
)
def test_its_mutant_falls(mutant, scenario, bench_with, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        scenario(bench_with)
