"""A short swarm, the troubles of the wire one by one, and the shrinking of what fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control.actions import StartGang, Tier, Token
from gigafactory.control.events import HangSuspected
from gigafactory.control.fence import Admission, Fence
from gigafactory.simulate.cases import case_from_json, draw_case
from gigafactory.simulate.swarm import reduce, run_case, story
from gigafactory.simulate.wire import Trouble

BASE = load_study(Path(__file__).resolve().parents[2] / "studies" / "grok-1-512.yaml")
QUIET = draw_case(3, num_hosts=8, days=3.0)
HARSH = (("host", 0.1, 20.0), ("process", 0.1, 5.0), ("hang", 0.05, 60.0), ("network", 0.05, 9.0))

#: Of a wider swarm of the same size: seeds that broke a law, and why.
FOUND = {
    531: "a host that gave up its seat took another; its copies lie with it, not with the seat",
    1298: "a host that a witness called dead had its replica dropped before it might be evicted",
    2752: "a host whose process had ended stood by as a suspect, and no gang started to clear it",
    2835: "a drop was asked for again after the replica had joined",
    167: "copies on disks were taken for whole although a host of the gang had been given up",
    677: "an old word of links that were down was never taken back",
    3354: "an old word of a repair took back an announced maintenance",
}


@pytest.mark.parametrize("seed", range(60))
def test_no_seed_of_the_short_swarm_breaks_a_law(seed):
    report = run_case(draw_case(seed, num_hosts=16, days=2.0), base=BASE)
    assert [v.text() for v in report.violations] == []


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_once_broke_a_law_stays_mended(seed):
    report = run_case(draw_case(seed, num_hosts=16, days=2.0), base=BASE)
    assert [v.text() for v in report.violations] == []


@pytest.mark.parametrize("trouble", [t for t in Trouble if t is not Trouble.CRASHED])
def test_one_trouble_alone_breaks_no_law_and_is_met(trouble):
    noise = {trouble.value: 0.1, "late_s": 20.0}
    report = run_case(replace(QUIET, causes=HARSH, noise=noise), base=BASE)
    assert [v.text() for v in report.violations] == []
    assert {kind for _, kind, _ in report.met} == {trouble}


def test_the_controller_dies_and_its_book_brings_it_back():
    noise = {"crashed": 0.2, "down_s": 60.0}
    report = run_case(replace(QUIET, causes=HARSH, noise=noise), base=BASE, keep=True)
    assert report.num_crashes == 8
    assert [v.text() for v in report.violations] == []
    assert sum("Reattached" in line for line in story(report)) == 8


def test_the_cases_restore_from_every_tier_and_see_hangs_in_every_way():
    tiers, sights = set(), set()
    for seed in (0, 6, 8, 15, 20, 42):
        report = run_case(draw_case(seed, num_hosts=16, days=2.0), base=BASE, keep=True)
        for event, actions in report.turns:
            tiers |= {a.tier for a in actions if isinstance(a, StartGang)}
            if isinstance(event, HangSuspected):
                sights.add(report.case.sight)
    assert tiers == set(Tier)
    assert len({draw_case(seed).sight for seed in range(30)}) == 4
    assert sights


def test_the_same_case_takes_the_same_course():
    case = replace(draw_case(5, num_hosts=8, days=2.0), causes=HARSH)
    one, other = (run_case(case, base=BASE, keep=True) for _ in range(2))
    assert one.turns == other.turns
    assert case_from_json(case.to_json()) == case


def test_leaving_a_fault_out_leaves_the_others_where_they_were():
    case = replace(QUIET, causes=HARSH, noise={})
    whole = run_case(case, base=BASE)
    fewer = run_case(replace(case, strikes=tuple(range(1, whole.num_strikes))), base=BASE)
    assert fewer.num_strikes == whole.num_strikes


def test_shrinking_finds_the_two_that_matter():
    assert reduce(range(200), lambda kept: 17 in kept and 141 in kept) == [17, 141]
    assert reduce(range(10), lambda kept: True) == []


def test_a_fence_lets_new_tokens_pass_once():
    fence = Fence()
    assert fence.admit(Token(1, 4)) is Admission.NEW
    assert fence.admit(Token(1, 4)) is Admission.DUPLICATE
    assert fence.admit(Token(1, 3)) is Admission.OLDER
    assert fence.admit(Token(2, 5)) is Admission.NEW
    assert fence.admit(Token(1, 9)) is Admission.OLDER


def test_a_rollback_behind_a_mark_of_no_step_can_be_folded():
    """Seed 31: a run that broke in the stall of its first checkpoint, and restored an older one."""
    report = run_case(draw_case(31, num_hosts=16, days=2.0), base=BASE)
    assert report.violations == []
