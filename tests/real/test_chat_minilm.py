"""The small model of sentences, as it is served."""

from __future__ import annotations

import math

import pytest
from starlette.testclient import TestClient

from gigafactory.chat import minilm
from gigafactory.chat.app import make_gateway
from gigafactory.chat.engines import open_embedders
from gigafactory.chat.service import Service

if minilm.why_missing():
    pytest.skip(str(minilm.why_missing()), allow_module_level=True)

pytestmark = pytest.mark.real


@pytest.fixture
def client() -> TestClient:
    app = make_gateway(Service(open_embedders()))
    return TestClient(app, base_url="http://127.0.0.1:8080")


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def test_what_means_the_same_is_near_and_no_vector_depends_on_its_neighbours(
    client: TestClient,
) -> None:
    texts = [
        "How deep is the lake?",
        "The water there reaches thirty metres down.",
        "The minister resigned on Monday.",
    ]
    body = {"model": minilm.NAME, "input": texts}
    told = client.post("/v1/embeddings", json=body).json()
    one, same, other = (entry["embedding"] for entry in told["data"])
    assert len(one) == minilm.NUM_DIMENSIONS
    assert math.hypot(*one) == pytest.approx(1)
    assert dot(one, same) > dot(one, other) + 0.2
    assert told["usage"]["prompt_tokens"] > 20
    alone = client.post("/v1/embeddings", json={**body, "input": texts[0]}).json()
    assert alone["data"][0]["embedding"] == one


def test_it_does_not_talk(client: TestClient) -> None:
    [listed] = client.get("/v1/models").json()["data"]
    assert (listed["id"], listed["chats"]) == (minilm.NAME, False)
    body = {"model": minilm.NAME, "messages": [{"role": "user", "content": "hi"}]}
    refused = client.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert "embeddings only" in refused.json()["error"]["message"]
