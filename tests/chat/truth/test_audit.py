"""Whoever touches the record leaves a trace; whoever may erase does so without breaking it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gigafactory import api
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.erasure import delete_posts
from gigafactory.describe.errors import JobError

AT_S = 1_700_000_000.0


@pytest.fixture
def asked(desk: Desk, post: Any) -> Desk:
    desk.library.add([post("1", "The lake is deep.", "city", "official"), post("2", "Snow fell.")])
    for question in ("Is the lake deep?", "Did snow fall?", "Is the moon made of cheese?"):
        desk.ask(question)
    return desk


def test_every_answer_is_recorded_with_what_it_rests_on(asked: Desk) -> None:
    prompts, first, *_ = asked.audit.records()
    assert prompts.details is not None
    assert "rephrase.v1" in prompts.details["prompts"]
    assert first.details is not None
    assert [hit["id"] for hit in first.details["retrieved"]] == ["1"]
    assert first.details["decision"] == "supported"
    assert first.details["quotes"][0]["id"] == "1"
    assert first.details["cost_usd"] == 0.0
    assert "lake" not in str(first.details)  # hashes and ids, no words of anybody


def test_a_whole_chain_holds(asked: Desk) -> None:
    checked = asked.audit.check()
    assert checked.faults == ()
    assert checked.num_records == 4
    assert asked.audit.check(head=checked.head).faults == ()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            "UPDATE details SET body = replace(body, 'supported', 'contradicted')",
            "details were changed",
        ),
        ("DELETE FROM details WHERE seq = 2", "details are gone, no erasure says so"),
        ("UPDATE chain SET at_s = at_s + 1 WHERE seq = 2", "record 2: it was changed"),
        ("DELETE FROM chain WHERE seq = 2", "record 3: the one before it is missing"),
    ],
)
def test_every_touch_is_seen(asked: Desk, database: Path, damage: str, told: str) -> None:
    with sqlite3.connect(database) as connection:
        for trigger in ("chain_no_update", "chain_no_delete"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(damage)
    connection.close()
    assert any(told in fault for fault in asked.audit.check().faults)
    with pytest.raises(JobError, match=told):
        api.verify_audit(database)


def test_the_chain_itself_refuses_changes(asked: Desk) -> None:
    for sql in ("UPDATE chain SET at_s = 0", "DELETE FROM chain"):
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            asked.connection.execute(sql)


def test_an_end_that_is_cut_off_is_seen_with_the_noted_head(asked: Desk, database: Path) -> None:
    head = asked.audit.check().head
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TRIGGER chain_no_delete")
        connection.execute("DELETE FROM chain WHERE seq = 4")
        connection.execute("DELETE FROM details WHERE seq = 4")
    connection.close()
    assert asked.audit.check().faults == ()
    assert "cut off" in asked.audit.check(head=head).faults[0]


def test_erasing_takes_the_details_and_the_chain_still_holds(asked: Desk) -> None:
    erased = delete_posts(asked.connection, ["1"], at_s=AT_S)
    assert erased.num_records >= 1
    checked = asked.audit.check()
    assert checked.faults == ()
    assert checked.num_erased == erased.num_records
    gone = [record for record in asked.audit.records() if record.details is None]
    assert len(gone) == erased.num_records


def test_the_page_shows_records_and_no_erased_word(
    asked: Desk, database: Path, tmp_path: Path
) -> None:
    page = tmp_path / "out" / "audit.html"
    api.audit_page(database, page)
    html = page.read_text()
    assert "The chain holds." in html
    assert "The lake is deep." in html
    assert "<script" not in html
    delete_posts(asked.connection, ["1"], at_s=AT_S)
    api.audit_page(database, page)
    assert "The lake is deep." not in page.read_text()
