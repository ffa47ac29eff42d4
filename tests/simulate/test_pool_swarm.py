"""A short swarm of jobs beside serving pools, and the laws of the pool caught at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control import lending
from gigafactory.control.actions import Token
from gigafactory.control.lending import DemandSeen, Lend, LendingController, Post, Recall
from gigafactory.simulate.cases import case_from_json
from gigafactory.simulate.loans import Loans
from gigafactory.simulate.pool_cases import draw_pool_case
from gigafactory.simulate.pool_laws import PoolLaw, PoolLaws
from gigafactory.simulate.swarm import run_case

BASE = load_study(Path(__file__).resolve().parents[2] / "studies" / "grok-1-512.yaml")

#: Seeds that once broke a law, and why.
FOUND = {
    12: "an eviction took a host out of a gang that computed, at the very moment of the look",
    34: "a look that came late asked for hosts back by a time that had passed",
    475: "training took a host for well that had died before an old word called it repaired",
    48: "an old release of a host, told again, ended a loan that began after it",
}


def broken(case) -> list[str]:
    return [v.text() for v in run_case(case, base=BASE).violations]


def test_no_case_with_a_pool_breaks_a_law_and_pools_lend_and_recall():
    cases = [draw_pool_case(seed, num_hosts=16, days=3.0) for seed in range(12)]
    reports = [run_case(case, base=BASE) for case in cases]
    assert [v.text() for report in reports for v in report.violations] == []
    assert sum(report.num_loans for report in reports) > 50
    assert sum(report.num_recalls for report in reports) > 50
    assert case_from_json(cases[0].to_json()) == cases[0]


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_once_broke_a_law_stays_mended(seed):
    assert broken(draw_pool_case(seed, num_hosts=16, days=4.0)) == []


# --- each law finds a brain that breaks it -----------------------------------------------------


class Greedy(LendingController):
    """Lends while it is needed, and at once again."""

    def _hosts_for(self, rate_per_s, *, wait_s):
        found = super()._hosts_for(rate_per_s, wait_s=wait_s)
        # the shorter horizon is that of recalls
        return found if wait_s <= self.config.lead_s else 0


class Restless(LendingController):
    def _lend(self, rate_per_s):
        self._loan_from_s = 0.0
        return super()._lend(rate_per_s)


class Idle(LendingController):
    def _recall(self, wanted, rate_per_s, *, coming):
        return []


class Forgetful(LendingController):
    def _token(self):
        return Token(self._generation, 1)


class Careless(LendingController):
    """An old word counts like a new one."""

    def _move(self, host, post, *, at_s, only_from=()):
        super()._move(host, post, at_s=self._now_s, only_from=only_from)


class Moody(LendingController):
    """Decides by more than what it was told."""

    num_made = 0

    def __init__(self, config):
        super().__init__(config)
        Moody.num_made += 1
        self._mood = Moody.num_made

    def _lend(self, rate_per_s):
        return super()._lend(rate_per_s)[self._mood % 2 :]


@pytest.mark.parametrize(
    ("brain", "law"),
    [
        (Greedy, PoolLaw.SERVICE_FIRST),
        (Restless, PoolLaw.FLAPPING_BOUNDED),
        (Idle, PoolLaw.SHORTAGE_RECALLS),
        (Forgetful, PoolLaw.POOL_TOKENS_RISE),
        (Careless, PoolLaw.NOT_TWICE),
        (Moody, PoolLaw.POOL_SAME_AGAIN),
    ],
)
def test_a_brain_with_this_defect_is_caught(monkeypatch, brain, law):
    monkeypatch.setattr("gigafactory.simulate.pool.LendingController", brain)
    found = set()
    for seed in (48, 0, 1, 3, 5):
        case = draw_pool_case(seed, num_hosts=16, days=4.0)
        found |= {v.law for v in run_case(case, base=BASE).violations}
        if law in found:
            return
    raise AssertionError(f"only {sorted(found)}")


def test_late_hosts_and_wrong_recalls_are_seen():
    config = lending.LendingConfig(rates_per_s=(0.0, 10.0, 20.0), notice_s=60.0)
    brain, now_s, computing = LendingController(config), [0.0], {7}
    laws = PoolLaws(
        brain, hosts=frozenset({7, 8}), computing=lambda: computing, now_s=lambda: now_s[0]
    )

    def tell(event, *actions):
        brain.handle(event)
        laws.heard(event, list(actions))

    def laws_broken():
        return [v.law for v in laws.broken]

    tell(lending.PoolOpened(at_s=0.0, hosts=(7, 8)))
    # it serves and computes: once may be a moment, twice is not
    assert laws_broken() == []
    now_s[0] = 1.0
    tell(DemandSeen(at_s=1.0, requests_per_s=1.0))
    assert laws_broken() == [PoolLaw.NOT_TWICE]
    wrong = Recall(token=Token(1, 1), hosts=(8,), by_s=2.0)
    tell(DemandSeen(at_s=1.0, requests_per_s=1.0), wrong)
    assert PoolLaw.RECALLS_ARE_OF_LOANS in laws_broken()
    assert PoolLaw.ONE_PLACE in laws_broken()
    nothing = Lend(token=Token(1, 2), hosts=())
    tell(DemandSeen(at_s=1.0, requests_per_s=1.0), nothing)
    assert PoolLaw.LOANS_ARE_WHOLE in laws_broken()
    computing.clear()
    laws.end(quiet_s=100.0)
    assert PoolLaw.RECALLS_END in laws_broken()
    assert brain.num_in(Post.SERVING) == 2


def test_a_host_that_computes_after_its_time_is_seen(monkeypatch):
    # a recall that reaches nobody
    monkeypatch.setattr(Loans, "give_back", lambda self, hosts, by_s: 0)
    found = set()
    for seed in (3, 5, 9, 0):
        found |= {
            v.law
            for v in run_case(draw_pool_case(seed, num_hosts=16, days=3.0), base=BASE).violations
        }
    assert {PoolLaw.BACK_IN_TIME, PoolLaw.RECALLS_END} <= found
