"""The failures of other people's controllers, as scenarios, and what happens if ours had them.

Each scenario says what must and must not follow from its events. Each mutant is our controller
with one defect patched in; a suite that lets it pass would not have found the defect.

Sources of the eleven: public issues (skypilot-org/skypilot#10155, intelligent-machine-learning/
dlrover#1749, NVIDIA/nvidia-resiliency-ext#348, kubernetes-sigs/kueue#14244), and trials of
torchft 0.2.0, its nightly and NVRx 0.4.1 (rows R01 to R06 of outcomes.csv).
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control import leaving, observe, recovery
from gigafactory.control import start as begin
from gigafactory.control.actions import HoldReason
from gigafactory.control.controller import Controller
from gigafactory.control.fleet import Condition
from gigafactory.control.progress import Progress
from gigafactory.control.state import Break, State
from gigafactory.control.states import Phase
from gigafactory.simulate.cases import Case
from gigafactory.simulate.laws import Law
from gigafactory.simulate.swarm import run_case

# -- the eleven: what must and what must not happen --------------------------------------------


def healthy_job_whose_status_cannot_be_read(bench):
    """SkyPilot #10155: 25 status fetches timed out, and a healthy job was recovered 24 times."""
    bench.run()
    for step in range(101, 126):
        bench.tell(ev.HostUnreachable, host=1)
        bench.tell(ev.StepsDone, step=step)
        bench.tell(ev.HostReachable, host=1)
    assert (bench.brain.phase, bench.brain.generation) == (Phase.RUNNING, 1)
    assert not [a for a in bench.everything if isinstance(a, (act.StopGang, act.EvictHosts))]


