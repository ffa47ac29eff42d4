"""The desk behind the real gateway: sources reach the client, what a model adds does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gigafactory import api
from gigafactory.chat.app import make_gateway
from gigafactory.chat.engine import Finish, Message, Origin, Piece, Sampling
from gigafactory.chat.engines import as_answerers
from gigafactory.chat.opening import Opening, open_service
from gigafactory.chat.truth.database import open_database
from gigafactory.chat.truth.library import Library

CHAT = "/v1/chat/completions"


class Scribe:
    """A model that says what it is told to, whatever it hears."""

    name = "scribe"
    origin = Origin.PRETRAINED
    about = "It says what the test wants."
    context_tokens = 10_000
    weights_sha256 = "5" * 64

    def __init__(self) -> None:
        self.says = ""
        self.heard: Sequence[Message] = ()

    def num_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Piece]:
        self.heard = messages
        for word in self.says.split(" "):
            yield Piece(word + " ")
        yield Piece("", 0, Finish.STOP)


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


@pytest.fixture
def client(database: Path, post: Any, scribe: Scribe) -> Iterator[TestClient]:
    connection = open_database(database)
    Library(connection).add([post("7", "The lake is 30 metres deep.", "Survey", "official")])
    connection.close()
    service = open_service(as_answerers([scribe]), Opening(posts=database))
    app = make_gateway(service)
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        yield client


def asked(client: TestClient, model: str, text: str, **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return client.post(CHAT, json=body)


def test_the_models_have_twins_with_sources(client: TestClient) -> None:
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert listed == ["scribe", "scribe+sources", "quotes"]


def test_quotes_come_with_their_source(client: TestClient) -> None:
    message = asked(client, "quotes", "How deep is the lake?").json()["choices"][0]["message"]
    [source] = message["sources"]
    assert source["id"] == "7"
    assert source["quote"] == "The lake is 30 metres deep."
    assert source["title"] == "Survey, official, 2023-11-14"
    assert source["quote"] in message["content"][source["first"] : source["last"]]


def test_nothing_found_is_said(client: TestClient) -> None:
    message = asked(client, "quotes", "How old is the moon?").json()["choices"][0]["message"]
    assert message["content"] == "Not supported by what I can see."
    assert "sources" not in message


def test_a_model_may_rephrase_and_no_more(client: TestClient, scribe: Scribe) -> None:
    scribe.says = "The lake is 30 metres deep. It is full of gold."
    answer = asked(client, "scribe+sources", "How deep is the lake?").json()
    message = answer["choices"][0]["message"]
    assert message["content"].startswith("The lake is 30 metres deep. [7;")
    assert "gold" not in message["content"]
    assert [source["id"] for source in message["sources"]] == ["7"]
    assert "1] The lake is 30 metres deep." in scribe.heard[-1].content
    assert answer["usage"]["completion_tokens"] > 5
    record = client.get(f"/v1/audit/records/{message['record']}").json()
    assert record["details"]["model"] == {"name": "scribe", "sha256": "5" * 64}


def test_a_stream_brings_sources_too(client: TestClient) -> None:
    text = asked(client, "quotes", "How deep is the lake?", stream=True).text
    chunks = [json.loads(x[6:]) for x in text.split("\n\n") if x.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta["sources"][0]["id"] for delta in deltas if "sources" in delta] == ["7"]


def test_switched_off_is_a_503_and_no_question_a_400(client: TestClient, database: Path) -> None:
    nobody = client.post(
        CHAT, json={"model": "quotes", "messages": [{"role": "system", "content": "x"}]}
    )
    assert nobody.status_code == 400
    api.switch_answers(database, off="test")
    off = asked(client, "quotes", "How deep is the lake?")
    assert off.status_code == 503
    assert off.json()["error"]["code"] == "switched_off"
