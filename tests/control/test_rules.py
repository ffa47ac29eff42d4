"""The ten rules of the brain, one section each; rule 10 is held in tests/ledger and tests/laws."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

import gigafactory.control
from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.actions import HoldReason, Outcome
from gigafactory.control.config import Prices
from gigafactory.control.states import Phase
from gigafactory.control.timeouts import ladder
from gigafactory.describe.policy import Recovery

# -- rule 1: time only in events, no dice ----------------------------------------------------


def test_rule_01_same_events_same_actions_same_hash(bench, bench_with):
    other = bench_with()
    for one in (bench, other):
        one.run()
        one.tell(ev.HostsDied, hosts=(2,), cause="xid 79")
        one.tell(ev.GangStopped)
    assert bench.everything == other.everything
    assert bench.brain.state_hash() == other.brain.state_hash()


def test_rule_01_every_event_changes_the_hash(bench):
    bench.run()
    before = bench.brain.state_hash()
    bench.tell(ev.StepsDone, step=101)
    assert bench.brain.state_hash() != before


def test_rule_01_the_order_that_decides_who_leaves_first_is_in_the_hash(bench_with):
    hashes = []
    for order in ((1, 2), (2, 1)):
        bench = bench_with()
        bench.run()
        for host in order:
            bench.tell(ev.HostFailing, host=host, cause="memory", after_s=0)
        hashes.append(bench.brain.state_hash())
    assert hashes[0] != hashes[1]


def test_rule_01_why_a_host_was_sent_away_is_in_the_hash(bench_with):
    hashes = []
    for cause in ("power", "xid 79"):
        bench = bench_with()
        bench.run()
        bench.tell(ev.HostsDied, hosts=(1,), cause=cause)
        hashes.append(bench.brain.state_hash())
    assert hashes[0] != hashes[1]


def test_rule_05_the_last_checkpoint_waits_for_a_store_that_is_out(bench):
    """Stopping the gang would lose what is computed, and gain nothing."""
    bench.run()
    bench.tell(ev.StepsDone, step=1000)
    assert bench.kinds() == ["SaveNow"]
    bench.tell(ev.StorageSeen, slowdown=float("inf"))
    bench.tell(ev.Ticked, after_s=10 * bench.ladder.collective_s)
    assert bench.kinds() == []
    bench.tell(ev.StorageSeen, slowdown=1.0)
    assert bench.kinds() == []
    bench.tell(ev.CheckpointCommitted, step=1000, after_s=bench.ladder.collective_s / 2)
    assert bench.kinds() == ["StopGang"]


def test_rule_06_the_wait_for_the_store_has_an_end(bench):
    bench.run()
    bench.tell(ev.StepsDone, step=1000)
    bench.tell(ev.StorageSeen, slowdown=float("inf"))
    bench.tell(ev.Ticked, after_s=bench.config.max_hold_s + 2 * bench.ladder.collective_s)
    assert bench.kinds() == ["StopGang"]


def test_rule_06_a_store_that_hardly_changes_is_no_news(bench_with):
    """Else a store that flickers makes the gang's rhythm flicker."""
    bench = bench_with(prices=Prices(recovery=Recovery.HOT, peer_stride=1, store_every_s=600.0))
    bench.run()
    bench.tell(ev.StorageSeen, slowdown=1.02)
    assert bench.kinds() == []
    bench.tell(ev.StorageSeen, slowdown=4.0)
    assert bench.kinds() == ["SetCadence"]
    bench.tell(ev.StorageSeen, slowdown=4.1)
    assert bench.kinds() == []
    bench.tell(ev.StorageSeen, slowdown=1.0)
    assert bench.kinds() == ["SetCadence"]


def test_rule_01_no_module_of_control_imports_a_clock_or_dice():
    forbidden = {"time", "datetime", "random", "os", "logging", "threading", "secrets", "uuid"}
    for file in Path(gigafactory.control.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.split(".")[0] for name in names}, file.name


