"""The twin of a run with replica groups: each fault costs what the ladder and the study say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control.actions import DropReplicas, Token
from gigafactory.describe.faults import FaultClass
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import ActionTaken, Entry, PaceFrom, Steps
from gigafactory.plan.search import plan
from gigafactory.simulate.again import (
    BEATS_A_LEASE,
    Hit,
    regrouped_after_s,
    stall_s,
    stalls_s,
    was_done,
)

STEP_S = 0.1


@pytest.fixture(scope="module")
def study() -> Study:
    root = Path(__file__).resolve().parents[2]
    return load_study(root / "studies" / "replicas.yaml", overrides=("faults.regroup=0.25 s",))


def hit(after_s: float, fault: FaultClass, *hosts: int, beats: bool = False) -> Hit:
    return Hit(after_s=after_s, since_s=0.04, fault=fault, hosts=hosts, heart_beats=beats)


def test_a_death_costs_the_work_in_flight_and_the_regrouping(study: Study) -> None:
    hits = [hit(20.0, FaultClass.PROCESS, 1), hit(16.0, FaultClass.PROCESS, 0, 2)]
    found = stalls_s(study, plan=plan(study), step_s=STEP_S, hits=hits)
    assert found == pytest.approx([0.04 + 0.25] * 2, abs=1e-6)


def test_who_has_handed_its_part_over_harms_the_next_step_only(study: Study) -> None:
    hits = [hit(20.0, FaultClass.PROCESS, 1), hit(16.0, FaultClass.PROCESS, 0)]
    late, early = (
        stalls_s(study, plan=plan(study), step_s=STEP_S, hits=hits, handed_over_share=share)
        for share in (0.3, 0.5)
    )
    assert late == pytest.approx([0.25] * 2, abs=1e-5)
    assert early == pytest.approx([0.04 + 0.25] * 2, abs=1e-6)


def test_a_silence_costs_its_lease_as_well(study: Study) -> None:
    hits = [hit(20.0, FaultClass.HANG, 2), hit(30.0, FaultClass.HANG, 2, beats=True)]
    found = stalls_s(study, plan=plan(study), step_s=STEP_S, hits=hits)
    leases_s = [study.policy.heartbeat_timeout_s * (1 + x / BEATS_A_LEASE) for x in (-0.5, 0.5)]
    assert found == pytest.approx([0.04 + lease_s + 0.25 for lease_s in leases_s], abs=1e-6)


def test_a_fault_before_all_are_back_finds_fewer(study: Study) -> None:
    """And one that finds nobody training waits until somebody does."""
    hits = [hit(0.0, FaultClass.PROCESS, 1), hit(0.1, FaultClass.PROCESS, 0, 2)]
    one, all_ = stalls_s(study, plan=plan(study), step_s=STEP_S, hits=hits)
    assert one == pytest.approx(0.04 + 0.25, abs=1e-6)
    assert all_ > study.faults.warm_start_base_s


def booked(*entries: tuple[float, object]) -> list[Entry]:
    return [Entry(at_s, n, 1, content) for n, (at_s, content) in enumerate(entries)]


def test_a_step_that_was_as_good_as_done_is_no_part_of_the_stall() -> None:
    """The blow falls at 10.98; the step in flight ends at 11.0, the next one is cut short."""
    drop = ActionTaken(action=DropReplicas(token=Token(1, 2), replicas=(1,)))
    book = booked(
        (10.0, Steps(step=10, num_steps=1, step_s=1.0)),
        (11.0, Steps(step=11, num_steps=1, step_s=1.0)),
        (11.03, drop),
        (11.1, PaceFrom(num_gpus=2)),
        (12.6, Steps(step=12, num_steps=1, step_s=1.5)),
    )
    assert stall_s(book, 10.98) == pytest.approx(0.1)
    assert regrouped_after_s(book, 10.98) == pytest.approx(0.12)
    assert regrouped_after_s(book, 11.05) is None
    assert was_done(book, 10.98)
    assert not was_done(book, 11.01)
