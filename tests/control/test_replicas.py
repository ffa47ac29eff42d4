"""Replica groups: who is dropped, who goes on, and what is left when more breaks meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import Prices
from gigafactory.control.states import Membership, Phase
from gigafactory.describe.policy import Recovery

PRICES = Prices(
    recovery=Recovery.REPLICAS, num_replicas=4, replica_hosts=2, peer_stride=2, drop_s=0.1,
    join_s=0.1,
)  # fmt: skip


@pytest.fixture
def replicas(bench_with):
    """Eight hosts in four replicas of two, and two spares; step 100 is in the store."""
    bench = bench_with(prices=PRICES)
    bench.run(num_hosts=8, num_spares=2)
    return bench


def test_nobody_keeps_a_copy_in_a_replica_that_is_out(replicas):
    """With replica 3 out, the copies of replica 2 lie in replica 0."""
    replicas.tell(ev.HostsDied, hosts=(6, 7, 8, 9), cause="power feed")
    (drop,) = replicas.asked(act.DropReplicas)
    assert drop.replicas == (3,)
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.HostsDied, hosts=(0, 4), cause="xid 79")
    for host in (0, 4, 6, 7):
        replicas.tell(ev.HostRepaired, host=host)
    replicas.tell(ev.GangStopped)
    assert (replicas.start().tier, replicas.start().step) == (act.Tier.STORE, 100)


def test_copies_survive_in_a_ring_that_passes_a_replica_over(replicas):
    replicas.tell(ev.HostsDied, hosts=(6, 7, 8, 9), cause="power feed")
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.HostsDied, hosts=(0, 5), cause="xid 79")
    assert replicas.brain.phase is Phase.RUNNING
    replicas.tell(ev.RankExited, host=2, exit=ev.Exit.KILLED)
    assert replicas.brain.phase is Phase.STOPPING
    for host in (0, 5, 6, 7):
        replicas.tell(ev.HostRepaired, host=host)
    replicas.tell(ev.GangStopped)
    assert (replicas.start().tier, replicas.start().step) == (act.Tier.PEER, 200)


def test_a_slow_host_takes_its_own_replica_out_and_nobody_else(replicas):
    replicas.tell(ev.HostSlow, host=5, slowdown=2.0)
    assert replicas.kinds() == ["DropReplicas", "EvictHosts", "JoinReplica"]
    (drop,), (eviction,), (join,) = map(
        replicas.asked, (act.DropReplicas, act.EvictHosts, act.JoinReplica)
    )
    assert (drop.replicas, eviction.hosts, join.replica) == ((2,), (5,), 2)
    assert join.seated == ((5, 8),)
    replicas.tell(ev.ReplicaReady, replica=2, incarnation=join.token.attempt)
    assert (replicas.brain.phase, replicas.brain.generation) == (Phase.RUNNING, 1)


def test_a_failing_host_is_exchanged_alone_where_its_end_would_cost_more(bench_with):
    bench = bench_with(prices=replace(PRICES, mtbf_s=1e6))
    bench.run(num_hosts=8, num_spares=1)
    bench.tell(ev.HostFailing, host=0, cause="row remap")
    assert bench.kinds() == ["DropReplicas", "EvictHosts", "JoinReplica"]


def test_maintenance_of_one_host_takes_one_replica(replicas):
    replicas.tell(ev.MaintenanceAnnounced, host=2, by_s=10_000.0)
    assert replicas.kinds() == ["DropReplicas", "EvictHosts", "JoinReplica"]
    assert replicas.asked(act.DropReplicas)[0].replicas == (1,)
    assert replicas.brain.generation == 1


def test_maintenance_without_a_spare_drops_its_replica_shortly_before(bench_with):
    bench = bench_with(prices=PRICES)
    bench.run(num_hosts=8, num_spares=0)
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=bench.now_s + 500.0)
    assert bench.kinds() == []
    bench.tell(ev.StepsDone, step=200, lease_s=5000.0)
    bench.tell(ev.Ticked, after_s=498.0 - bench.ladder.collective_s)
    assert bench.kinds() == ["DropReplicas", "EvictHosts"]
    assert bench.brain.phase is Phase.RUNNING
    bench.tell(ev.HostRepaired, host=2)
    assert bench.asked(act.JoinReplica)[0].seated == ((2, 2),)


def test_no_more_replicas_are_exchanged_at_once_than_may_be_away(bench_with):
    bench = bench_with(prices=replace(PRICES, min_replicas=3))
    bench.run(num_hosts=8, num_spares=4)
    bench.tell(ev.HostSlow, host=0, slowdown=2.0)
    (join,) = bench.asked(act.JoinReplica)
    bench.tell(ev.HostSlow, host=2, slowdown=2.0)
    assert bench.kinds() == []
    bench.tell(ev.ReplicaReady, replica=0, incarnation=join.token.attempt)
    assert bench.asked(act.DropReplicas)[0].replicas == (1,)


def test_a_slow_host_stays_where_no_spare_is_left(bench_with):
    bench = bench_with(prices=PRICES)
    bench.run(num_hosts=8, num_spares=0)
    bench.tell(ev.HostSlow, host=5, slowdown=2.0)
    assert bench.kinds() == []


def test_an_open_join_is_asked_for_again_and_a_drop_that_took_effect_is_not(replicas):
    replicas.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (join,) = replicas.asked(act.JoinReplica)
    (drop,) = replicas.asked(act.DropReplicas)
    replicas.tell(ev.Reattached)
    assert replicas.asked(act.JoinReplica) == [join]
    assert replicas.asked(act.DropReplicas) == [drop]
    replicas.tell(ev.ReplicaReady, replica=0, incarnation=join.token.attempt)
    replicas.tell(ev.Reattached)
    assert replicas.asked(act.JoinReplica) == replicas.asked(act.DropReplicas) == []


def test_a_join_names_the_hosts_of_an_earlier_one_that_may_be_lost(replicas):
    replicas.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (first,) = replicas.asked(act.JoinReplica)
    assert first.seated == ((0, 8),)
    replicas.tell(ev.StepsDone, step=200, lease_s=5000.0)
    replicas.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    (second,) = replicas.asked(act.JoinReplica)
    assert second.seated == ((0, 8), (1, 9))


def test_a_host_whose_process_ended_can_fill_the_seat_of_another_replica(bench_with):
    """The swarm: it stood by as a suspect that only the start of a gang clears, and all waited."""
    bench = bench_with(prices=replace(PRICES, join_s=1.0))
    bench.run(num_hosts=8, num_spares=0)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    bench.tell(ev.RankExited, host=7, exit=ev.Exit.ERROR, signature="odd")
    (join,) = bench.asked(act.JoinReplica)
    assert (join.replica, join.seated) == (0, ((0, 6),))
    bench.tell(ev.ReplicaReady, replica=0, incarnation=join.token.attempt)
    bench.tell(ev.HostsDied, hosts=(2,), cause="xid 79")
    assert bench.asked(act.JoinReplica)[0].seated == ((2, 7),)


def test_a_disk_that_left_with_its_host_is_not_trusted_after_newer_copies_in_memory(bench_with):
    """Others trained on and made copies; the old step on the disks was complete no more."""
    bench = bench_with(prices=replace(PRICES, has_local=True))
    bench.run(num_hosts=8, num_spares=2)
    bench.tell(ev.StepsDone, step=150, local_step=150)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (join,) = bench.asked(act.JoinReplica)
    bench.tell(ev.ReplicaReady, replica=0, incarnation=join.token.attempt)
    bench.tell(ev.StepsDone, step=160, peer_step=160)
    bench.tell(ev.CheckpointLost, step=160, tier=act.Tier.PEER)
    bench.tell(ev.StepsDone, step=161, replicas_agree=False)
    bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().step) == (act.Tier.STORE, 100)


def test_wrong_values_that_a_gate_held_back_cost_one_replica_and_no_stop(replicas):
    """The real run: nothing of it was committed, so the others hold a clean state and go on."""
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.CorruptionFound, host=3, clean_step=200, is_contained=True)
    assert replicas.kinds() == ["EvictHosts", "DropReplicas", "JoinReplica"]
    assert replicas.asked(act.DropReplicas)[0].replicas == (1,)
    assert replicas.brain.phase is Phase.RUNNING
    replicas.tell(ev.CorruptionFound, host=6, clean_step=150, is_contained=True)
    assert replicas.brain.phase is Phase.STOPPING  # steps were done since: they are not clean


def test_a_second_opinion_on_a_step_that_is_held_costs_one_replica_and_no_stop(replicas):
    """The real run holds a step with an odd gradient: it is computed again, then by others."""
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.AnomalySeen, step=201)
    (first,) = replicas.asked(act.ReplaySteps)
    assert (first.step, first.localise) == (200, False)
    assert replicas.brain.doubts_step
    held = {"differs": True, "clean_step": 200, "is_contained": True}
    replicas.tell(ev.Replayed, token=first.token, **held)
    (second,) = replicas.asked(act.ReplaySteps)
    assert second.localise
    replicas.tell(ev.Replayed, token=second.token, hosts=(3,), **held)
    assert replicas.kinds() == ["EvictHosts", "DropReplicas", "JoinReplica"]
    assert replicas.asked(act.DropReplicas)[0].replicas == (1,)
    assert replicas.brain.phase is Phase.RUNNING
    assert not replicas.brain.doubts_step
    # nothing after step 200 is forbidden: the same step is computed anew, and may be odd again
    replicas.tell(ev.AnomalySeen, step=201)
    assert replicas.asked(act.ReplaySteps)


def test_a_second_opinion_that_names_nobody_ends_the_gang(replicas):
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.AnomalySeen, step=201)
    held = {"differs": True, "clean_step": 200, "is_contained": True}
    for _ in range(2):
        (asked,) = replicas.asked(act.ReplaySteps)
        replicas.tell(ev.Replayed, token=asked.token, **held)
    assert replicas.brain.phase is Phase.STOPPING


def test_who_trains_and_in_which_life_can_be_read_by_a_driver_that_takes_over(replicas):
    assert set(replicas.brain.replicas.values()) == {(Membership.TRAINING, 0)}
    replicas.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    (join,) = replicas.asked(act.JoinReplica)
    assert replicas.brain.replicas[0] == (Membership.JOINING, join.token.attempt)
    assert list(replicas.brain.hosts) == [8, 1, 2, 3, 4, 5, 6, 7]
