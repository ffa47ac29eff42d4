"""Failures that other people's controllers really had; this one must not have them."""

from __future__ import annotations

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.actions import HoldReason, Token
from gigafactory.control.config import Prices
from gigafactory.control.states import Phase
from gigafactory.describe.policy import Recovery


def test_a_status_fetch_that_times_out_recovers_nothing(bench):
    """A healthy job was recovered 24 times because its status could not be read."""
    bench.run()
    for step in range(101, 125):
        bench.tell(ev.HostUnreachable, host=1)
        bench.tell(ev.WitnessSpoke, host=1, alive=False)
        bench.tell(ev.StepsDone, step=step)
        bench.tell(ev.HostReachable, host=1)
    assert bench.brain.phase is Phase.RUNNING
    assert bench.brain.generation == 1


def test_an_outdated_answer_of_the_witness_condemns_nobody(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    (old,) = bench.asked(act.ProbeHost)
    bench.tell(ev.HostReachable, host=1)
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.WitnessSpoke, host=1, alive=False, token=old.token)
    bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    assert "EvictHosts" not in bench.kinds()
    assert bench.brain.ignored["stale_token"] == 1


def test_a_checkpoint_begun_before_the_restart_leaves_no_mark(bench):
    """A stale 'checkpoint begun' survived the restart and killed the job for ever."""
    bench.run()
    bench.tell(ev.MaintenanceAnnounced, host=1, by_s=10_000.0)
    assert bench.kinds() == ["SaveNow"]
    bench.tell(ev.RankExited, host=2, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    assert 1 not in bench.start().hosts
    bench.ready()
    bench.tell(ev.StepsDone, step=150)
    assert bench.kinds() == []
    bench.commit(200)
    assert bench.brain.phase is Phase.RUNNING


def test_a_live_spare_does_not_block_the_rendezvous(bench):
    bench.launch()
    assert bench.start().hosts == (0, 1, 2, 3)
    bench.ready()
    assert bench.brain.phase is Phase.RUNNING
    bench.tell(ev.HostUnreachable, host=5)
    bench.tell(ev.HostsDied, hosts=(4,), cause="xid 79")
    assert bench.kinds() == ["EvictHosts"]
    assert bench.brain.phase is Phase.RUNNING


def test_an_unreachable_spare_takes_no_seat(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=4)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (5, 1, 2, 3)


def test_an_endless_nan_holds(bench):
    bench.run()
    for _ in range(10):
        if bench.brain.phase is Phase.HOLDING:
            break
        bench.tell(ev.StepsDone, step=101, finite=False)
        bench.tell(ev.GangStopped)
        bench.ready()
    assert bench.brain.phase is Phase.HOLDING
    bench.tell(ev.ResumeRequested)
    assert bench.start().step == 100


def test_evidence_that_comes_after_the_hold_lifts_it(bench):
    bench.run()
    for _ in range(1 + bench.config.max_restarts_without_progress):
        bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature="CUDA error")
        bench.tell(ev.GangStopped)
        if bench.brain.phase is not Phase.HOLDING:
            bench.ready()
    assert bench.why() is HoldReason.NO_PROGRESS
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    assert 1 not in bench.start().hosts


def test_a_failed_action_of_an_old_generation_is_ignored(bench):
    bench.run()
    bench.tell(ev.ActionFailed, token=Token(0, 1), reason="late")
    assert bench.said == []
    assert bench.brain.ignored["stale_token"] == 1


def test_a_host_that_came_back_is_not_evicted_again_after_an_outage(bench):
    """The swarm: every `Reattached` asked once more for evictions of hosts long repaired."""
    bench.run()
    bench.tell(ev.HostsDied, hosts=(0, 1), cause="power")
    bench.tell(ev.GangStopped)
    bench.ready()
    bench.tell(ev.HostRepaired, host=1)
    bench.tell(ev.Reattached)
    assert [evicted.hosts for evicted in bench.asked(act.EvictHosts)] == [(0,)]
    bench.tell(ev.HostRepaired, host=0)
    bench.tell(ev.Reattached)
    assert bench.asked(act.EvictHosts) == []


def test_an_eviction_that_failed_twice_is_asked_for_again_after_a_pause(bench):
    """The swarm: the second failure was forgotten, and the campaign held for a host for ever."""
    bench.run(num_spares=0)
    bench.tell(ev.HostFailing, host=2, cause="fan")
    bench.tell(ev.HostsDied, hosts=(1,), cause="power")
    asked = bench.asked(act.EvictHosts)
    for action in asked:
        bench.tell(ev.ActionFailed, token=action.token, reason="no answer")
        assert bench.asked(act.EvictHosts) == [action]
        bench.tell(ev.ActionFailed, token=action.token, reason="no answer")
        assert bench.asked(act.EvictHosts) == []
    bench.tell(ev.Ticked, after_s=bench.ladder.join_s)
    assert len(asked) == 1
    assert bench.asked(act.EvictHosts) == asked


def test_a_refusal_is_heard_however_many_evictions_followed(bench_with):
    """The swarm: a pool recalled 18 spares, and the refusal of the first was forgotten."""
    bench = bench_with(max_evictions_per_h=1000)
    bench.run(num_hosts=2, num_spares=40)
    asked = []
    for host in range(2, 32):
        bench.tell(ev.MaintenanceAnnounced, host=host, by_s=1e4)
        asked += bench.asked(act.EvictHosts)
    first = asked[0]
    bench.tell(ev.ActionFailed, token=first.token, reason="no answer", after_s=5.0)
    assert bench.asked(act.EvictHosts) == [first]


