"""Other ways to search than SQLite's own: the same posts are found, and nothing erased stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gigafactory import api
from gigafactory.chat import minilm
from gigafactory.chat.truth.database import open_database
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.erasure import delete_posts, erase_author
from gigafactory.chat.truth.library import Library
from gigafactory.describe.errors import InputError

pytest.importorskip("tantivy", reason="needs the extra retrieval")

AT_S = 1_700_000_000.0
WORDS = ["lake", "bridge", "snow", "council", "river", "deep", "closed", "opened"]


def found(desk: Desk, text: str) -> list[str]:
    return [hit.post.id for hit in desk.library.search(text)]


@pytest.fixture
def tantivy(database: Path) -> Iterator[Desk]:
    open_database(database).close()
    api.choose_retrieval(database, words="tantivy")
    desk = Desk(database)
    yield desk
    desk.close()


def test_both_indexes_find_the_same_posts(tantivy: Desk, tmp_path: Path, post: Any) -> None:
    texts = [f"The {a} is {b} {n}." for n, (a, b) in enumerate(zip(WORDS, WORDS[3:], strict=False))]
    authorities = ["official", "press", "known", "anyone", "anyone"]
    posts = [
        post(str(n), text, f"u{n}", authority)
        for n, (text, authority) in enumerate(zip(texts, authorities, strict=True))
    ]
    copies = [post(f"c{n}", "RT @ann The LAKE is council 0!", f"c{n}", "anyone") for n in range(80)]
    plain = Desk(tmp_path / "plain.db")
    for desk in (tantivy, plain):
        desk.library.add([*posts, *copies])
    for question in (
        "Is the lake closed?",
        "bridges and councils",
        "snow",
        "moon",
        "is the",
        "AND",
    ):
        assert sorted(found(tantivy, question)) == sorted(found(plain, question)), question
    [lake, *_] = tantivy.library.search("lake")
    assert lake.post.id == "0"
    plain.close()


def test_the_number_of_copies_is_told_and_the_oldest_stands_for_them(
    tantivy: Desk, post: Any
) -> None:
    tantivy.library.add([post(f"c{n}", f"The lake is deep{'!' * n}", f"u{n}") for n in range(200)])
    [hit] = tantivy.library.search("lake")
    assert (hit.post.id, hit.num_copies) == ("c0", 200)


def test_changes_and_deletions_reach_the_index(tantivy: Desk, post: Any) -> None:
    library = tantivy.library
    library.add([post("1", "The lake is deep."), post("2", "Snow fell.")])
    assert found(tantivy, "deep") == ["1"]
    library.add([post("1", "The lake is shallow.")])
    assert found(tantivy, "deep") == []
    assert found(tantivy, "shallow") == ["1"]
    delete_posts(tantivy.connection, ["1"], at_s=AT_S)
    assert found(tantivy, "shallow lake") == []
    assert found(tantivy, "snow") == ["2"]


def test_another_process_that_changes_the_posts_is_seen(
    tantivy: Desk, database: Path, post: Any
) -> None:
    tantivy.library.add([post("1", "The lake is deep.")])
    assert found(tantivy, "lake") == ["1"]
    other = open_database(database)
    Library(other).add([post("2", "The lake is cold.")])
    assert sorted(found(tantivy, "lake")) == ["1", "2"]
    erase_author(other, "ann", at_s=AT_S)
    assert found(tantivy, "lake") == []
    other.close()


def test_a_change_that_is_rolled_back_leaves_the_index_as_it_was(
    tantivy: Desk, post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tantivy.library
    library.add([post("1", "The lake is deep.")])

    def broken() -> None:
        type(library._index).commit(library._index)
        raise sqlite3.OperationalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(library._index, "commit", broken)
        with pytest.raises(sqlite3.OperationalError):
            library.add([post("2", "The lake is cold.")])
    assert found(tantivy, "lake cold") == ["1"]
    library.add([post("3", "The lake is wide.")])
    assert sorted(found(tantivy, "lake cold")) == ["1", "3"]


def test_an_index_that_is_lost_or_old_is_made_anew(
    tantivy: Desk, database: Path, post: Any
) -> None:
    tantivy.library.add([post("1", "The lake is deep.")])
    folder = Path(f"{database}.tantivy")
    for path in folder.iterdir():
        path.unlink()
    assert found(tantivy, "lake") == ["1"]
    (folder / "change").write_text("another")
    assert found(tantivy, "lake") == ["1"]


def test_an_erased_author_leaves_no_byte_in_index_or_vectors(
    tantivy: Desk, database: Path, post: Any
) -> None:
    secret = "Quxwozzle"
    tantivy.library.add([post("1", f"The {secret} factory.", "Zanthe"), post("2", "Snow fell.")])
    assert found(tantivy, secret) == ["1"]
    erase_author(tantivy.connection, "Zanthe", at_s=AT_S)
    files = [path for path in database.parent.rglob("*") if path.is_file()]
    assert any(path.parent.name == "posts.db.tantivy" for path in files)
    left = b"".join(path.read_bytes() for path in files)
    for text in (secret, secret.lower(), "quxwozzl", "Zanthe"):
        assert text.encode() not in left
    assert found(tantivy, "snow") == ["2"]


def test_going_back_removes_the_folder(tantivy: Desk, database: Path, post: Any) -> None:
    tantivy.library.add([post("1", "The lake is deep.")])
    told = api.choose_retrieval(database, words="fts5")
    assert (told["words"], told["order"], told["num_posts"]) == ("fts5", "words", 1)
    assert not Path(f"{database}.tantivy").exists()
    again = Desk(database)
    assert found(again, "lake") == ["1"]
    again.close()


def test_a_missing_package_is_named_and_nothing_is_changed(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(database).close()
    monkeypatch.setitem(__import__("sys").modules, "tantivy", None)
    with pytest.raises(InputError, match="retrieval"):
        api.choose_retrieval(database, words="tantivy")
    monkeypatch.setattr(minilm, "why_missing", lambda: "MiniLM is not installed: pip ...")
    with pytest.raises(InputError, match="pip"):
        api.choose_retrieval(database, order="meaning")
    assert api.choose_retrieval(database)["order"] == "words"


needs_minilm = pytest.mark.skipif(bool(minilm.why_missing()), reason="needs MiniLM")


@pytest.fixture
def meaning(database: Path) -> Iterator[Desk]:
    open_database(database).close()
    api.choose_retrieval(database, order="meaning")
    desk = Desk(database)
    yield desk
    desk.close()


def num_vectors(desk: Desk) -> int:
    return int(desk.connection.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])


@needs_minilm
def test_what_means_the_same_comes_first_and_the_words_decide_what_is_read(
    meaning: Desk, post: Any
) -> None:
    flood = [post(f"f{n}", f"lake lake party number {n}", f"u{n}") for n in range(20)]
    deep = post("d", "Thirty metres of water, measured in the lake by divers.", "diver")
    meaning.library.add([*flood, deep, post("o", "The lake is public.", "city", "official")])
    hits = meaning.library.search("How deep is the lake?")
    assert next(hit.post.id for hit in hits if hit.post.authority == "anyone") == "d"
    assert "o" in {hit.post.id for hit in hits}
    assert len(hits) == 16
    assert all(-1 <= hit.score <= 1 for hit in hits)
    assert num_vectors(meaning) == 22


@needs_minilm
def test_vectors_go_with_their_posts(meaning: Desk, database: Path, post: Any) -> None:
    meaning.library.add([post("1", "The lake is deep."), post("2", "The lake is cold.", "bob")])
    meaning.library.search("lake")
    assert num_vectors(meaning) == 2
    meaning.library.add([post("1", "The lake is shallow.")])
    assert num_vectors(meaning) == 1
    before = {hit.post.id: hit.score for hit in meaning.library.search("a shallow lake")}
    assert before["1"] > before["2"]
    erase_author(meaning.connection, "bob", at_s=AT_S)
    assert num_vectors(meaning) == 1
    api.choose_retrieval(database, order="words")
    assert num_vectors(meaning) == 0
