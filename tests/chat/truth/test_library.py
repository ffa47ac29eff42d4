from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.erasure import delete_posts, erase_author
from gigafactory.chat.truth.posts import Authority, fingerprint, read_posts
from gigafactory.describe.errors import InputError

AT_S = 1_700_000_000.0


def test_posts_are_found_changed_and_deleted(desk: Desk, post: Any) -> None:
    library = desk.library
    assert library.add([post("1", "The lake is deep."), post("2", "Snow fell.")]).num_new == 2
    assert [hit.post.id for hit in library.search("How deep is the lake?")] == ["1"]
    again = library.add([post("1", "The lake is shallow."), post("2", "Snow fell.")])
    assert (again.num_new, again.num_changed, again.num_same) == (0, 1, 1)
    assert not library.search("deep")
    assert [hit.post.id for hit in library.search("shallow")] == ["1"]
    assert delete_posts(desk.connection, ["1"], at_s=AT_S).num_posts == 1
    assert not library.search("shallow lake")
    assert library.num_posts() == 1


def test_copies_collapse_and_the_highest_authority_stands_for_them(desk: Desk, post: Any) -> None:
    texts = [
        "The bridge is closed.",
        "the bridge is CLOSED!! https://x.y/z",
        "RT @ann The bridge is closed",
    ]
    assert len({fingerprint(text) for text in texts}) == 1
    desk.library.add(
        [
            *(post(str(at), text, f"u{at}") for at, text in enumerate(texts)),
            post("9", "The bridge is closed.", "city", "official"),
        ]
    )
    [hit] = desk.library.search("Is the bridge closed?")
    assert hit.post.authority is Authority.OFFICIAL
    assert fingerprint("The bridge holds 40 cars.") != fingerprint("The bridge holds 50 cars.")


def test_a_flood_does_not_push_the_official_word_out(desk: Desk, post: Any) -> None:
    flood = [
        post(f"f{at}", f"bridge bridge bridge closed number {at}", f"u{at}") for at in range(300)
    ]
    desk.library.add([*flood, post("o", "The bridge over the river is open.", "city", "official")])
    hits = desk.library.search("Is the bridge closed?")
    assert "o" in {hit.post.id for hit in hits}
    assert len(hits) <= 40


def test_an_erased_author_leaves_no_byte(desk: Desk, database: Path, post: Any) -> None:
    secret = "Quxwozzle"
    desk.library.add(
        [post("1", f"The {secret} factory is closed.", "Zanthe"), post("2", "Snow fell.")]
    )
    told = desk.ask(f"Is the {secret} factory closed?")
    assert secret in told.answer.text
    desk.library.remember("q", told.answer.text, cites=["1"])
    assert desk.library.remembered("q") is not None
    erased = erase_author(desk.connection, "Zanthe", at_s=AT_S, opts_out=True)
    assert (erased.num_posts, erased.num_answers, erased.num_records) == (1, 1, 1)
    assert desk.library.remembered("q") is None
    left = b"".join(path.read_bytes() for path in database.parent.glob("posts.db*"))
    assert len(left) > 1000
    for text in (secret, secret.lower(), "Zanthe"):
        assert text.encode() not in left
    assert desk.audit.check().faults == ()
    assert desk.library.add([post("3", "I am back.", "zanthe")]).num_opted_out == 1
    assert desk.library.num_posts() == 1


def test_a_remembered_answer_ends_with_any_change(desk: Desk, post: Any) -> None:
    desk.library.add([post("1", "Snow fell.")])
    desk.library.remember("q", "Snow.", cites=["1"])
    assert desk.library.remembered("q") == "Snow."
    desk.library.add([post("2", "Rain fell.")])
    assert desk.library.remembered("q") is None


GOOD = {"id": "1", "author": "a", "text": "t", "at": "2026-01-02"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "not JSON"),
        ("[1]", "a post is a JSON object"),
        (json.dumps({**GOOD, "likes": 3}), "unknown likes"),
        (json.dumps({**GOOD, "id": ""}), "id must be"),
        (json.dumps({**GOOD, "text": 3}), "text must be"),
        (json.dumps({**GOOD, "at": "yesterday"}), "is no date like"),
        (json.dumps({**GOOD, "authority": "me"}), "there are official, press, known, anyone"),
        (json.dumps({**GOOD, "url": 3}), "url must be"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_kept(tmp_path: Path, line: str, named: str) -> None:
    from gigafactory import api

    path, database = tmp_path / "p.jsonl", tmp_path / "p.db"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(InputError, match=named) as caught:
        api.import_posts(database, [path])
    assert f"{path}:2" in str(caught.value)
    assert not database.exists()


def test_a_post_keeps_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**GOOD, "authority": "press", "title": "T"}) + "\n\n")
    [post] = read_posts(path)
    assert (post.id, post.authority, post.title, post.date) == ("1", "press", "T", "2026-01-02")