def test_a_spare_that_leaves_stops_no_start(bench):
    """The swarm: a spare was wanted for maintenance while a gang started, which was stopped."""
    bench.launch(num_hosts=4, num_spares=2)
    bench.tell(ev.MaintenanceAnnounced, host=5, by_s=1e4)
    assert bench.kinds() == ["EvictHosts"]
    bench.ready()
    bench.tell(ev.StepsDone, step=1)
    assert bench.kinds() == []


def test_a_failing_host_whose_eviction_failed_is_not_forgotten(bench):
    bench.run()
    bench.tell(ev.HostFailing, host=4, cause="fan")
    (asked,) = bench.asked(act.EvictHosts)
    bench.tell(ev.ActionFailed, token=asked.token, reason="no answer")
    assert bench.asked(act.EvictHosts) == [asked]


def test_a_repeated_word_of_copies_does_not_bring_lost_ones_back(bench_with):
    """The swarm: a doubled report, older than the loss, made copies whole that were gone."""
    prices = Prices(
        recovery=Recovery.REPLICAS, num_replicas=4, replica_hosts=2, peer_stride=2, drop_s=0.1,
        join_s=0.1,
    )  # fmt: skip
    bench = bench_with(prices=prices)
    bench.run(num_hosts=8, num_spares=0, step=100)
    bench.tell(ev.StepsDone, step=200, peer_step=200)
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    bench.tell(ev.StepsDone, step=200, peer_step=200)
    bench.tell(ev.HostsDied, hosts=(2,), cause="xid 79")
    for host in (0, 2):
        bench.tell(ev.HostRepaired, host=host)
    bench.tell(ev.CorruptionFound, host=5, clean_step=300)
    bench.tell(ev.HostRepaired, host=5)
    bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().step) == (act.Tier.STORE, 100)


def test_with_its_copies_and_its_store_gone_it_waits_and_does_not_begin_anew(bench_with):
    """The swarm: copies were found lost only after the start was decided, which began at step 0."""
    prices = Prices(recovery=Recovery.HOT, peer_stride=1, store_every_s=600.0)
    bench = bench_with(prices=prices)
    bench.run(num_spares=2)
    bench.tell(ev.StepsDone, step=150, peer_step=150)
    bench.tell(ev.StorageSeen, slowdown=float("inf"))
    bench.tell(ev.HostsDied, hosts=(1, 2), cause="rack 1 lost power")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_STORAGE
    bench.tell(ev.StorageSeen, slowdown=1.0)
    assert bench.start().step == 100


def test_a_slow_host_that_may_not_be_evicted_now_stops_nobody(bench_with):
    """The swarm: the gang was stopped and started with the same slow host, again and again."""
    bench = bench_with(max_evictions_per_h=1)
    bench.run(num_spares=3)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    bench.ready()
    bench.tell(ev.HostSlow, host=2, slowdown=3.0, after_s=bench.ladder.heartbeat_s + 1.0)
    assert bench.asked(act.SaveNow) == []


def grouped(bench_with, **prices):
    """Replicas of two hosts each, copies in the memory of the next replica."""
    return bench_with(
        prices=Prices(
            recovery=Recovery.HOT,
            can_shrink=True,
            num_replicas=4,
            replica_hosts=2,
            peer_stride=2,
            **prices,
        )
    )


def test_a_gang_that_shrinks_does_not_seat_the_lost_host(bench_with):
    """Of the replica given up no host was fit to step in, so a dead one kept its seat."""
    bench = grouped(bench_with)
    bench.run(num_hosts=8, num_spares=0)
    bench.tell(ev.HostFailing, host=6, cause="row remap")
    bench.tell(ev.HostFailing, host=7, cause="row remap")
    bench.tell(ev.HostsDied, hosts=(0,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert 0 not in bench.start().hosts
    assert len(bench.start().hosts) == 4


def test_copies_are_judged_by_the_seats_they_were_made_in(bench_with):
    """Hosts 4 and 6 keep each other's copies, also where fewer seats are left afterwards."""
    bench = grouped(bench_with)
    bench.run(num_hosts=8, num_spares=0)
    bench.tell(ev.StepsDone, step=130, peer_step=130)
    bench.tell(ev.HostsDied, hosts=(4,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().step) == (act.Tier.PEER, 130)
    assert len(bench.start().hosts) == 6
    gave_up = next(h for h in (6, 7) if h not in bench.start().hosts)
    bench.tell(ev.GangReady, step=130)
    bench.tell(ev.HostsDied, hosts=(6,), cause="xid 79")
    assert gave_up == 7
    bench.tell(ev.GangStopped)
    assert (bench.start().tier, bench.start().step) == (act.Tier.STORE, 100)


def test_after_a_person_stepped_in_no_process_is_kept(bench_with):
    bench = grouped(bench_with)
    bench.run(num_hosts=8)
    while bench.brain.phase is not Phase.HOLDING:
        bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature=f"odd {bench.now_s}")
        bench.tell(ev.GangStopped)
        if bench.brain.phase is Phase.STARTING:
            bench.ready()
    bench.tell(ev.ResumeRequested)
    assert bench.start().how is act.Start.COLD


def test_whoever_keeps_one_alarm_alone_is_asked_again(bench):
    """The swarm: the later of two alarms was dropped, and a start that was lost waited for ever."""
    bench.launch()
    bench.tell(ev.Reattached)
    (later,) = bench.asked(act.WakeAt)
    bench.tell(ev.Ticked)
    assert [a.at_s for a in bench.asked(act.WakeAt)] == [later.at_s]