def test_rule_01_time_that_runs_backwards_is_ignored(bench):
    bench.run()
    bench.brain.handle(ev.Ticked(at_s=-50.0))
    bench.brain.handle(ev.Ticked(at_s=float("nan")))
    assert bench.brain.phase is Phase.RUNNING


# -- rule 2: an action is data with a fencing token ------------------------------------------


def test_rule_02_tokens_are_unique_and_never_decrease(bench):
    bench.run()
    bench.tell(ev.HostsDied, hosts=(0,), cause="power")
    bench.tell(ev.GangStopped)
    bench.ready()
    tokens = [action.token for action in bench.everything]
    assert tokens == sorted(set(tokens))
    assert bench.brain.generation == 2


def test_rule_02_a_lost_stop_is_asked_for_again_and_then_fenced_off(bench):
    bench.run()
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    stops = len(bench.asked(act.StopGang))
    while bench.brain.phase is Phase.STOPPING:
        bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
        stops += len(bench.asked(act.StopGang))
    assert stops == bench.config.max_stops
    assert bench.start().token.generation == 2


def test_rule_02_a_lost_start_is_tried_again(bench):
    bench.launch()
    bench.tell(ev.Ticked, after_s=bench.ladder.join_s)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.start().token.generation == 2


def test_rule_02_a_start_that_failed_is_tried_again(bench):
    bench.launch()
    bench.tell(ev.ActionFailed, token=bench.start().token, reason="no such image")
    assert bench.kinds() == ["StopGang"]


def test_rule_02_a_start_may_succeed_without_an_answer(bench):
    bench.launch()
    bench.tell(ev.StepsDone, step=3)
    assert bench.brain.phase is Phase.RUNNING


def test_rule_02_a_failed_eviction_is_asked_for_again_once(bench):
    bench.run()
    bench.tell(ev.HostsDied, hosts=(3,), cause="xid 79")
    (eviction,) = bench.asked(act.EvictHosts)
    bench.tell(ev.ActionFailed, token=eviction.token, reason="busy")
    assert bench.asked(act.EvictHosts) == [eviction]
    bench.tell(ev.ActionFailed, token=eviction.token, reason="busy")
    assert bench.asked(act.EvictHosts) == []


# -- rule 3: stale generations are ignored and counted ---------------------------------------


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ev.StepsDone, {"step": 900}),
        (ev.StepsDone, {"step": 900, "finite": False}),
        (ev.CheckpointCommitted, {"step": 900}),
        (ev.RankExited, {"host": 0, "exit": ev.Exit.ERROR, "signature": "OOM"}),
        (ev.GangReady, {"step": 100}),
        (ev.GangStopped, {}),
        (ev.HangSuspected, {"hosts": (0, 1)}),
    ],
)
@pytest.mark.parametrize(("lag", "word"), [(1, "stale_generation"), (-1, "future_generation")])
def test_rule_03_other_generations_are_ignored_and_counted(bench, kind, content, lag, word):
    bench.run()
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    bench.ready()
    bench.tell(kind, generation=bench.brain.generation - lag, **content)
    assert bench.said == []
    assert bench.brain.phase is Phase.RUNNING
    assert bench.brain.committed_step == 100
    assert bench.brain.ignored[word] == 1


def test_rule_03_a_new_driver_goes_on_counting_generations(bench):
    bench.launch(generation=7, committed_step=40)
    assert bench.start().token.generation == 8
    assert bench.start().step == 40


# -- rule 4: different kinds of bad; only DEAD, or lease and witness, permit replacing --------


