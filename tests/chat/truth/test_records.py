"""Records over the wire, and ratings that reach the bridging."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gigafactory import api
from gigafactory.chat.app import make_gateway
from gigafactory.chat.keys import Scope
from gigafactory.chat.opening import Opening, add_key, open_service
from gigafactory.chat.service import Service
from gigafactory.chat.truth.database import open_database
from gigafactory.chat.truth.erasure import delete_posts
from gigafactory.chat.truth.library import Library

CHAT, RATINGS, RECORDS = "/v1/chat/completions", "/v1/ratings", "/v1/audit/records"
DEEP, SNOW = "How deep is the lake?", "When did snow fall?"
BASE_URL = "http://127.0.0.1:8080"


@pytest.fixture
def posted(database: Path, post: Any) -> Path:
    connection = open_database(database)
    Library(connection).add(
        [
            post("7", "The lake is 30 metres deep.", "Survey", "official"),
            post("8", "Snow fell on 3 May 2024.", "Weather", "press"),
        ]
    )
    connection.close()
    return database


@pytest.fixture
def client(posted: Path) -> Iterator[TestClient]:
    with TestClient(make_gateway(open_service([], Opening(posts=posted))), base_url=BASE_URL) as it:
        yield it


def asked(client: TestClient, question: str, **headers: str) -> int:
    body = {"model": "quotes", "messages": [{"role": "user", "content": question}]}
    answer = client.post(CHAT, json=body, headers=headers).json()
    return int(answer["choices"][0]["message"]["record"])


def rated(client: TestClient, **fields: Any) -> Any:
    return client.post(RATINGS, json={"rater": "ann", "value": 1, **fields})


def test_an_answer_names_its_record_and_the_record_says_what_it_rests_on(
    client: TestClient,
) -> None:
    seq = asked(client, DEEP)
    record = client.get(f"{RECORDS}/{seq}").json()
    details = record["details"]
    assert record["kind"] == "answer"
    assert [hit["id"] for hit in details["retrieved"]] == ["7"]
    assert details["quotes"][0]["words"] == "The lake is 30 metres deep."
    assert {"decision", "cost_usd", "model", "prompt"} <= set(details)
    stream = client.post(
        CHAT,
        json={"model": "quotes", "stream": True, "messages": [{"role": "user", "content": DEEP}]},
    )
    assert f'"record": {seq + 1}' in stream.text
    response = client.post("/v1/responses", json={"model": "quotes", "input": DEEP}).json()
    assert response["metadata"] == {"record": str(seq + 2)}


def test_records_come_in_pages_newest_first(client: TestClient) -> None:
    seqs = [asked(client, DEEP) for _ in range(5)]
    first = client.get(RECORDS, params={"limit": 3}).json()
    assert [record["seq"] for record in first["data"]] == seqs[:1:-1]
    assert first["has_more"]
    second = client.get(RECORDS, params={"before": first["data"][-1]["seq"]}).json()
    assert [record["seq"] for record in second["data"]] == [*seqs[1::-1], 1]
    assert not second["has_more"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "before=x", "before=-1", "before=²"])
def test_a_wrong_page_is_refused_by_name(client: TestClient, query: str) -> None:
    refused = client.get(f"{RECORDS}?{query}")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("seq", ["0", "99", "x", "9" * 30])
def test_a_record_that_is_not_there_is_a_404(client: TestClient, seq: str) -> None:
    assert client.get(f"{RECORDS}/{seq}").status_code == 404


def test_the_chain_is_verified(client: TestClient, posted: Path) -> None:
    asked(client, DEEP)
    chain = client.get("/v1/audit/chain").json()
    assert chain["holds"]
    assert chain["num_records"] == 2
    assert "cut off" in client.get("/v1/audit/chain?head=abc").json()["faults"][0]
    connection = open_database(posted)
    connection.execute("UPDATE details SET body = replace(body, '0.0', '0.5') WHERE seq = 2")
    connection.close()
    chain = client.get("/v1/audit/chain").json()
    assert not chain["holds"]
    assert "record 2: its details were changed" in chain["faults"]


def test_what_is_erased_is_in_no_record(client: TestClient, posted: Path) -> None:
    seq = asked(client, DEEP)
    assert rated(client, record=seq).status_code == 200
    connection = open_database(posted)
    delete_posts(connection, ["7"], at_s=1.0)
    [(num_ratings,)] = connection.execute("SELECT COUNT(*) FROM ratings").fetchall()
    connection.close()
    assert num_ratings == 0
    assert client.get(f"{RECORDS}/{seq}").json()["details"] is None
    assert rated(client, record=seq).status_code == 404
    assert client.get("/v1/audit/chain").json()["holds"]


def test_ratings_from_the_page_change_what_bridging_says(client: TestClient, posted: Path) -> None:
    """Two camps agree on one answer and quarrel over the other."""
    for user in range(20):
        deep, snow = asked(client, DEEP), asked(client, SNOW)
        rated(client, record=deep, rater=f"u{user}", reason="good sources")
        rated(client, record=snow, rater=f"u{user}", value=user % 2)
        moon = asked(client, "How old is the moon?")
        rated(client, record=moon, rater=f"u{user}", value=0, reason="beside the point")
    by_record = {r["seq"]: r["rating"] for r in client.get(RECORDS).json()["data"]}
    assert by_record[deep]["num_ratings"] == 20
    assert by_record[deep]["reasons"] == {"good sources": 20}
    told = {row["note"]: row["status"] for row in api.rate_answers(posted)}
    for record, status in ((deep, "helpful"), (snow, "needs more ratings"), (moon, "not helpful")):
        assert by_record[record]["status"] == status
        assert told[by_record[record]["note"]] == status
    for user in range(20):
        rated(client, record=deep, rater=f"u{user}", value=0)
    assert client.get(f"{RECORDS}/{deep}").json()["rating"]["status"] != "helpful"


def test_a_person_has_one_view_of_an_answer_and_the_last_counts(client: TestClient) -> None:
    for value in (1, 0.5, 0):
        assert rated(client, record=asked(client, DEEP), value=value).json()["num_ratings"] == 1
    [newest, *_] = client.get(RECORDS).json()["data"]
    assert newest["rating"]["mean"] == 0


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"value": 0.7}, "value"),
        ({"value": "1"}, "value"),
        ({"reason": "it is ugly"}, "reason"),
        ({"rater": None}, "rater"),
        ({"rater": ""}, "rater"),
        ({"record": 0}, "record"),
    ],
)
def test_a_wrong_rating_is_refused_by_name(
    client: TestClient, wrong: dict[str, Any], param: str
) -> None:
    refused = rated(client, **({"record": asked(client, DEEP)} | wrong))
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


def test_only_answers_are_rated_and_only_where_there_are_posts(client: TestClient) -> None:
    assert rated(client, record=1).status_code == 404  # the record of the prompts
    bare = TestClient(make_gateway(Service([])), base_url=BASE_URL)
    for path in (RECORDS, "/v1/audit/chain"):
        assert bare.get(path).json()["error"]["code"] == "no_records"


def test_the_record_wants_its_scope_and_a_key_is_one_person(posted: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "chat.db")
    _, plain = add_key(store, "reader")
    _, auditor = add_key(store, "auditor", scopes=[Scope.AUDIT])
    app = make_gateway(open_service([], Opening(posts=posted, store=store)), only_local=False)
    reads = {"Authorization": f"Bearer {auditor}"}
    says = {"Authorization": f"Bearer {plain}"}
    with TestClient(app, base_url=BASE_URL) as client:
        assert client.get("/audit").status_code == 200  # nothing is on it yet
        for path in (RECORDS, f"{RECORDS}/1", "/v1/audit/chain"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers=says).status_code == 403
            assert client.get(path, headers=reads).status_code == 200
        seq = asked(client, DEEP, **says)
        for rater in ("a", "b"):
            body = {"record": seq, "value": 1, "rater": rater}
            assert client.post(RATINGS, json=body, headers=says).json()["num_ratings"] == 1
        assert client.post(RATINGS, json=body, headers=reads).status_code == 403
        assert client.post(RATINGS, json=body).status_code == 401
