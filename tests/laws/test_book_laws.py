"""Laws of the book over whole simulated campaigns, however the job recovers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gigafactory import api
from gigafactory.control.actions import DropReplicas, StartGang
from gigafactory.ledger.entries import ActionTaken, Entry
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.replay import replay
from gigafactory.ledger.summary import Summary
from gigafactory.ledger.writer import LedgerWriter, line_of
from gigafactory.plan.search import plan
from gigafactory.simulate.campaign import simulate

STUDY = Path(__file__).resolve().parents[2] / "studies" / "grok-1-512.yaml"
#: Recovery, and how often everything fails compared with the study.
WAYS = {
    "restart": ("policy.recovery=restart", "policy.shrink=false"),
    "hot": ("policy.recovery=hot", "policy.shrink=true"),
    "replicas": ("policy.recovery=replicas", "policy.shrink=true"),
}


@dataclass(frozen=True)
class Book:
    """One campaign, as the writer held it and as it lies in the file."""

    way: str
    held: list[Entry]
    summary: Summary
    path: Path


@pytest.fixture(scope="module", params=WAYS)
def book(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("books") / "twin.jsonl"
    study = api.load(STUDY, overrides=("campaign.duration=60 d", *WAYS[request.param]))
    with LedgerWriter(path, keep=True, line_by_line=False) as ledger:
        simulate(study, plan=plan(study), seed=3, ledger=ledger)
    return Book(request.param, ledger.entries, ledger.summary(), path)


def test_what_is_read_is_what_was_written(book):
    """Hosts by seat too, though only the first gang names them all."""
    found = read_ledger(book.path)
    assert found == book.held
    assert [line_of(entry) for entry in found] == book.path.read_text().splitlines()


def test_the_tally_on_the_way_is_the_fold_of_the_book(book):
    assert fold(read_ledger(book.path)) == book.summary


def test_the_recorded_campaign_replays(book):
    result = replay(read_ledger(book.path))
    assert result.same, result.text()


def test_every_gpu_second_has_a_name(book):
    gpu_s, allocation_gpu_s = book.summary.buckets_gpu_s, book.summary.allocation_gpu_s
    assert sum(gpu_s.values()) == pytest.approx(allocation_gpu_s, rel=1e-12)
    assert gpu_s["other"] < 0.01 * allocation_gpu_s


def test_working_time_is_that_of_the_kept_steps(book):
    """What missing and slow GPUs took of it included; the step under way at the end is on top."""
    summary, gpu_s, kept_s, last = book.summary, book.summary.buckets_gpu_s, 0.0, 0
    for step, step_s in summary.step_times:
        kept_s += (step - last) * step_s
        last = step
    working_gpu_s = gpu_s["productive"] + gpu_s["degraded"] + gpu_s["straggler"]
    over_s = working_gpu_s / summary.num_gpus - kept_s
    assert -1e-3 <= over_s <= summary.step_times[-1][1]


def test_replicas_that_leave_do_not_interrupt_the_others(book):
    asked = [e.content.action for e in book.held if isinstance(e.content, ActionTaken)]
    starts = sum(isinstance(action, StartGang) for action in asked)
    drops = sum(isinstance(action, DropReplicas) for action in asked)
    assert (drops > 0) == (book.way == "replicas")
    assert book.summary.num_interruptions <= starts - 1
    if drops:
        assert book.summary.num_degraded_spells >= drops / 2