def test_rule_04_dead_is_replaced(bench):
    bench.run()
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    assert bench.kinds() == ["EvictHosts", "StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 4, 2, 3)
    assert bench.start().seated == ((1, 4),)


def test_rule_04_unreachable_alone_only_asks_the_witness(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    assert bench.kinds() == ["ProbeHost"]
    for _ in range(4):
        bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
        assert set(bench.kinds()) <= {"ProbeHost"}
    assert bench.brain.phase is Phase.RUNNING


def test_rule_04_lease_and_witness_together_replace(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.WitnessSpoke, host=1, alive=False)
    assert bench.kinds() == []
    bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    assert bench.kinds() == ["EvictHosts", "StopGang"]


def test_rule_04_a_witness_who_vouches_prevents_it(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.WitnessSpoke, host=1, alive=True)
    bench.tell(ev.Ticked, after_s=10 * bench.ladder.heartbeat_s - 50)
    assert "EvictHosts" not in bench.kinds()


def test_rule_04_steps_are_evidence_of_life(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.WitnessSpoke, host=1, alive=False)
    bench.tell(ev.StepsDone, step=101)
    bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    assert "EvictHosts" not in bench.kinds()


def test_rule_04_a_killed_process_restarts_in_place(bench):
    bench.run()
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 1, 2, 3)
    assert bench.start().step == 100


def test_rule_04_the_rank_that_timed_out_is_not_the_culprit(bench):
    bench.run()
    bench.tell(ev.HangSuspected, hosts=(1, 2))
    assert bench.kinds() == ["ProbeHost", "ProbeHost", "StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.brain.phase is Phase.DECIDING
    bench.tell(ev.WitnessSpoke, host=1, alive=True)
    bench.tell(ev.WitnessSpoke, host=2, alive=True)
    assert bench.start().hosts == (0, 1, 2, 3)
    assert not [a for a in bench.everything if isinstance(a, act.EvictHosts)]


def test_rule_04_a_hung_host_that_the_witness_calls_dead_is_replaced(bench):
    bench.run()
    bench.tell(ev.HangSuspected, hosts=(1, 2))
    bench.tell(ev.GangStopped)
    bench.tell(ev.WitnessSpoke, host=1, alive=True)
    bench.tell(ev.WitnessSpoke, host=2, alive=False)
    assert bench.start().hosts == (0, 1, 4, 3)


def test_rule_04_two_generations_that_hang_at_one_host_are_two_witnesses(bench):
    bench.run()
    bench.tell(ev.HangSuspected, hosts=(1, 2))
    bench.tell(ev.GangStopped)
    for host in (1, 2):
        bench.tell(ev.WitnessSpoke, host=host, alive=True)
    bench.ready()
    bench.commit(200)
    bench.tell(ev.HangSuspected, hosts=(2, 3))
    (eviction,) = bench.asked(act.EvictHosts)
    assert eviction.hosts == (2,)


def test_rule_04_a_silent_witness_lets_an_accused_host_off(bench):
    bench.run()
    bench.tell(ev.HangSuspected, hosts=(1,))
    bench.tell(ev.GangStopped)
    while bench.brain.phase is Phase.DECIDING:
        bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    assert bench.start().hosts == (0, 1, 2, 3)


def test_rule_04_slow_is_no_death(bench):
    """It is exchanged where that pays, at a checkpoint; nobody is evicted on the spot."""
    bench.run()
    bench.tell(ev.HostSlow, host=1, slowdown=1.4, after_s=0)
    assert bench.kinds() == ["SaveNow"]
    bench.tell(ev.HostSlow, host=1, slowdown=1.0, after_s=0)
    assert bench.said == []
    assert bench.brain.phase is Phase.RUNNING


def test_rule_04_a_little_slow_is_noted_and_left(bench):
    bench.run()
    before = bench.brain.state_hash()
    bench.tell(ev.HostSlow, host=1, slowdown=1.0001, after_s=0)
    assert bench.said == []
    assert bench.brain.state_hash() == before


def test_rule_04_corrupt_is_replaced(bench):
    bench.run()
    bench.tell(ev.CorruptionFound, host=2, clean_step=100)
    assert bench.kinds() == ["EvictHosts", "StopGang"]


# -- rule 5: reconciliation, never a script --------------------------------------------------


def test_rule_05_a_second_failure_while_stopping_edits_the_plan(bench):
    bench.run()
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.HostsDied, hosts=(3,), cause="power")
    assert bench.kinds() == ["EvictHosts"]
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 4, 2, 5)


