"""Training and serving on one fleet: loans become spares, recalls drains, and all is accounted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.describe.errors import InputError
from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.describe.pool import Pool
from gigafactory.describe.study import Campaign, Study
from gigafactory.ledger import entries as book
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.replay import replay
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.simulate.campaign import CampaignResult, follow
from gigafactory.simulate.gang import Cadence
from gigafactory.simulate.workload import Workload
from gigafactory.units import DAY_S, HOUR_S

NUM_SEATS, NUM_SPARES, NUM_POOL, GPUS = 64, 1, 20, 8
POOL_HOSTS = frozenset(range(NUM_SEATS + NUM_SPARES, NUM_SEATS + NUM_SPARES + NUM_POOL))
WORKLOAD = Workload(
    cadence=Cadence(step_s=10.0, checkpoint_steps=30, blocking_s=1.0, write_s=20.0),
    num_steps=10**8,
    num_gpus=NUM_SEATS * GPUS,
    host_gpus=GPUS,
    start_s=100.0,
    restore_s=10.0,
    flops_per_step=1e18,
    tokens_per_step=2**20,
    checkpoint_bytes=1e12,
    peak_flops_per_s=989e12,
)


def pool(**lending: Any) -> Pool:
    # 3 requests a second a host: nearly all by day, a third of them by night
    return Pool.model_validate(
        {
            "num_hosts": NUM_POOL,
            "demand": {"peak_requests_per_s": 45.0, "trough_share": 0.2, "source": "test"},
            "request": {"input_tokens": 2000, "output_tokens": 400},
            "slo": {"ttft_s": 2.0},
            "capacity": {"requests_per_s": 3.0, "concurrency": 45.0, "source": "test"},
            "lending": {"min_hosts": 2} | lending,
            "source": "test",
        }
    )


def study_of(*, days: float = 6.0, mtbf_s: float = 4 * HOUR_S, **lending: Any) -> Study:
    """A fleet of one own spare, of which a host fails every ``mtbf_s`` and is away for a day."""
    base = load_study("studies/grok-1-512.yaml")
    hosts = {
        "num_hosts": NUM_SEATS + NUM_SPARES + NUM_POOL,
        "num_spare_hosts": NUM_SPARES + NUM_POOL,
    }
    cause = Cause(
        name="host", fault=FaultClass.HOST, rate_per_s=1 / (NUM_SEATS * mtbf_s), detect_s=10.0,
        source="test",
    )  # fmt: skip
    repair = Repair(median_s=DAY_S, mean_s=DAY_S, source="test")
    return base.model_copy(
        update={
            "cluster": base.cluster.model_copy(update=hosts),
            "faults": Faults(name="test", causes=(cause,), repair=repair, source="test"),
            "campaign": Campaign(duration_s=days * DAY_S),
            "pool": pool(**lending),
        }
    )


@dataclass
class Shared:
    found: CampaignResult
    entries: list[book.Entry]

    def events(self, kind: type[ev.Event]) -> list[Any]:
        seen = (e.content.event for e in self.entries if isinstance(e.content, book.EventSeen))
        return [event for event in seen if isinstance(event, kind)]

    def actions(self, kind: type[act.Action]) -> list[tuple[float, Any]]:
        asked = (
            (e.at_s, e.content.action)
            for e in self.entries
            if isinstance(e.content, book.ActionTaken)
        )
        return [(at_s, action) for at_s, action in asked if isinstance(action, kind)]


def campaign(study: Study, *, path: Path | None = None, seed: int = 0) -> Shared:
    with LedgerWriter(path, keep=True) as ledger:
        found = follow(study, workload=WORKLOAD, seed=seed, ledger=ledger)
    return Shared(found, ledger.entries)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Shared:
    request.getfixturevalue("monkeypatch_root")
    return campaign(study_of())


@pytest.fixture(scope="module")
def monkeypatch_root() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).resolve().parents[2])
        yield


def test_lent_hosts_take_the_seats_that_training_cannot_fill(shared: Shared) -> None:
    starts = [action for _, action in shared.actions(act.StartGang)]
    assert any(not POOL_HOSTS.isdisjoint(start.hosts) for start in starts)
    alone = campaign(study_of(is_on=False))
    assert alone.found.pool is not None
    assert alone.found.pool.num_loans == 0
    assert shared.found.goodput > alone.found.goodput + 0.01


def test_a_recalled_host_is_back_by_its_time(shared: Shared) -> None:
    """Training hears of a recall as of a maintenance, and lets go before the pool takes."""
    announced = shared.events(ev.MaintenanceAnnounced)
    assert announced
    assert POOL_HOSTS.issuperset(event.host for event in announced)
    out = [(at_s, h) for at_s, evicted in shared.actions(act.EvictHosts) for h in evicted.hosts]
    for event in announced:
        assert any(h == event.host and event.at_s <= at_s <= event.by_s for at_s, h in out)
    assert shared.found.pool is not None
    assert shared.found.pool.num_recalls_that_hurt > 0
    assert shared.found.pool.slo_kept_share > 0.999


def test_only_hosts_on_loan_ever_train(shared: Shared) -> None:
    here: set[int] = set()
    for entry in shared.entries:
        match entry.content:
            case book.EventSeen(event=ev.HostRepaired(host=host)) if host in POOL_HOSTS:
                here.add(host)
            case book.ActionTaken(action=act.EvictHosts(hosts=hosts)):
                here.difference_update(hosts)
            case book.ActionTaken(action=act.StartGang(hosts=hosts)):
                assert here.issuperset(POOL_HOSTS.intersection(hosts))


def test_the_book_knows_the_loans(shared: Shared) -> None:
    found, opened = shared.found, shared.entries[0].content
    assert isinstance(opened, book.Opened)
    assert opened.num_spare_gpus == NUM_SPARES * GPUS
    assert found.pool is not None
    lent_gpu_s = found.pool.lent_host_s * GPUS
    own_gpu_s = (NUM_SEATS + NUM_SPARES) * GPUS * found.wall_s
    assert found.allocation_gpu_s == pytest.approx(own_gpu_s + lent_gpu_s)
    assert sum(found.buckets_gpu_s.values()) == pytest.approx(found.allocation_gpu_s)
    lent = [e.content for e in shared.entries if isinstance(e.content, book.PoolFrom)]
    assert max(entry.num_lent for entry in lent) >= 8
    assert all(a.num_lent != b.num_lent for a, b in pairwise(lent))


def test_the_pool_repairs_its_own(shared: Shared) -> None:
    """A lent host that dies leaves training, and comes back to it only with another loan."""
    died = {h for event in shared.events(ev.HostsDied) for h in event.hosts}
    series = fold(shared.entries, series=True).series
    assert series is not None
    assert max(level for _, level in series.hosts_away) <= len(died)
    assert all(level >= 0 for _, level in series.hosts_standing_by)
    own = [h for _, evicted in shared.actions(act.EvictHosts) for h in evicted.hosts]
    own = [host for host in own if host not in POOL_HOSTS]
    assert shared.found.num_evicted_hosts == len(own)


def test_the_brain_does_the_same_again_and_the_book_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "twin.jsonl"
    one = campaign(study_of(days=2.5), path=path)
    again = read_ledger(path)
    assert [entry.content for entry in again] == [entry.content for entry in one.entries]
    assert replay(again).same
    other = campaign(study_of(days=2.5))
    assert other.found.ledger_hash == one.found.ledger_hash
    assert other.found.pool == one.found.pool


def test_training_that_holds_on_loses_the_host_all_the_same() -> None:
    """Notice so short that no drain ends in time: the pool takes the host."""
    hurried = campaign(study_of(days=3.0, notice_s=1.0)).found
    assert hurried.pool is not None
    assert hurried.pool.num_recalls_that_hurt > 0
    assert hurried.pool.slo_kept_share > 0.999


def test_a_mesh_that_needs_the_pool_is_refused() -> None:
    study = study_of()
    large = study.model_copy(
        update={"cluster": study.cluster.model_copy(update={"num_hosts": NUM_SEATS + NUM_POOL - 1})}
    )
    with pytest.raises(InputError, match=r"needs 64 hosts, cluster\.num_hosts less pool\.num_host"):
        campaign(large)
