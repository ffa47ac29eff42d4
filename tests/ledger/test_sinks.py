"""Lines or sums: a sink is told the same and comes to the same."""

from __future__ import annotations

import pytest

from gigafactory.control import events as ev
from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import Steps
from gigafactory.ledger.fold import Tally, fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.writer import LedgerWriter


def test_a_tally_comes_to_what_the_book_folds_to(campaign, tmp_path):
    tally, path = Tally(), tmp_path / "book.jsonl"
    campaign(tally)
    with LedgerWriter(path, line_by_line=False) as book:
        campaign(book)
        assert book.summary() == tally.summary()
    assert fold(read_ledger(path)) == tally.summary()


def test_a_tally_asks_for_no_hash(opening):
    def hashed():
        raise AssertionError("nobody writes it down")

    tally = Tally()
    tally.write(opening(), at_s=0.0)
    tally.decide(ev.Ticked(at_s=3.0), (), state_hash=hashed, generation=1)
    assert tally.summary().wall_s == 3.0


def test_to_ask_for_the_sums_changes_nothing(campaign):
    class Curious(Tally):
        def write(self, content, *, at_s, generation=None):
            super().write(content, at_s=at_s, generation=generation)
            self.summary()

    curious, plain = Curious(), Tally()
    campaign(curious)
    campaign(plain)
    asked, silent = curious.summary(), plain.summary()
    assert asked.buckets_gpu_s == pytest.approx(silent.buckets_gpu_s)
    assert asked.num_interruptions == silent.num_interruptions


def test_batches_of_lines_are_the_same_book(campaign, tmp_path):
    one, many = tmp_path / "one.jsonl", tmp_path / "many.jsonl"
    with LedgerWriter(one) as by_line, LedgerWriter(many, line_by_line=False) as in_batches:
        campaign(by_line)
        campaign(in_batches)
        assert many.read_bytes() == b""
        assert by_line.ledger_hash == in_batches.ledger_hash
    assert one.read_bytes() == many.read_bytes()


@pytest.mark.parametrize("sink", [Tally, LedgerWriter])
def test_a_sink_wants_the_opening_first(sink):
    with pytest.raises(InputError, match="must be 'opened', not 'steps'"):
        sink().write(Steps(step=1, step_s=1.0), at_s=0.0)
    with pytest.raises(InputError, match="no entry"):
        sink().summary()


def test_a_resumed_book_goes_on_summing(campaign, tmp_path):
    path = tmp_path / "book.jsonl"
    with LedgerWriter(path) as book:
        campaign(book)
        before = book.summary()
    with LedgerWriter(path, resume=True) as book:
        assert book.summary().buckets_gpu_s == before.buckets_gpu_s
        assert book.summary().outcome is None
