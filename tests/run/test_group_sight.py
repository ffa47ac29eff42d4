"""What reports, exits and silences of replica groups mean; no process, no clock."""

from __future__ import annotations

import pytest

from gigafactory.control import events as ev
from gigafactory.control.timeouts import Ladder
from gigafactory.describe import group as told
from gigafactory.describe.group import Doing, Why
from gigafactory.describe.rank import CheckpointCommitted, Failed, Finished
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.run.sensors.gang import Note, Seen
from gigafactory.run.sensors.groups import GroupSight

LADDER = Ladder(flap_s=0.7, heartbeat_s=2.0, collective_s=8.0, join_s=60.0, watchdog_s=68.0)


@pytest.fixture
def sight() -> GroupSight:
    """Three groups on hosts 10 to 12 that train after step 10, since 1 s."""
    found = GroupSight(generation=3, ladder=LADDER, num_steps=100, step=10)
    for replica in range(3):
        found.host_of[replica] = 10 + replica
        found.watch(replica, incarnation=7, num_ranks=1, at_s=0.5)
        found.hear(replica, 0, here(replica), 0.6)
    found.regroup(4, {0, 1, 2})
    found.go_on(10, 1.0)
    return found


def here(replica: int) -> told.Here:
    return told.Here(secret="x", replica=replica, rank=0, incarnation=7, pid=1, address="a:1")


def stepped(step: int, **changes: object) -> told.Stepped:
    usual = {
        "epoch": 4, "step": step, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-3,
        "step_s": 0.1, "tokens": 64, "checksum": "c",
    }  # fmt: skip
    return told.Stepped.model_validate(usual | changes)


def alive(doing: Doing, beats: int = 1) -> told.Alive:
    return told.Alive(doing=doing, beats=beats, epoch=4)


def of(kind: type, seen: list[Seen]) -> list:
    found = [one.content if isinstance(one, Note) else one for one in seen]
    return [one for one in found if isinstance(one, kind)]


def everybody(sight: GroupSight, step: int, at_s: float) -> list[Seen]:
    return [one for r in range(3) for one in sight.hear(r, 0, stepped(step), at_s)]


def test_a_step_is_done_when_all_members_committed_it(sight: GroupSight) -> None:
    assert sight.hear(0, 0, stepped(11), 1.1) == sight.hear(2, 0, stepped(11), 1.1) == []
    seen = sight.hear(1, 0, stepped(11), 1.6)
    assert of(book.Steps, seen) == [book.Steps(step=11, step_s=0.1, loss=2.0)]
    assert of(book.StateAt, seen) == [book.StateAt(step=11, checksum="c")]
    (done,) = of(ev.StepsDone, seen)
    assert (done.step, done.peer_step) == (11, 11)
    assert everybody(sight, 11, 1.7) == []  # said again to a new driver


def test_a_member_that_was_hit_in_the_moment_of_the_step_does_not_enter_the_book(
    sight: GroupSight,
) -> None:
    """The gate of the next step sees it; what is kept is what the others hold."""
    sight.hear(0, 0, stepped(11, checksum="hit"), 1.1)
    sight.hear(2, 0, stepped(11), 1.1)
    seen = sight.hear(1, 0, stepped(11), 1.6)
    assert of(book.StateAt, seen) == [book.StateAt(step=11, checksum="c")]
    sight.regroup(5, {0, 1})
    sight.hear(0, 0, stepped(12, checksum="hit"), 1.7)
    seen = sight.hear(1, 0, stepped(12), 1.8)
    assert of(book.Steps, seen)
    assert of(book.StateAt, seen) == []  # nobody can tell which


def test_steps_are_told_now_and_then_but_before_bad_news(sight: GroupSight) -> None:
    told_steps = [s for n in range(11, 31) for s in of(ev.StepsDone, everybody(sight, n, n / 10))]
    assert 3 <= len(told_steps) <= 5
    everybody(sight, 31, 3.01)
    seen = sight.end(1, -9, 3.02)
    assert [type(one) for one in seen if isinstance(one, ev.Event)] == [ev.StepsDone, ev.RankExited]
    assert of(ev.StepsDone, seen)[0].step == 31


def test_a_death_names_its_host_and_what_it_said(sight: GroupSight) -> None:
    seen = sight.end(1, -9, 2.0)
    (exited,) = of(ev.RankExited, seen)
    assert (exited.host, exited.exit, exited.signature) == (11, ev.Exit.KILLED, "SIGKILL")
    assert of(book.BucketFrom, seen) == [book.BucketFrom(bucket=Bucket.DETECT)]
    sight.hear(2, 0, Failed(signature="Oops in member.py:live", message="oops"), 2.1)
    (exited,) = of(ev.RankExited, sight.end(2, 1, 2.1))
    assert (exited.exit, exited.signature) == (ev.Exit.ERROR, "Oops in member.py:live")
    (orphan,) = of(ev.RankExited, sight.end(0, None, 2.2))  # no child of this driver
    assert orphan.exit is ev.Exit.KILLED


def pulses(sight: GroupSight, at_s: float, *, computing: int | None, beats: int = 1) -> list[Seen]:
    """One computes, or stands still at that; the others wait, and show that they do."""
    for replica in range(3):
        is_busy = replica == computing
        pulse = alive(Doing.COMPUTING, beats) if is_busy else alive(Doing.WAITING, int(at_s * 100))
        sight.hear(replica, 0, pulse, at_s)
    return sight.look(at_s)


