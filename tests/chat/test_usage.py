"""The journal: what a killed gateway leaves, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.chat.engine import Usage
from gigafactory.chat.errors import ApiError
from gigafactory.chat.gate import Gate
from gigafactory.chat.journal import Journal, left_behind
from gigafactory.chat.meter import Meter, Tally
from gigafactory.chat.store.sqlite import SqliteStore
from gigafactory.chat.usage import Entry, Outcome, closed, fold, opened, said


def entry(ident: str, outcome: Outcome = Outcome.KILLED, tokens: int = 0) -> Entry:
    return Entry(id=ident, key_id="key-1", model="m", route="chat", at_s=5.0, prompt_tokens=7,
                 completion_tokens=tokens, outcome=outcome)  # fmt: skip


def test_an_ended_request_has_its_exact_count() -> None:
    lines = [opened(entry("a")), said("a", 2), said("a", 1), closed("a", Usage(8, 4), Outcome.DONE)]
    [found] = fold(lines)
    assert (found.prompt_tokens, found.completion_tokens, found.outcome) == (8, 4, Outcome.DONE)


def test_a_request_without_end_has_what_was_said() -> None:
    assert fold([opened(entry("a")), said("a", 2), said("a", 3)]) == [entry("a", tokens=5)]


@given(st.lists(st.integers(1, 9), max_size=12), st.data())
def test_cut_anywhere_every_whole_line_counts(bunches: list[int], data: st.DataObject) -> None:
    lines = [opened(entry("a")), *(said("a", n) for n in bunches)]
    text = b"".join(lines)
    cut = data.draw(st.integers(len(lines[0]), len(text)))
    whole = text[:cut].count(b"\n") - 1
    [found] = fold(text[:cut].splitlines(keepends=True))
    assert found.completion_tokens == sum(bunches[:whole])


def test_files_of_the_living_are_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.file().write(opened(entry("a")))
    assert list(left_behind(tmp_path)) == []


def test_what_was_left_behind_is_stored_once(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").write_bytes(opened(entry("a")) + said("a", 5) + b'{"k":"sa')
    (tmp_path / "copy.jsonl").write_bytes(opened(entry("a")) + said("a", 5))
    with SqliteStore(tmp_path / "a.db") as store:
        meter = Meter(store, tmp_path)
        assert meter.recover() == 2
        assert list(store.entries()) == [entry("a", tokens=5)]
    assert {path.suffix for path in tmp_path.glob("*old*")} == set()


def test_a_full_disk_serves_nobody(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:

        class Full:
            def write(self, line: bytes) -> None:
                full.write(line)

        tally = Tally(Meter(None, None), Full(), entry("a"))  # type: ignore[arg-type]
        with pytest.raises(ApiError, match="cannot be recorded"):
            tally.said(1)


def test_without_a_store_nothing_is_kept() -> None:
    meter = Meter(None, None)
    assert meter.recover() == 0
    meter.load(Gate(None))
    tally = meter.open(entry("a"))
    tally.said(3)
    tally.close(Usage(1, 3), Outcome.DONE)
