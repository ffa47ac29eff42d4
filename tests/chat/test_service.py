from __future__ import annotations

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from gigafactory.chat.guard import is_local_request

CHAT = "/v1/chat/completions"


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "parrot", "messages": [{"role": "user", "content": text}], **fields}


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_the_models_are_listed(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["parrot", "second"]
    assert listed["data"][0]["context_tokens"] == 40
    assert client.get("/v1/models/second").json()["id"] == "second"


def test_a_whole_answer(client: TestClient) -> None:
    response = client.post(CHAT, json=body("hello there"))
    answer = response.json()
    assert response.status_code == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "parrot"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello there"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_stream(client: TestClient) -> None:
    wish = body("one two three", stream=True, stream_options={"include_usage": True})
    response = client.post(CHAT, json=wish)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, counted, done = events(response.text)
    assert done == "[DONE]"
    assert counted["choices"] == []
    assert counted["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta.get("content") for delta in deltas[1:]] == ["one", " two", " three", None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert len({chunk["id"] for chunk in [*chunks, counted]}) == 1


def test_a_stream_counts_only_when_asked(client: TestClient) -> None:
    chunks = events(client.post(CHAT, json=body("one", stream=True)).text)
    assert not any("usage" in chunk for chunk in chunks[:-1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["say nothing", "only blanks"])
def test_silence_is_never_a_success(client: TestClient, text: str, stream: bool) -> None:
    response = client.post(CHAT, json=body(text, stream=stream))
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "no_answer"


def test_a_failing_engine_is_a_server_error(client: TestClient) -> None:
    response = client.post(CHAT, json=body("break down"))
    assert response.status_code == 500
    error = response.json()["error"]
    assert error["type"] == "server_error"
    assert "fell off its perch" in error["message"]
    assert client.post(CHAT, json=body("still here")).status_code == 200


def test_a_failure_within_a_stream_is_an_event(client: TestClient) -> None:
    *_, failure, done = events(client.post(CHAT, json=body("break down", stream=True)).text)
    assert failure["error"]["code"] == "engine_failed"
    assert done == "[DONE]"


@pytest.mark.parametrize(
    ("wish", "status", "param"),
    [
        (body("hi", temperature="hot"), 400, "temperature"),
        (body("word " * 60), 400, "messages"),
        (body("hi") | {"model": "owl"}, 404, "model"),
    ],
)
def test_errors_name_the_field(
    client: TestClient, wish: dict[str, Any], status: int, param: str
) -> None:
    response = client.post(CHAT, json=wish)
    error = response.json()["error"]
    assert response.status_code == status
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


def test_other_paths_and_methods_answer_in_the_same_form(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["error"]["message"] == "GET /v1/nothing: Not Found"
    wrong_method = client.get(CHAT)
    assert wrong_method.status_code == 405
    assert "error" in wrong_method.json()


def test_a_body_without_end_is_refused(client: TestClient) -> None:
    assert client.post(CHAT, content=b"x" * 2_000_000).status_code == 413


def test_all_work_of_an_engine_is_done_in_one_thread(client: TestClient, parrot: Any) -> None:
    for _ in range(3):
        client.post(CHAT, json=body("one two three"))
    assert len(parrot.threads) == 1


def test_health_says_how_many_are_there(client: TestClient) -> None:
    health = client.get("/healthz").json()
    assert health == {"status": "ok", "num_present": {"parrot": 0, "second": 0}}


@pytest.mark.parametrize("page", ["/", "/audit"])
def test_the_pages_load_nothing_from_elsewhere(client: TestClient, page: str) -> None:
    response = client.get(page)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    loaded = [part for part in parts if not part.startswith("data:")]
    assert loaded
    assert all(part.startswith("/") for part in loaded)
    texts = [response.text, *(client.get(part).text for part in loaded if part != "/")]
    assert not any("https://" in text for text in texts)


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:8080", None, True),
        ("localhost:8080", "http://localhost:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("evil.example", None, False),
        ("127.0.0.1:8080", "https://evil.example", False),
        ("127.0.0.1:8080", "null", False),
        ("127.0.0.1.evil.example", None, False),
        ("[broken", None, False),
        (None, None, False),
    ],
)
def test_only_this_machine_may_ask(host: str | None, origin: str | None, allowed: bool) -> None:
    assert is_local_request(host=host, origin=origin) is allowed


def test_a_foreign_page_is_turned_away(client: TestClient, parrot: Any) -> None:
    headers = {"Origin": "https://evil.example"}
    assert client.post(CHAT, json=body("hi"), headers=headers).status_code == 403
    assert parrot.heard == []
