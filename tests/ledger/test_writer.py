"""Append only, one line an entry, resumable."""

from __future__ import annotations

import errno
import hashlib
import json

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.ledger.entries import Bucket, BucketFrom, Closed, Resumed, Steps
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.writer import LedgerWriter, line_of


def test_memory_and_file_hold_the_same_book(tmp_path, campaign):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as on_disk, LedgerWriter() as in_memory:
        campaign(on_disk)
        campaign(in_memory)
    assert read_ledger(path) == in_memory.entries
    assert on_disk.entries == []
    assert on_disk.ledger_hash == in_memory.ledger_hash
    assert on_disk.ledger_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_line_is_plain_json_with_the_common_keys_first(campaign):
    with LedgerWriter() as ledger:
        campaign(ledger)
    keys = [list(json.loads(line_of(entry))) for entry in ledger.entries]
    assert all(found[:4] == ["at_s", "seq", "generation", "kind"] for found in keys)
    assert [entry.seq for entry in ledger.entries] == list(range(len(keys)))


def test_every_entry_is_on_disk_before_the_next(tmp_path, opening):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.write(opening(), at_s=0.0)
        for number in range(5):
            ledger.write(Steps(step=number, step_s=1.0), at_s=float(number))
            assert len(read_ledger(path)) == number + 2


def test_time_never_runs_backwards(opening):
    with LedgerWriter() as ledger:
        ledger.write(opening(), at_s=5.0)
        ledger.write(Steps(step=1, step_s=1.0), at_s=4.0)
    assert ledger.entries[1].at_s == 5.0


def test_resume_counts_on(tmp_path, opening):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.write(opening(), at_s=0.0)
        ledger.write(Steps(step=4, step_s=1.0), at_s=9.0, generation=2)
    with LedgerWriter(path, resume=True) as ledger:
        assert (ledger.seq, ledger.at_s, ledger.generation) == (3, 9.0, 2)
        ledger.write(Closed(outcome="done"), at_s=11.0)
    contents = [entry.content for entry in read_ledger(path)]
    assert contents[2] == Resumed(torn_bytes=0)
    assert ledger.ledger_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_resume_cuts_a_torn_line_off_and_says_so(tmp_path, opening):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.write(opening(), at_s=0.0)
    with path.open("a") as file:
        file.write('{"at_s":3.0,"seq":1,"gen')
    with LedgerWriter(path, resume=True):
        pass
    assert read_ledger(path)[1].content == Resumed(torn_bytes=24)


def test_resume_of_nothing_begins_a_book(tmp_path, opening):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path, resume=True) as ledger:
        ledger.write(opening(), at_s=0.0)
    assert len(read_ledger(path)) == 1


def test_resume_of_a_book_whose_first_line_is_torn_begins_anew(tmp_path, opening):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"at_s":0.0,')
    with LedgerWriter(path, resume=True) as ledger:
        ledger.write(opening(), at_s=0.0)
    assert len(read_ledger(path)) == 1


def test_resume_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text("dear diary\n")
    with pytest.raises(InputError, match=r"ledger.jsonl:1: not a JSON object"):
        LedgerWriter(path, resume=True)
    assert path.read_text() == "dear diary\n"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/ledger.jsonl: the ledger cannot be written"):
        LedgerWriter(tmp_path / "nowhere" / "ledger.jsonl")


def test_a_loss_that_is_no_number_is_null(tmp_path, opening):
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.write(opening(), at_s=0.0)
        ledger.write(Steps(step=1, step_s=1.0, loss=float("nan")), at_s=1.0)
        ledger.write(BucketFrom(bucket=Bucket.HOLD), at_s=2.0)
    assert read_ledger(path)[1].content == Steps(step=1, step_s=1.0, loss=None)


class Cramped:
    """A file on a disk that fills up in the middle of a line, and has room again later."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written = b""

    def write(self, block: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(block[: self.room])
        self.room -= len(part)
        self.written += part
        return len(part)

    def close(self) -> None:
        """As files do."""


def cramp(ledger: LedgerWriter, room: int) -> Cramped:
    """From now on it writes to a disk with so much room."""
    ledger.close()
    ledger._file = file = Cramped(room)
    return file


def test_a_full_disk_takes_the_rest_of_a_line_when_it_has_room(tmp_path, campaign):
    waited = []

    def wait() -> None:
        waited.append(file.room)
        file.room = 700

    with LedgerWriter(tmp_path / "ledger.jsonl", on_full=wait) as ledger:
        file = cramp(ledger, 100)
        campaign(ledger)
    assert len(waited) > 2
    with LedgerWriter(keep=True) as whole:
        campaign(whole)
    assert file.written.decode() == "".join(line_of(e) + "\n" for e in whole.entries)


def test_a_full_disk_is_an_error_where_nobody_waits(tmp_path, campaign):
    ledger = LedgerWriter(tmp_path / "ledger.jsonl")
    cramp(ledger, 100)
    with pytest.raises(OSError, match="space"):
        campaign(ledger)