def test_who_is_silent_is_accused_once_and_who_waits_is_a_victim(sight: GroupSight) -> None:
    pulses(sight, 2.0, computing=None)
    for tick in range(30):
        at_s = 2.0 + tick / 10
        for replica in (0, 2):
            sight.hear(replica, 0, alive(Doing.WAITING, tick), at_s)
        seen = sight.look(at_s)
        if seen:
            break
    (hang,) = of(ev.HangSuspected, seen)
    assert (hang.hosts, hang.waiting) == ((11,), (10, 12))
    assert LADDER.heartbeat_s < at_s - 2.0 < LADDER.heartbeat_s + 0.3
    assert sight.look(at_s + 0.1) == []


def test_who_is_silent_for_want_of_a_processor_is_given_time(sight: GroupSight) -> None:
    """A machine full of work keeps even the thread that says so from a processor."""

    def busy(replica: int) -> bool:
        return replica == 1

    for at_s in (1.5, 2.5, 3.5):
        for replica in (0, 2):
            sight.hear(replica, 0, alive(Doing.COMPUTING, beats=int(10 * at_s)), at_s)
    assert of(ev.HangSuspected, sight.look(3.6, wants_processor=busy)) == []
    for at_s in (4.4, 5.2, 6.0, 6.8):
        for replica in (0, 2):
            sight.hear(replica, 0, alive(Doing.COMPUTING, beats=int(10 * at_s)), at_s)
        sight.look(at_s, wants_processor=busy)
    sight.hear(0, 0, alive(Doing.COMPUTING, beats=90), 7.1)
    sight.hear(2, 0, alive(Doing.COMPUTING, beats=90), 7.1)
    # but not for ever: the rung of the controller is 8 s
    (suspected,) = of(ev.HangSuspected, sight.look(7.2, wants_processor=busy))
    assert suspected.hosts == (11,)


def test_a_heart_that_beats_beside_a_main_thread_that_stands_still(sight: GroupSight) -> None:
    found = []
    for tick in range(100):
        found += pulses(sight, 2.0 + tick / 10, computing=1)
    (hang,) = of(ev.HangSuspected, found)
    assert hang.hosts == (11,)
    assert hang.at_s - 2.0 < LADDER.collective_s


def test_who_gets_no_processor_does_not_hang(sight: GroupSight) -> None:
    found = []
    for tick in range(100):
        at_s = tick / 10
        for replica in (0, 2):
            sight.hear(replica, 0, alive(Doing.WAITING, tick), 2.0 + at_s)
        # nine tenths of its time somebody else has the processor
        pulse = told.Alive(doing=Doing.COMPUTING, beats=1, epoch=4, starved_s=0.9 * at_s)
        sight.hear(1, 0, pulse, 2.0 + at_s)
        found += sight.look(2.0 + at_s)
    assert found == []


def test_who_hangs_while_it_waits_itself_is_found_too(sight: GroupSight) -> None:
    found = []
    for tick in range(60):
        for replica in range(3):
            beats = 5 if replica == 2 else tick
            sight.hear(replica, 0, alive(Doing.WAITING, beats), 2.0 + tick / 10)
        found += sight.look(2.0 + tick / 10)
    (hang,) = of(ev.HangSuspected, found)
    assert hang.hosts == (12,)


def test_slow_steps_are_no_hang(sight: GroupSight) -> None:
    for beats in range(12):
        for tick in range(15):
            assert pulses(sight, 2.0 + 1.5 * beats + tick / 10, computing=1, beats=beats) == []
    assert sight.hang_s == pytest.approx(6.0, rel=0.1)  # four of the longest so far


def test_a_driver_that_was_away_itself_accuses_nobody(sight: GroupSight) -> None:
    pulses(sight, 2.0, computing=0)
    assert sight.look(50.0) == []
    assert sight.look(50.1) == []


@pytest.mark.parametrize(
    ("why", "bad_step", "finite"),
    [(Why.DISAGREE, 10, True), (Why.SUMS_DIFFER, 11, True), (Why.NOT_FINITE, 11, False)],
)
def test_what_nobody_can_be_blamed_for(
    sight: GroupSight, why: Why, bad_step: int, finite: bool
) -> None:
    report = told.Discarded(epoch=4, step=10, why=why)
    done = of(ev.StepsDone, sight.hear(0, 0, report, 2.0))[-1]
    assert (done.step, done.finite, done.replicas_agree) == (bad_step, finite, not finite)
    assert sight.hear(1, 0, report, 2.0) == []


def test_wrong_values_are_contained_and_name_their_host(sight: GroupSight) -> None:
    report = told.Discarded(epoch=4, step=10, why=Why.CORRUPT, replicas=(2,))
    seen = sight.hear(0, 0, report, 2.0)
    (found,) = of(ev.CorruptionFound, seen)
    assert (found.host, found.clean_step, found.is_contained) == (12, 10, True)
    assert sight.hear(1, 0, report, 2.0) == []


def test_the_last_step_is_told_when_the_model_is_exported(sight: GroupSight) -> None:
    sight.go_back(98)
    sight.step = 98
    seen = everybody(sight, 99, 2.0)
    assert [(d.step, d.lease_s) for d in of(ev.StepsDone, seen)] == [(99, LADDER.join_s)]
    assert of(ev.StepsDone, everybody(sight, 100, 2.1)) == []
    kept = sight.hear(0, 0, CheckpointCommitted(step=100, write_s=0.1, num_bytes=9), 2.2)
    assert of(ev.CheckpointCommitted, kept) == []
    seen = sight.hear(0, 0, Finished(), 3.0)
    assert [type(one) for one in seen] == [ev.StepsDone, ev.CheckpointCommitted]
    assert seen[0].step == 100
