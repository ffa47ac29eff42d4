"""What is wrong with a book is said with path, line and what would be right."""

from __future__ import annotations

import json

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.writer import LedgerWriter


@pytest.fixture
def lines(tmp_path, campaign):
    path = tmp_path / "whole.jsonl"
    with LedgerWriter(path) as ledger:
        campaign(ledger)
    return path.read_text().splitlines()


@pytest.fixture
def complaint(tmp_path):
    def read(lines, *, end="\n"):
        path = tmp_path / "book.jsonl"
        path.write_text("\n".join(lines) + end)
        with pytest.raises(InputError) as caught:
            read_ledger(path)
        assert str(caught.value).startswith(str(path))
        return str(caught.value).removeprefix(str(path))

    return read


def changed(line, **keys):
    source = json.loads(line) | keys
    return json.dumps({key: value for key, value in source.items() if value != "GONE"})


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no.jsonl: no such ledger; `giga run` writes"):
        read_ledger(tmp_path / "no.jsonl")


def test_a_folder_is_no_ledger(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_ledger(tmp_path)


def test_empty_file(complaint):
    assert "empty" in complaint([], end="")


def test_not_text(tmp_path):
    path = tmp_path / "book.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_ledger(path)


def test_a_torn_last_line_is_named_and_may_be_tolerated(tmp_path, lines, complaint):
    torn = [*lines[:5], lines[5][:20]]
    assert complaint(torn, end="").startswith(":6: the last line is cut short")
    assert len(read_ledger(tmp_path / "book.jsonl", tolerate_torn=True)) == 5


def test_a_line_truncated_in_the_middle(lines, complaint):
    assert complaint([*lines[:3], lines[3][:20], *lines[4:]]).startswith(":4: not a JSON object")


def test_a_missing_line(lines, complaint):
    assert complaint([*lines[:3], *lines[4:]]).startswith(":4: seq is 4, the line before makes")


def test_a_line_that_is_there_twice(lines, complaint):
    assert complaint([*lines[:4], *lines[3:]]).startswith(":5: seq is 3")


def test_another_schema(lines, complaint):
    lines[0] = changed(lines[0], schema="gigafactory-ledger/9")
    assert "schema 'gigafactory-ledger/9' is not 'gigafactory-ledger/2'" in complaint(lines)


def test_another_first_entry(lines, complaint):
    assert "must be 'opened'" in complaint(lines[2:])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "dream"}, "kind 'dream' is not one of opened, resumed"),
        ({"kind": "GONE"}, "kind must be text"),
        ({"at_s": "noon"}, "at_s must be a number"),
        ({"at_s": -1.0}, "lies before the line above"),
        ({"colour": 1}, "unknown key 'colour'; known are bucket"),
        ({"bucket": "GONE"}, "key 'bucket' is missing"),
        ({"bucket": "lunch"}, "bucket: 'lunch' is not a valid Bucket"),
    ],
)
def test_what_is_wrong_in_a_line(lines, complaint, keys, words):
    number = next(i for i, line in enumerate(lines) if '"bucket"' in line)
    lines[number] = changed(lines[number], **keys)
    found = complaint(lines)
    assert found.startswith(f":{number + 1}: ")
    assert words in found


def test_wrong_type_names_the_key(lines, complaint):
    number = next(i for i, line in enumerate(lines) if '"steps"' in line)
    lines[number] = changed(lines[number], step="ten")
    assert "step: 'ten' is not int" in complaint(lines)


def test_nan_is_refused(lines, complaint):
    number = next(i for i, line in enumerate(lines) if '"steps"' in line)
    lines[number] = changed(lines[number], loss=float("nan"))
    assert "NaN is not JSON" in complaint(lines)