def checkpoint_begun_before_a_restart(bench):
    """DLRover #1749: the mark 'checkpoint begun' outlived the restart, and counted for ever."""
    bench.run()
    bench.tell(ev.CheckpointCommitted, step=150)
    bench.tell(ev.RankExited, host=2, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100
    bench.ready()
    bench.tell(ev.StepsDone, step=160)
    assert bench.brain.committed_step == 100


def spares_that_live(bench):
    """NVRx #348: more live agents than seats closed the rendezvous and killed the job."""
    bench.launch(num_hosts=4, num_spares=6)
    assert bench.start().hosts == (0, 1, 2, 3)
    bench.ready()
    bench.tell(ev.HostRepaired, host=77)
    assert bench.brain.phase is Phase.RUNNING


def second_failure_during_a_replacement(bench):
    """Kueue #14244: a second lost node during a replacement evicted the whole workload."""
    bench.run()
    bench.tell(ev.HostsDied, hosts=(1,), cause="xid 79")
    bench.tell(ev.GangStopped)
    bench.tell(ev.HostsDied, hosts=(2,), cause="xid 79")
    bench.tell(ev.GangStopped)
    evicted = [h for a in bench.everything if isinstance(a, act.EvictHosts) for h in a.hosts]
    assert evicted == [1, 2]
    assert bench.start().hosts == (0, 4, 5, 3)


def exception_that_comes_again(bench):
    """NVRx: a deterministic exception is restarted without end."""
    bench.launch()
    for _ in range(12):
        bench.ready()
        bench.tell(ev.StepsDone, step=17)
        bench.tell(ev.RankExited, host=0, exit=ev.Exit.ERROR, signature="ZeroDivisionError")
        bench.tell(ev.GangStopped)
    starts = [a for a in bench.everything if isinstance(a, act.StartGang)]
    assert len(starts) == 1 + bench.config.max_restarts_without_progress
    assert bench.brain.held is HoldReason.NO_PROGRESS


def host_of_rank_0_killed(bench):
    """R06: rank 0, which holds the store, is killed, and the job never comes back."""
    bench.run()
    bench.tell(ev.HostsDied, hosts=(0,), cause="power")
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (4, 1, 2, 3)
    bench.ready()
    assert bench.brain.phase is Phase.RUNNING


def nan_on_one_replica(bench):
    """R04: the NaN of one replica is committed by all, and training goes on."""
    bench.run()
    bench.tell(ev.StepsDone, step=101, finite=False)
    assert bench.kinds() == ["StopGang"]
    bench.tell(ev.CheckpointCommitted, step=101)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


def peer_killed(bench):
    """R01: the survivor of a kill -9 crashes as well."""
    bench.run()
    bench.tell(ev.RankExited, host=3, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 1, 2, 3)
    bench.ready()
    assert bench.brain.phase is Phase.RUNNING


def death_that_is_seen_at_once(bench):
    """R02: everybody waits for the heartbeat timeout although the death was seen."""
    bench.run()
    bench.tell(ev.HostsDied, hosts=(3,), cause="xid 79")
    assert "StopGang" in bench.kinds()
    assert "EvictHosts" in bench.kinds()


def thread_that_hangs(bench):
    """R03: one hung thread of two groups ends the job after 60 s."""
    bench.run()
    bench.tell(ev.HangSuspected, hosts=(2,))
    assert "StopGang" in bench.kinds()
    bench.tell(ev.WitnessSpoke, host=2, alive=True)
    bench.tell(ev.GangStopped)
    assert bench.start().hosts == (0, 1, 2, 3)


def coordinator_killed(bench):
    """R05: the lighthouse is killed, and all trainers exit."""
    bench.run()
    bench.tell(ev.Reattached)
    assert not bench.asked(act.StopGang)
    bench.commit(120)
    assert (bench.brain.phase, bench.brain.committed_step) == (Phase.RUNNING, 120)


# -- more rules, in the same way ---------------------------------------------------------------


def event_of_an_old_generation(bench):
    """Fencing: what an earlier generation says late changes nothing."""
    bench.run()
    bench.tell(ev.RankExited, host=2, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    bench.ready()
    for kind in (ev.GangStopped, ev.HangSuspected):
        bench.tell(kind, generation=1)
    bench.tell(ev.RankExited, generation=1, host=2, exit=ev.Exit.KILLED)
    assert (bench.brain.phase, bench.brain.generation) == (Phase.RUNNING, 2)


def rank_that_waited_in_vain(bench):
    """The rank that timed out is a victim: the witness vouches, and nobody leaves."""
    thread_that_hangs(bench)
    assert not [a for a in bench.everything if isinstance(a, act.EvictHosts)]


def link_that_flaps(bench):
    """A link that comes back costs no host and no restart."""
    bench.run()
    bench.tell(ev.LinksDown, hosts=(1,), cause="flap")
    bench.tell(ev.LinksUp, hosts=(1,), after_s=bench.ladder.flap_s / 2)
    bench.tell(ev.StepsDone, step=101)
    assert bench.brain.generation == 1
    assert not [a for a in bench.everything if isinstance(a, (act.EvictHosts, act.StopGang))]


def witness_that_answers_an_old_question(bench):
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    (old,) = bench.asked(act.ProbeHost)
    bench.tell(ev.HostReachable, host=1)
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.WitnessSpoke, host=1, alive=False, token=old.token)
    bench.tell(ev.Ticked, after_s=bench.ladder.heartbeat_s)
    assert not bench.asked(act.EvictHosts)


def corruption_found_late(bench):
    """The restored step is never younger than the last clean one."""
    bench.run()
    for step in (110, 120, 130):
        bench.commit(step)
    bench.tell(ev.CorruptionFound, host=3, clean_step=115)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 110
    assert 3 not in bench.start().hosts


def checkpoint_that_is_gone(bench):
    bench.run()
    bench.commit(120)
    bench.tell(ev.CheckpointLost, step=120)
    bench.tell(ev.RankExited, host=2, exit=ev.Exit.KILLED)
    bench.tell(ev.GangStopped)
    assert bench.start().step == 100


def rack_that_loses_power(bench):
    """Hosts lost together are one incident and one action."""
    bench.run(num_hosts=8, num_spares=8)
    bench.tell(ev.HostsDied, hosts=(2, 3, 4, 5), cause="power feed")
    (eviction,) = bench.asked(act.EvictHosts)
    assert eviction.hosts == (2, 3, 4, 5)


def storm_of_lost_hosts(bench):
    """The hour's evictions are limited, whatever is reported."""
    limit = bench.config.max_evictions_per_h
    bench.run(num_hosts=4, num_spares=2 * limit)
    for host in range(4, 4 + limit + 5):
        bench.tell(ev.HostsDied, hosts=(host,), cause="xid", after_s=2 * bench.ladder.heartbeat_s)
    evictions = [a for a in bench.everything if isinstance(a, act.EvictHosts)]
    assert len(evictions) == limit


def silence_of_a_host_without_a_witness(bench):
    """A lease that ran out is not enough to replace a host."""
    bench.run()
    bench.tell(ev.HostUnreachable, host=1)
    bench.tell(ev.Ticked, after_s=3 * bench.ladder.heartbeat_s)
    assert not [a for a in bench.everything if isinstance(a, act.EvictHosts)]


def tokens_of_a_long_story(bench):
    second_failure_during_a_replacement(bench)
    tokens = [action.token for action in bench.everything]
    assert tokens == sorted(set(tokens))


def checkpoint_before_its_step_is_good(bench):
    """A checkpoint counts once its step was reported good."""
    bench.run()
    bench.tell(ev.CheckpointCommitted, step=140)
    assert bench.brain.committed_step == 100
    bench.tell(ev.StepsDone, step=140)
    assert bench.brain.committed_step == 140


# -- the mutants -------------------------------------------------------------------------------


def _hear(patch, kind, look):
    patch.setitem(observe.OBSERVERS, kind, look)


def _condemn(state, hosts, why="mutant"):
    for host in hosts:
        state.fleet.condemn(host, why, Condition.DEAD)


def unreachable_is_dead(patch):
    _hear(patch, ev.HostUnreachable, lambda state, event: _condemn(state, (event.host,)))


def pending_checkpoints_survive(patch):
    start = recovery.start

    def start_with_marks(state):
        marks = list(state.progress.unconfirmed)
        start(state)
        state.progress.unconfirmed = marks

    patch.setattr(recovery, "start", start_with_marks)


def spares_block_the_start(patch):
    obstacle = recovery._obstacle

    def too_many(state):
        if len(state.fleet.spares) > len(state.fleet.seats):
            return HoldReason.NO_SPARES, "more agents than seats"
        return obstacle(state)

    patch.setattr(recovery, "_obstacle", too_many)


def second_failure_evicts_all(patch):
    look = observe.OBSERVERS[ev.HostsDied]

    def died(state, event):
        look(state, event)
        if state.phase not in (Phase.RUNNING, Phase.IDLE):
            _condemn(state, tuple(state.fleet.seat_of))

    _hear(patch, ev.HostsDied, died)


def no_attempt_is_counted(patch):
    patch.setattr(recovery, "counts", lambda state: False)
    patch.setattr(begin, "counts", lambda state: False)


def seat_0_is_never_filled(patch):
    obstacle = recovery._obstacle

    def without_store(state):
        if 0 in state.fleet.vacant:
            return HoldReason.NO_SPARES, "the store's host is gone"
        return obstacle(state)

    patch.setattr(recovery, "_obstacle", without_store)


def nan_is_a_number(patch):
    look = observe.OBSERVERS[ev.StepsDone]

    def done(state, event):
        look(state, ev.StepsDone(at_s=event.at_s, generation=event.generation, step=event.step))

    _hear(patch, ev.StepsDone, done)


def survivors_crash(patch):
    def exited(state, event):
        state.is_failed = "assertion in a survivor"
        state.break_gang(Break.PROCESS_EXIT)

    _hear(patch, ev.RankExited, exited)


def death_is_mere_silence(patch):
    look = observe.OBSERVERS[ev.HostUnreachable]

    def died(state, event):
        for host in event.hosts:
            look(state, ev.HostUnreachable(at_s=event.at_s, host=host))

    _hear(patch, ev.HostsDied, died)


def hang_ends_the_job(patch):
    def hung(state, event):
        state.is_failed = "quorum timeout"
        state.break_gang(Break.HANG)

    _hear(patch, ev.HangSuspected, hung)


def coordinator_takes_all_along(patch):
    _hear(patch, ev.Reattached, lambda state, event: state.break_gang(Break.VANISHED))


def every_generation_counts(patch):
    patch.setattr(Controller, "_is_current", lambda self, generation: True)


def who_timed_out_is_the_culprit(patch):
    def hung(state, event):
        _condemn(state, event.hosts)
        state.break_gang(Break.HANG)

    _hear(patch, ev.HangSuspected, hung)


def flap_is_death(patch):
    _hear(patch, ev.LinksDown, lambda state, event: _condemn(state, event.hosts))


def any_answer_of_a_witness(patch):
    def spoke(state, event):
        if enquiry := state.fleet.enquiries.get(event.host):
            enquiry.alive = event.alive

    _hear(patch, ev.WitnessSpoke, spoke)


def corrupt_states_are_kept(patch):
    patch.setattr(Progress, "forget_beyond", lambda self, step: None)


def lost_checkpoints_are_kept(patch):
    _hear(patch, ev.CheckpointLost, lambda state, event: None)


def one_eviction_a_host(patch):
    handle = Controller.handle

    def split(self, event):
        said = []
        for action in handle(self, event):
            hosts = action.hosts if isinstance(action, act.EvictHosts) else ()
            said += [
                act.EvictHosts(token=self._state.token(), hosts=(host,), reason=action.reason)
                for host in hosts
            ] or [action]
        return said

    patch.setattr(Controller, "handle", split)


def evictions_without_limit(patch):
    patch.setattr(leaving, "_may_evict", lambda state: True)


def lease_without_a_witness(patch):
    look = observe.OBSERVERS[ev.Ticked]

    def ticked(state, event):
        look(state, event)
        late = [h for h, q in state.fleet.enquiries.items() if state.now_s >= q.lease_until_s]
        _condemn(state, late)

    _hear(patch, ev.Ticked, ticked)


def attempts_are_not_counted(patch):
    patch.setattr(State, "token", lambda self: act.Token(self.gang.generation, 1))


def checkpoints_count_at_once(patch):
    _hear(
        patch,
        ev.CheckpointCommitted,
        lambda state, event: state.progress.commit(event.step),
    )


ELEVEN = [
    (unreachable_is_dead, healthy_job_whose_status_cannot_be_read),
    (pending_checkpoints_survive, checkpoint_begun_before_a_restart),
    (spares_block_the_start, spares_that_live),
    (second_failure_evicts_all, second_failure_during_a_replacement),
    (no_attempt_is_counted, exception_that_comes_again),
    (seat_0_is_never_filled, host_of_rank_0_killed),
    (nan_is_a_number, nan_on_one_replica),
    (survivors_crash, peer_killed),
    (death_is_mere_silence, death_that_is_seen_at_once),
    (hang_ends_the_job, thread_that_hangs),
    (coordinator_takes_all_along, coordinator_killed),
]
MORE = [
    (every_generation_counts, event_of_an_old_generation),
    (who_timed_out_is_the_culprit, rank_that_waited_in_vain),
    (flap_is_death, link_that_flaps),
    (any_answer_of_a_witness, witness_that_answers_an_old_question),
    (corrupt_states_are_kept, corruption_found_late),
    (lost_checkpoints_are_kept, checkpoint_that_is_gone),
    (one_eviction_a_host, rack_that_loses_power),
    (evictions_without_limit, storm_of_lost_hosts),
    (lease_without_a_witness, silence_of_a_host_without_a_witness),
    (attempts_are_not_counted, tokens_of_a_long_story),
    (checkpoints_count_at_once, checkpoint_before_its_step_is_good),
]


@pytest.mark.parametrize("scenario", [s for _, s in ELEVEN + MORE], ids=lambda s: s.__name__)
def test_the_controller_stands(scenario, bench):
    scenario(bench)


@pytest.mark.parametrize(
    ("mutant", "scenario"), ELEVEN + MORE, ids=[m.__name__ for m, _ in ELEVEN + MORE]
)
def test_its_mutant_falls(mutant, scenario, bench, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        scenario(bench)


# -- the laws see it too, without anybody telling them what to look for ------------------------

BASE = load_study(Path(__file__).resolve().parents[2] / "studies" / "grok-1-512.yaml")
ROUGH = Case(
    seed=7, num_hosts=16, num_spares=6, days=3.0, false_alarm_share=0.5, job_rate_per_day=6.0,
    batch_share=0.5, batch_hosts=4, repair_median_s=1800.0, repair_mean_s=3600.0,
    causes=(("host", 0.2, 20.0), ("process", 0.1, 5.0), ("hang", 0.1, 60.0),
            ("network", 0.1, 9.0), ("corruption", 0.1, 900.0)),
    policy={"max_restarts_without_progress": 2, "progress_timeout_s": 120.0,
            "max_evictions_per_h": 5, "start_timeout_s": 600.0},
)  # fmt: skip
SEEN = [
    (unreachable_is_dead, Law.EVICTION_HAS_A_REASON),
    (who_timed_out_is_the_culprit, Law.EVICTION_HAS_A_REASON),
    (corrupt_states_are_kept, Law.NEWEST_GOOD_STEP),
    (one_eviction_a_host, Law.ONE_INCIDENT),
    (attempts_are_not_counted, Law.TOKENS_RISE),
    (seat_0_is_never_filled, Law.LIVES_ON),
]


def test_the_laws_find_nothing_in_the_controller():
    assert [v.text() for v in run_case(ROUGH, base=BASE).violations] == []


@pytest.mark.parametrize(("mutant", "law"), SEEN, ids=[m.__name__ for m, _ in SEEN])
def test_the_laws_find_the_mutant(mutant, law, monkeypatch):
    mutant(monkeypatch)
    report = run_case(ROUGH, base=BASE)
    assert law in {v.law for v in report.violations}
    assert all(math.isfinite(v.at_s) for v in report.violations)