def test_rule_05_a_spare_that_dies_before_its_seat_is_passed_over(bench):
    bench.run()
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.HostsDied, hosts=(4,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 5, 2, 3)


def test_rule_05_a_host_that_dies_while_starting_is_replaced(bench):
    bench.run()
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    bench.tell(ev.HostsDied, hosts=(4,), cause="xid 79")
    assert bench.kinds() == ["EvictHosts", "StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 5, 2, 3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_rule_05_the_order_of_news_does_not_matter(bench, order):
    bench.run()
    news = [
        lambda: bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79"),
        lambda: bench.tell(ev.HostsDied, hosts=(3,), cause="xid 79"),
        lambda: bench.tell(ev.RankExited, host=0, exit=ev.Exit.ERROR, signature="peer closed"),
    ]
    for index in order:
        news[index]()
    bench.tell(ev.GangStopped)
    assert set(bench.start().hosts) == {0, 2, 4, 5}


# -- rule 6: everything is bounded -----------------------------------------------------------


def test_rule_06_restarts_without_progress_end_in_hold(bench):
    bench.run()
    for _ in range(bench.config.max_restarts_without_progress):
        bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature="IndexError")
        bench.tell(ev.GangStopped)
        bench.ready()
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature="IndexError")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_PROGRESS
    assert "IndexError" in bench.said[0].reason
    bench.tell(ev.ResumeRequested)
    assert bench.start().step == 100


def test_rule_06_a_new_checkpoint_is_progress(bench):
    bench.run()
    for number in range(10):
        bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature="peer closed")
        bench.tell(ev.GangStopped)
        bench.ready()
        bench.commit(101 + number)
    assert bench.brain.phase is Phase.RUNNING


def test_rule_06_redoing_old_steps_is_no_progress(bench):
    bench.run()
    for number in range(bench.config.max_restarts_without_progress):
        bench.tell(ev.CheckpointLost, step=100)
        bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature="bad batch")
        bench.tell(ev.GangStopped)
        if number == 0:
            assert bench.why() is HoldReason.NO_CLEAN_CHECKPOINT
            bench.tell(ev.ResumeRequested)
        bench.ready()
        bench.commit(50 + number)
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.ERROR, signature="bad batch")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_PROGRESS


def test_rule_06_lost_hosts_do_not_count_as_failed_restarts(bench):
    bench.run(num_spares=20)
    for host in (0, 4, 5, 6, 7, 8, 9, 10):
        bench.tell(ev.HostsDied, hosts=(host,), cause="xid 79")
        bench.tell(ev.GangStopped, after_s=100.0)
        bench.ready()
    assert bench.brain.generation == 9
    assert bench.brain.phase is Phase.RUNNING


def test_rule_06_evictions_per_hour_are_limited_and_time_lifts_it(bench_with):
    bench = bench_with(max_evictions_per_h=2)
    bench.run(num_spares=5)
    for host in (0, 1):
        bench.tell(ev.HostsDied, hosts=(host,), cause="xid 79", after_s=100.0)
        bench.tell(ev.GangStopped)
        bench.ready()
    bench.tell(ev.HostsDied, hosts=(2,), cause="xid 79", after_s=100.0)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.TOO_MANY_EVICTIONS
    begun_s = bench.now_s
    while not bench.kinds() or bench.kinds() == ["Hold"]:
        bench.sleep()
    assert bench.kinds() == ["EvictHosts", "StartGang"]
    assert 3300.0 < bench.now_s - begun_s < 3600.0


