"""Beginning, maintenance, stopping and the end of a campaign."""

from __future__ import annotations

import pytest

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.actions import HoldReason, Outcome
from gigafactory.control.states import Phase


def outcome(bench):
    (finish,) = bench.asked(act.Finish)
    return finish.outcome


def test_a_launch_starts_every_seat_from_nothing(bench):
    bench.launch()
    start = bench.start()
    assert (start.hosts, start.step, start.seated) == ((0, 1, 2, 3), None, None)
    assert bench.brain.phase is Phase.STARTING


def test_a_second_launch_is_ignored(bench):
    bench.run()
    bench.launch(num_hosts=2)
    assert bench.said == []


def test_an_empty_allocation_fails(bench):
    bench.launch(num_hosts=0, num_spares=0)
    assert outcome(bench) is Outcome.FAILED


def test_a_host_named_twice_gets_one_seat(bench):
    bench.tell(ev.Launched, hosts=(0, 1, 1), spares=(1, 2), num_steps=10)
    assert bench.start().hosts == (0, 1)


def test_a_job_that_is_done_already_finishes(bench):
    bench.launch(committed_step=1000)
    assert outcome(bench) is Outcome.DONE


def test_the_last_step_is_saved_and_then_the_campaign_is_done(bench):
    bench.run()
    bench.tell(ev.StepsDone, step=1000)
    assert bench.kinds() == ["SaveNow"]
    bench.tell(ev.RankExited, host=0, exit=ev.Exit.CLEAN)
    assert bench.kinds() == []
    bench.tell(ev.CheckpointCommitted, step=1000)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert outcome(bench) is Outcome.DONE
    bench.tell(ev.StopRequested)
    assert bench.said == []
    assert bench.brain.ignored["finished"] == 1


def test_ranks_that_leave_after_the_last_checkpoint_are_done(bench):
    bench.run()
    bench.tell(ev.StepsDone, step=1000)
    bench.tell(ev.CheckpointCommitted, step=1000)
    for host in range(4):
        bench.tell(ev.RankExited, host=host, exit=ev.Exit.CLEAN)
    bench.tell(ev.GangStopped)
    assert outcome(bench) is Outcome.DONE


def test_the_last_step_without_a_checkpoint_is_not_done(bench):
    bench.run()
    bench.tell(ev.StepsDone, step=1000)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


def test_a_clean_exit_before_the_end_is_a_failure(bench):
    bench.run()
    bench.tell(ev.RankExited, host=0, exit=ev.Exit.CLEAN)
    assert bench.kinds() == ["StopGang"]


def test_a_gang_that_vanishes_is_started_again(bench):
    bench.run()
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


# -- stop ------------------------------------------------------------------------------------


def test_stop_saves_first(bench):
    bench.run()
    bench.tell(ev.StepsDone, step=130)
    bench.tell(ev.StopRequested)
    assert bench.kinds() == ["SaveNow"]
    bench.tell(ev.CheckpointCommitted, step=120)
    assert bench.kinds() == []
    bench.tell(ev.StepsDone, step=131)
    bench.tell(ev.CheckpointCommitted, step=131)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert outcome(bench) is Outcome.STOPPED
    assert bench.brain.committed_step == 131


def test_stop_does_not_wait_for_ever(bench):
    bench.run()
    bench.tell(ev.StopRequested)
    bench.tell(ev.StepsDone, step=101)
    bench.tell(ev.Ticked, after_s=bench.ladder.collective_s)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert outcome(bench) is Outcome.STOPPED


def test_stop_said_twice_does_not_wait(bench):
    bench.run()
    bench.tell(ev.StopRequested)
    bench.tell(ev.StopRequested)
    assert bench.kinds() == ["StopGang"]


@pytest.mark.parametrize("spares", [0, 2])
def test_stop_in_the_middle_of_a_recovery(bench, spares):
    bench.run(num_spares=spares)
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    bench.tell(ev.StopRequested)
    if spares:
        assert bench.kinds() == ["StopGang"]
        bench.tell(ev.GangStopped)
    assert outcome(bench) is Outcome.STOPPED


def test_stop_before_the_launch(bench):
    bench.tell(ev.StopRequested)
    assert outcome(bench) is Outcome.STOPPED


# -- maintenance -----------------------------------------------------------------------------


def test_maintenance_saves_swaps_at_the_commit_and_loses_no_step(bench):
    bench.run()
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=5000.0)
    assert bench.kinds() == ["SaveNow"]
    bench.tell(ev.StepsDone, step=140)
    bench.tell(ev.CheckpointCommitted, step=140)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.GangStopped)
    assert bench.kinds() == ["EvictHosts", "StartGang"]
    assert (bench.start().hosts, bench.start().step) == ((0, 1, 4, 3), 140)


def test_maintenance_of_many_hosts_is_one_swap(bench):
    bench.run()
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=5000.0)
    bench.tell(ev.MaintenanceAnnounced, host=3, by_s=5000.0)
    bench.commit(140)
    bench.tell(ev.GangStopped)
    assert bench.asked(act.EvictHosts)[0].hosts == (2, 3)
    assert bench.start().hosts == (0, 1, 4, 5)


def test_maintenance_of_a_spare_leaves_the_gang_alone(bench):
    bench.run()
    bench.tell(ev.MaintenanceAnnounced, host=5, by_s=5000.0)
    assert bench.kinds() == ["EvictHosts"]
    assert bench.brain.phase is Phase.RUNNING


def test_maintenance_without_spares_runs_on_until_shortly_before(bench):
    bench.run(num_spares=0, num_steps=10**6)
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=1000.0)
    assert bench.kinds() == []
    while bench.brain.phase is Phase.RUNNING:
        bench.tell(ev.StepsDone, step=int(bench.now_s) + 100, after_s=10.0)
    assert bench.now_s >= 1000.0 - bench.ladder.collective_s
    bench.tell(ev.CheckpointCommitted, step=int(bench.now_s) + 90)
    bench.tell(ev.GangStopped)
    assert bench.kinds() == ["EvictHosts", "Hold"]
    assert bench.why() is HoldReason.NO_SPARES
    bench.tell(ev.HostRepaired, host=2)
    assert bench.start().hosts == (0, 1, 2, 3)


def test_maintenance_does_not_wait_beyond_its_time(bench):
    bench.run(num_spares=0)
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=bench.now_s + 30.0)
    bench.tell(ev.StepsDone, step=101, after_s=28.0)
    bench.tell(ev.Ticked, after_s=2.0)
    assert bench.kinds() == ["EvictHosts", "StopGang"]


def test_maintenance_uses_a_stop_that_comes_anyway(bench):
    bench.run(num_spares=1)
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=5000.0)
    bench.tell(ev.RankExited, host=0, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 1, 4, 3)


def test_a_spare_that_comes_later_starts_the_swap(bench):
    bench.run(num_spares=0)
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=5000.0)
    bench.tell(ev.HostRepaired, host=9)
    assert bench.kinds() == ["SaveNow"]


def test_a_departing_host_that_dies_ends_the_drain(bench):
    bench.run(num_spares=0)
    bench.tell(ev.MaintenanceAnnounced, host=2, by_s=5000.0)
    bench.tell(ev.HostsDied, hosts=(2,), cause="xid 79")
    bench.tell(ev.GangStopped)
    assert bench.why() is HoldReason.NO_SPARES
    bench.tell(ev.HostRepaired, host=2)
    bench.ready()
    assert bench.brain.phase is Phase.RUNNING
