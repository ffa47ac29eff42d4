"""What the reports and exits of a gang mean; no process, no clock."""

from __future__ import annotations

import pytest

from gigafactory.control import events as ev
from gigafactory.describe import rank as told
from gigafactory.describe.policy import Policy
from gigafactory.ledger import entries as book
from gigafactory.ledger.entries import Bucket
from gigafactory.run.sensors.gang import GRACE_S, GangSight, Note, Seen


def sight(*, is_first: bool = False, num_ranks: int = 2) -> GangSight:
    return GangSight(
        generation=3,
        host_of={rank: rank // 2 for rank in range(num_ranks)},
        num_steps=100,
        policy=Policy(heartbeat_timeout_s=5.0),
        is_first=is_first,
        begun_s=0.0,
    )


def training(at_s: float = 1.0, **options: int) -> GangSight:
    gang = sight(**options)
    for rank in gang.host_of:
        gang.hear(rank, told.Restoring(), at_s)
        gang.hear(rank, told.Ready(step=10), at_s)
    return gang


def step(number: int, **changes: object) -> told.Step:
    usual = {
        "step": number, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-3, "step_s": 0.1,
        "tokens": 64, "finite": True,
    }  # fmt: skip
    return told.Step.model_validate(usual | changes)


def failed(*, is_victim: bool = False) -> told.Failed:
    return told.Failed(signature="Oops in loop.py:train", message="oops", is_victim=is_victim)


def events(seen: list[Seen]) -> list[ev.Event]:
    return [one for one in seen if isinstance(one, ev.Event)]


def buckets(seen: list[Seen]) -> list[Bucket]:
    notes = [one.content for one in seen if isinstance(one, Note)]
    return [content.bucket for content in notes if isinstance(content, book.BucketFrom)]


def test_ready_when_every_rank_is() -> None:
    gang = sight()
    assert buckets(gang.hear(0, told.Restoring(), 1.0)) == []
    assert buckets(gang.hear(1, told.Restoring(), 1.1)) == [Bucket.RESTORE]
    assert gang.hear(0, told.Ready(step=10), 2.0) == []
    seen = gang.hear(1, told.Ready(step=10), 2.5)
    assert buckets(seen) == [Bucket.PRODUCTIVE]
    assert events(seen) == [ev.GangReady(at_s=2.5, generation=3, step=10)]


def test_the_first_start_of_all_stays_in_its_own_bucket() -> None:
    gang = sight(is_first=True)
    assert gang.hear(0, told.Restoring(), 1.0) + gang.hear(1, told.Restoring(), 1.1) == []


def test_steps_are_all_booked_and_told_now_and_then() -> None:
    gang = training(at_s=1.0)
    seen = [one for n in range(11, 31) for one in gang.hear(0, step(n), 1.0 + (n - 10) * 0.1)]
    booked = [one.content.step for one in seen if isinstance(one, Note) and
              isinstance(one.content, book.Steps)]  # fmt: skip
    assert booked == list(range(11, 31))
    done = [one for one in events(seen) if isinstance(one, ev.StepsDone)]
    assert 3 <= len(done) <= 5
    assert gang.hear(1, step(31), 4.0) == []  # rank 0 speaks for the gang


@pytest.mark.parametrize(
    "bad", [{"finite": False, "loss": float("nan")}, {"replicas_agree": False}]
)
def test_a_bad_step_is_told_at_once(bad: dict[str, object]) -> None:
    gang = training(at_s=1.0)
    (done,) = events(gang.hear(0, step(11, **bad), 1.05))
    assert isinstance(done, ev.StepsDone)
    assert not (done.finite and done.replicas_agree)


def test_a_commit_follows_the_step_it_holds() -> None:
    gang = training(at_s=1.0)
    gang.hear(0, step(11), 1.1)
    seen = gang.hear(0, told.CheckpointCommitted(step=11, write_s=0.2, num_bytes=7), 1.3)
    kinds = [type(one) for one in events(seen)]
    assert kinds == [ev.StepsDone, ev.CheckpointCommitted]
    begun = gang.hear(0, told.CheckpointBegun(step=12, blocking_s=0.25), 2.0)
    assert [(n.at_s, b) for n, b in zip(begun, buckets(begun), strict=True)] == [
        (1.75, Bucket.CHECKPOINT),
        (2.0, Bucket.PRODUCTIVE),
    ]


def test_the_last_commit_is_told_when_the_model_is_exported() -> None:
    gang = training()
    gang.hear(0, step(100), 1.1)
    seen = gang.hear(0, told.CheckpointCommitted(step=100, write_s=0.2, num_bytes=7), 1.3)
    assert ev.CheckpointCommitted not in [type(one) for one in events(seen)]
    (committed,) = events(gang.hear(0, told.Finished(), 2.0))
    assert isinstance(committed, ev.CheckpointCommitted)
    assert gang.end(0, 0, 2.1) + gang.end(1, 0, 2.1) + gang.look(9.0) == []


def test_the_killed_rank_is_blamed_not_its_peer_that_spoke_first() -> None:
    gang = training()
    gang.hear(0, failed(is_victim=True), 2.0)
    assert buckets(gang.end(0, 1, 2.01)) == [Bucket.DETECT]
    assert gang.look(2.02) == []  # a complaint alone waits for its reason
    gang.end(1, -9, 2.03)
    (exited,) = events(gang.look(2.04))
    assert isinstance(exited, ev.RankExited)
    assert (exited.exit, exited.signature) == (ev.Exit.KILLED, "SIGKILL")
    assert gang.look(3.0) == []  # once


def test_an_exception_of_its_own_is_blamed_after_a_moment() -> None:
    gang = training(num_ranks=4)
    gang.hear(0, failed(is_victim=True), 2.0)
    gang.hear(3, failed(), 2.0)
    gang.end(0, 1, 2.0)
    gang.end(3, 1, 2.1)
    (exited,) = events(gang.look(2.0 + GRACE_S))
    assert isinstance(exited, ev.RankExited)
    assert (exited.host, exited.exit) == (1, ev.Exit.ERROR)
    assert exited.signature == "Oops in loop.py:train"
    assert gang.failure == failed()


def test_only_victims_means_that_one_of_them_stands_for_the_gang() -> None:
    gang = training()
    gang.hear(1, failed(is_victim=True), 2.0)
    gang.end(1, 1, 2.0)
    (exited,) = events(gang.look(2.0 + GRACE_S))
    assert isinstance(exited, ev.RankExited)
    assert exited.exit is ev.Exit.ERROR


def test_a_stopped_rank_is_a_hang_and_is_named() -> None:
    gang = training(at_s=10.0, num_ranks=4)
    for tenth in range(1, 80):  # rank 3 falls silent, the others beat but wait for it
        at_s = 10.0 + tenth / 10
        for rank in (0, 1, 2):
            gang.hear(rank, told.Heartbeat(), at_s)
        seen = gang.look(at_s)
        if events(seen):
            break
    assert 15.0 < at_s < 15.3
    assert events(seen) == [ev.HangSuspected(at_s=at_s, generation=3, hosts=(1,))]
    assert gang.look(at_s + 60) == []


def test_silence_is_booked_as_detection_until_a_step_comes() -> None:
    gang = training(at_s=10.0)
    gang.hear(0, step(11), 10.1)
    for rank in (0, 1):
        gang.hear(rank, told.Heartbeat(), 12.4)
    assert buckets(gang.look(12.5)) == [Bucket.DETECT]
    assert buckets(gang.look(12.6)) == []
    assert buckets(gang.hear(0, step(12), 12.7)) == [Bucket.PRODUCTIVE]


def test_a_slow_start_is_no_hang_but_a_silent_one_is() -> None:
    gang = sight()
    gang.hear(0, told.Heartbeat(), 1.0)
    assert gang.look(10.0) == []
    (hang,) = events(gang.look(17.0))
    assert isinstance(hang, ev.HangSuspected)


def test_a_drilled_kill_says_so_in_the_book() -> None:
    gang = training()
    gang.drilled_rank = 1
    gang.end(1, -9, 2.0)
    (fault,) = [n.content for n in gang.look(2.0) if isinstance(n, Note)]
    assert isinstance(fault, book.FaultStruck)
    assert fault.cause == "drill: rank 1: SIGKILL"
