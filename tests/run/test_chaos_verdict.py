"""A soak's judge convicts whoever breaks a law, and nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gigafactory.control.actions import DropReplicas, Token
from gigafactory.control.config import ControlConfig, config_to_json
from gigafactory.control.timeouts import Ladder
from gigafactory.ledger import entries as book
from gigafactory.run.chaos.verdict import Blow, judge, states_of

LADDER = Ladder(flap_s=0.7, heartbeat_s=2.0, collective_s=8.0, join_s=60.0, watchdog_s=68.0)
OPENED = book.Opened(
    world=book.World.REAL, study="toy", num_gpus=3, gpus_per_host=1, num_steps=100,
    tokens_per_step=64, flops_per_step=1.0, peak_flops_per_s=1.0, step_s=0.1,
    controller=config_to_json(ControlConfig(ladder=LADDER)),
)  # fmt: skip
Told = list[tuple[float, book.Content]]


def entries(*more: tuple[float, book.Content]) -> list[book.Entry]:
    return [book.Entry(at_s, n, 1, c) for n, (at_s, c) in enumerate([(0.0, OPENED), *more])]


def steps(first: int, last: int, *, from_s: float, checksum: str = "c") -> Told:
    found: Told = []
    for step in range(first, last + 1):
        at_s = from_s + (step - first) * 0.1
        found += [
            (at_s, book.Steps(step=step, step_s=0.1, loss=1.0)),
            (at_s, book.StateAt(step=step, checksum=f"{checksum}{step}")),
        ]
    return found


def drop(replica: int, at_s: float) -> Told:
    action = DropReplicas(token=Token(1, int(at_s * 10)), replicas=(replica,))
    return [(at_s, book.ActionTaken(action=action))]


KILL = Blow(at_s=1.9, kind="kill", replicas=(1,))


def test_a_run_that_kept_the_laws() -> None:
    told = [*steps(1, 10, from_s=1.0), *drop(1, 2.0), *steps(11, 20, from_s=2.5)]
    found = judge(entries(*told), [KILL])
    assert found.broken == []
    assert found.num_steps == 20
    assert found.stalls_s == [pytest.approx(0.5)]
    assert states_of(entries(*told))[11] == "c11"


def break_law(kind: str) -> Told:
    before, after = steps(1, 10, from_s=1.0), steps(11, 12, from_s=2.5)
    match kind:
        case "healthy":
            return [*before, *drop(2, 2.0), *after]
        case "twice":
            return [*before, *drop(1, 2.0), *drop(1, 2.1), *after]
        case "lost":
            return [*before, (2.0, book.Rollback(step=8)), *after]
        case "other":
            return [*before, *drop(1, 2.0), *steps(10, 12, from_s=2.5, checksum="d")]
        case _:
            return [*before, *drop(1, 2.0), *steps(11, 12, from_s=30.0)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("healthy", "group 2 was well and was dropped"),
        ("twice", "group 1 was well and was dropped"),
        ("lost", "steps 9 to 10 were lost"),
        ("other", "step 10 came out differently"),
        ("slow", "is longer than the ladder's"),
    ],
)
def test_each_law_is_broken_once(kind: str, words: str) -> None:
    (broken,) = judge(entries(*break_law(kind)), [KILL]).broken
    assert words in broken


def test_power_off_may_cost_steps_but_no_committed_one() -> None:
    off = Blow(at_s=1.9, kind="all", ends_driver=True, ends_all=True)
    kept = (1.85, book.CheckpointKept(step=5))
    begun = [*steps(1, 10, from_s=1.0), kept]
    good = [*begun, (2.0, book.Rollback(step=5)), *steps(6, 9, from_s=9.0)]
    found = judge(entries(*good), [off])
    assert (found.broken, found.num_redone_steps) == ([], 5)
    bad = [*begun, (2.0, book.Rollback(step=4))]
    assert "step 5 was committed, and lost at 4" in judge(entries(*bad), [off]).broken[0]


def test_a_watch_follows_the_book_as_it_grows(tmp_path, write_book: Callable[..., None]) -> None:
    from gigafactory.run.chaos.watch import Watch

    file = tmp_path / "ledger.jsonl"
    watch = Watch(file)
    watch.look()
    assert watch.step == 0
    watch.training = {0, 1, 2}
    write_book(file, entries(*steps(1, 3, from_s=1.0), *drop(1, 2.0)))
    watch.look()
    assert (watch.step, watch.training) == (3, {0, 2})
    with file.open("a") as stream:
        stream.write('{"at_s":')
    watch.look()
    assert watch.num_entries == 8