def test_rule_06_no_spares_holds_until_a_host_is_repaired(bench):
    bench.run(num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_SPARES
    bench.tell(ev.HostRepaired, host=1, after_s=7200.0)
    assert bench.start().hosts == (0, 1, 2, 3)


def test_rule_06_a_hold_that_nobody_lifts_ends_the_campaign(bench_with):
    bench = bench_with(max_hold_s=1000.0)
    bench.run(num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    while bench.brain.phase is Phase.HOLDING:
        bench.sleep()
    (finish,) = bench.asked(act.Finish)
    assert finish.outcome is Outcome.FAILED
    assert "no_spares" in finish.reason


def test_rule_06_a_host_that_comes_back_renews_the_patience(bench_with):
    bench = bench_with(max_hold_s=1000.0)
    bench.run(num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1, 2, 3), cause="power")
    bench.tell(ev.GangStopped)
    for host in (1, 2, 3):
        bench.tell(ev.HostRepaired, host=host, after_s=900.0)
    assert bench.start().hosts == (0, 1, 2, 3)


def test_rule_06_where_nobody_watches_a_hold_fails_at_once(bench_with):
    bench = bench_with(max_hold_s=0.0)
    bench.run(num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.kinds() == ["Hold", "Finish"]


def test_rule_06_a_silent_host_without_a_witness_holds(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.RankExited, host=2, exit=ev.Exit.ERROR, signature="peer closed")
    bench.tell(ev.GangStopped)
    while bench.brain.phase is Phase.DECIDING:
        bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    assert bench.why() is HoldReason.NO_WITNESS
    bench.tell(ev.HostReachable, host=1)
    assert bench.start().hosts == (0, 1, 2, 3)


# -- rule 7: many hosts at once are one event ------------------------------------------------


def test_rule_07_a_dead_leaf_is_one_incident_and_one_action(bench_with):
    bench = bench_with(max_evictions_per_h=1)
    bench.run(num_hosts=64, num_spares=16)
    bench.tell(ev.HostsDied, hosts=tuple(range(8, 24)), cause="leaf 3 lost power")
    assert bench.kinds() == ["EvictHosts", "StopGang"]
    assert bench.asked(act.EvictHosts)[0].hosts == tuple(range(8, 24))
    bench.tell(ev.GangStopped)
    assert len(set(bench.start().hosts)) == 64


def test_rule_07_hosts_that_die_within_a_heartbeat_are_one_incident(bench_with):
    bench = bench_with(max_evictions_per_h=1)
    bench.run(num_hosts=64, num_spares=16)
    for host in range(8):
        bench.tell(ev.HostsDied, hosts=(host,), cause="power", after_s=0.5)
    bench.tell(ev.GangStopped)
    assert not set(range(8)) & set(bench.start().hosts)


def test_rule_06_missing_spares_are_the_reason_given_first(bench):
    bench.run(num_spares=0)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    bench.tell(ev.HostUnreachable, host=2)
    assert bench.kinds() == ["ProbeHost"]
    assert bench.brain.held is HoldReason.NO_SPARES


def test_rule_07_a_cut_off_leaf_whose_hosts_live_loses_none_of_them(bench):
    bench.run(num_hosts=64, num_spares=16)
    for host in range(16):
        bench.tell(ev.HostUnreachable, host=host, after_s=0.1)
    bench.tell(ev.HangSuspected, hosts=tuple(range(16)))
    bench.tell(ev.GangStopped)
    for host in range(16):
        bench.tell(ev.WitnessSpoke, host=host, alive=True)
    for host in range(16):
        bench.tell(ev.HostReachable, host=host)
    assert bench.start().hosts == tuple(range(64))


# -- rule 8: what may be committed and restored ----------------------------------------------


@pytest.mark.parametrize("flaw", [{"finite": False}, {"replicas_agree": False}])
def test_rule_08_a_bad_step_is_never_committed(bench, flaw):
    bench.run()
    bench.tell(ev.StepsDone, step=120, **flaw)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.CheckpointCommitted, step=120)
    bench.tell(ev.CheckpointCommitted, step=110)
    assert bench.brain.committed_step == 100
    assert bench.brain.ignored["refused_checkpoint"] == 1
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


def test_rule_08_a_checkpoint_counts_once_its_step_is_reported_good(bench):
    bench.run()
    bench.tell(ev.CheckpointCommitted, step=150)
    assert bench.brain.committed_step == 100
    bench.tell(ev.StepsDone, step=149)
    assert bench.brain.committed_step == 100
    bench.tell(ev.StepsDone, step=150)
    assert bench.brain.committed_step == 150


def test_rule_08_corruption_rolls_back_beyond_every_tainted_checkpoint(bench):
    bench.run()
    for step in (150, 200, 250):
        bench.commit(step)
    bench.tell(ev.CorruptionFound, host=2, clean_step=180)
    bench.tell(ev.CheckpointCommitted, step=240)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 150
    assert 2 not in bench.start().hosts


def test_rule_08_corruption_found_late_still_taints_what_descends_from_it(bench):
    bench.run()
    bench.commit(200)
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    bench.ready()
    bench.commit(300)
    bench.tell(ev.CorruptionFound, host=2, clean_step=150, generation=1)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


def test_rule_08_corruption_told_twice_does_not_roll_back_the_cure(bench):
    bench.run()
    bench.commit(200)
    bench.tell(ev.CorruptionFound, host=2, clean_step=150)
    bench.tell(ev.GangStopped)
    bench.ready()
    bench.commit(250)
    bench.tell(ev.CorruptionFound, host=2, clean_step=150, generation=1)
    assert bench.said == []
    assert bench.brain.committed_step == 250


def test_rule_08_without_a_clean_checkpoint_a_person_decides(bench):
    bench.run()
    bench.tell(ev.CorruptionFound, host=2, clean_step=50)
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_CLEAN_CHECKPOINT
    bench.tell(ev.ResumeRequested)
    assert bench.start().step is None


def test_rule_08_a_lost_checkpoint_is_replaced_by_the_one_before(bench):
    bench.run()
    bench.commit(200)
    bench.tell(ev.RankExited, host=1, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    bench.tell(ev.CheckpointLost, step=200)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


def test_rule_08_a_gang_that_restored_something_else_is_stopped(bench):
    bench.launch(committed_step=40)
    bench.tell(ev.GangReady, step=60)
    assert bench.kinds() == ["StopGang"]


# -- rule 9: the ladder is computed ----------------------------------------------------------


@pytest.mark.parametrize("report_s", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("start_s", [1.0, 5000.0])
@pytest.mark.parametrize("floors", [(10, 600, 1800), (600, 10, 1), (1, 1, 1), (5, 900, 60)])
def test_rule_09_each_rung_outlasts_the_one_below(floors, report_s, start_s):
    heartbeat_s, collective_s, join_s = floors
    rungs = ladder(
        heartbeat_floor_s=heartbeat_s,
        collective_floor_s=collective_s,
        join_floor_s=join_s,
        report_s=report_s,
        start_s=start_s,
    )
    assert rungs.flap_s < rungs.heartbeat_s < rungs.collective_s < rungs.join_s < rungs.watchdog_s
    assert rungs.collective_s >= max(collective_s, 2 * report_s)
    assert rungs.join_s >= max(join_s, start_s)


def test_rule_09_silence_of_a_running_gang_is_a_hang(bench):
    bench.run()
    bench.tell(ev.Ticked, after_s=bench.ladder.collective_s - 2.0)
    assert bench.kinds() == []
    bench.tell(ev.Ticked, after_s=2.0)
    assert bench.kinds() == ["StopGang"]


def test_rule_09_the_first_step_may_be_slow_until_the_watchdog(bench):
    bench.launch()
    begun_s = bench.now_s
    bench.ready()
    bench.tell(ev.Ticked, after_s=begun_s + bench.ladder.watchdog_s - bench.now_s - 1.0)
    assert bench.kinds() == []
    bench.tell(ev.Ticked)
    assert bench.kinds() == ["StopGang"]


def test_rule_09_a_tick_is_asked_for_only_when_none_is_under_way(bench):
    bench.run()
    for step in range(101, 150):
        bench.tell(ev.StepsDone, step=step, after_s=0.5)
        assert bench.said == []
