"""A service with keys: who is let in, what is metered, what is told about it."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gigafactory.chat.engine import More, Piece, Source
from gigafactory.chat.keys import Allowance, Scope
from gigafactory.chat.line import Line
from gigafactory.chat.logs import start_logging
from gigafactory.chat.opening import Opening, add_key, open_service, revoke_key
from gigafactory.chat.server import Door, serve_service
from gigafactory.chat.service import Service
from gigafactory.chat.store import open_store
from gigafactory.chat.usage import Entry, Outcome
from gigafactory.describe.errors import InputError

HELLO: Any = [{"role": "user", "content": "hello there"}]
FOR_EVER: Any = [{"role": "user", "content": "for ever"}]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "chat.db")


@pytest.fixture
def service(parrot: Any, store: str) -> Service:
    parrot.context_tokens = 1_000_000
    return open_service([Line(parrot, max_waiting=4)], Opening(store=store))


@pytest.fixture
def url(service: Service, serving: Any) -> Iterator[str]:
    with serving(service, only_local=False) as url:
        yield url


def ask(url: str, key: str | None, messages: Any = HELLO, **fields: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": "parrot", "messages": messages, **fields}
    return httpx.post(url + "v1/chat/completions", json=body, headers=headers, timeout=20)


def eventually(condition: Callable[[], object]) -> bool:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ledger(store: str) -> list[Entry]:
    with open_store(store) as opened:
        return list(opened.entries())


def new_key(store: str, url: str, **options: Any) -> str:
    """A key made while the service runs."""
    _, secret = add_key(store, "bob", **options)
    assert eventually(lambda: ask(url, secret, []).status_code == 400)
    return secret


def test_only_keys_open_the_door(url: str, store: str) -> None:
    assert ask(url, None).status_code == 401
    assert ask(url, "giga-wrong").status_code == 401
    assert httpx.get(url + "v1/models").status_code == 401
    assert httpx.get(url + "health").status_code == 200
    key = new_key(store, url, scopes=[Scope.CHAT])
    with openai.OpenAI(base_url=url + "v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model="parrot", messages=HELLO)
        assert answer.choices[0].message.content == "hello there"
        with pytest.raises(openai.PermissionDeniedError, match="models"):
            client.models.list()


def test_what_is_said_is_in_the_ledger(url: str, store: str) -> None:
    key = new_key(store, url)
    ask(url, key)
    ask(url, key, stream=True)
    ask(url, key, [{"role": "user", "content": "break down"}])
    assert eventually(lambda: len(ledger(store)) == 3)
    found = [(e.prompt_tokens, e.completion_tokens, e.outcome) for e in ledger(store)]
    assert found == [(3, 2, "done"), (3, 2, "done"), (3, 2, "failed")]
    assert len({e.key_id for e in ledger(store)}) == 1


def test_limits_are_told_with_the_time_to_wait(url: str, store: str) -> None:
    hasty = new_key(store, url, allowance=Allowance(requests_per_min=1))
    assert ask(url, hasty).status_code == 200
    refused = ask(url, hasty)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    poor = new_key(store, url, allowance=Allowance(budget_tokens=8))
    cut = ask(url, poor, FOR_EVER).json()
    assert (cut["usage"]["total_tokens"], cut["choices"][0]["finish_reason"]) == (8, "length")
    assert ask(url, poor).json()["error"]["code"] == "insufficient_quota"


def test_a_revoked_key_stops_at_once_also_in_the_middle(url: str, store: str, parrot: Any) -> None:
    key = new_key(store, url)
    parrot.step_s = 0.002
    body = {"model": "parrot", "messages": FOR_EVER, "stream": True, "max_tokens": 900_000}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream(
        "POST", url + "v1/chat/completions", json=body, headers=headers, timeout=20
    ) as response:
        lines = response.iter_lines()
        next(lines)
        with open_store(store) as opened:
            ident = opened.all_keys()[0].id
        revoke_key(store, ident)
        revoked_s = time.monotonic()
        text = "\n".join(lines)
    assert time.monotonic() - revoked_s < 5
    assert '"invalid_api_key"' in text
    assert parrot.was_closed.wait(10)
    assert ask(url, key).status_code == 401
    assert eventually(lambda: [e.outcome for e in ledger(store)] == ["revoked"])


def test_a_client_that_leaves_is_metered_so_far(url: str, store: str, parrot: Any) -> None:
    key = new_key(store, url)
    parrot.step_s = 0.002
    body = {"model": "parrot", "messages": FOR_EVER, "stream": True, "max_tokens": 900_000}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream(
        "POST", url + "v1/chat/completions", json=body, headers=headers, timeout=20
    ) as response:
        next(response.iter_bytes())
    assert parrot.was_closed.wait(10)
    assert eventually(lambda: [e.outcome for e in ledger(store)] == ["gone"])
    assert ledger(store)[0].completion_tokens > 0


def test_a_killed_gateway_loses_no_token_that_was_sent(store: str, tmp_path: Path) -> None:
    _, key = add_key(store, "bob")
    program = Path(__file__).with_name("keyed_parrot.py")
    received = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, str(program), store], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            body = {"model": "parrot", "messages": FOR_EVER, "stream": True}
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.stream(
                "POST", url + "v1/chat/completions", json=body, headers=headers, timeout=20
            ) as response:
                try:
                    for count, line in enumerate(response.iter_lines()):
                        received += '"content":"' in line
                        if count == 60:
                            process.send_signal(signal.SIGKILL)
                except httpx.TransportError:
                    pass
            process.wait(20)
    assert len(ledger(store)) == 1  # the second one brought in what the first had left
    open_service([], Opening(store=store))
    found = ledger(store)
    assert [e.outcome for e in found] == [Outcome.KILLED] * 2
    sent = sum(e.completion_tokens for e in found)
    assert received <= sent <= received + 20
    assert not [p for p in (tmp_path / "chat.usage").iterdir() if p.stat().st_size]


def test_sigterm_lets_answers_end_and_takes_no_new_ones(store: str) -> None:
    _, key = add_key(store, "bob")
    program = Path(__file__).with_name("keyed_parrot.py")
    with subprocess.Popen(
        [sys.executable, str(program), store], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        messages = [{"role": "user", "content": "word " * 600}]
        body = {"model": "parrot", "messages": messages, "stream": True, "max_tokens": 10_000}
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.stream(
            "POST", url + "v1/chat/completions", json=body, headers=headers, timeout=20
        ) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(httpx.ConnectError):
                ask(url, key)
            last = list(lines)[-2]
        assert last == "data: [DONE]"
        process.wait(20)
    [entry] = ledger(store)
    assert (entry.completion_tokens, entry.outcome) == (600, Outcome.DONE)


def test_what_cannot_be_done_here_is_a_clear_400(url: str, store: str) -> None:
    key = new_key(store, url)
    tool = {"type": "function", "function": {"name": "f"}}
    for field, value in {
        "tools": [tool],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x"}},
        "logprobs": True,
    }.items():
        answer = ask(url, key, **{field: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
        assert "parrot has no" in answer.json()["error"]["message"]
    body = {"model": "parrot", "input": "a"}
    headers = {"Authorization": f"Bearer {key}"}
    embedded = httpx.post(url + "v1/embeddings", json=body, headers=headers)
    assert embedded.status_code == 400


def test_figures_for_prometheus(url: str, store: str) -> None:
    key = new_key(store, url, scopes=[Scope.CHAT, Scope.METRICS])
    ask(url, key)
    ask(url, key, stream=True)
    text = httpx.get(url + "metrics", headers={"Authorization": f"Bearer {key}"}).text
    assert 'giga_chat_tokens_total{model="parrot",kind="completion"} 4' in text
    assert 'giga_chat_time_to_first_token_seconds_count{model="parrot"} 2' in text
    assert 'giga_chat_requests_total{route="chat",model="parrot",status="200"} 2' in text
    assert 'giga_chat_requests_present{model="parrot"} 0' in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)*\})? [-+.e\d]+', line), (
            line
        )
    buckets = re.findall(r'first_token_seconds_bucket\{.*le="([^"]+)"\} (\d+)', text)
    assert buckets[-1] == ("+Inf", "2")
    assert [int(count) for _, count in buckets] == sorted(int(count) for _, count in buckets)


def test_the_log_has_no_words_and_no_secrets(url: str, store: str, tmp_path: Path) -> None:
    key = new_key(store, url)
    start_logging(str(tmp_path / "log.jsonl"))
    ask(url, key, [{"role": "user", "content": "swordfish"}])
    ask(url, key, [{"role": "user", "content": "break down"}])
    eventually(lambda: (tmp_path / "log.jsonl").read_text().count("\n") >= 2)
    text = (tmp_path / "log.jsonl").read_text()
    assert "swordfish" not in text
    assert key not in text
    lines = [json.loads(line) for line in text.splitlines()]
    [first] = [line for line in lines if line.get("outcome") == "done"]
    assert (first["status"], first["completion_tokens"], first["model"]) == (200, 1, "parrot")


def test_the_moderator_is_asked_first(parrot: Any, serving: Any) -> None:
    def strict(messages: Any) -> str | None:
        return "no talk of fish" if "fish" in messages[-1].content else None

    service = Service([Line(parrot, max_waiting=1)], moderator=strict)
    with serving(service) as url:
        refused = ask(url, None, [{"role": "user", "content": "fish"}])
        assert ask(url, None).status_code == 200
    assert refused.json()["error"]["code"] == "content_policy_violation"
    assert len(parrot.heard) == 1
    with pytest.raises(InputError, match="MODULE:FUNCTION"):
        open_service([], Opening(moderator="nowhere:x"))


def test_pages_from_elsewhere_are_let_in_by_name_only(parrot: Any, serving: Any) -> None:
    theirs = {"Origin": "https://app.example"}
    with serving(Service([Line(parrot, max_waiting=1)])) as url:
        assert httpx.get(url + "v1/models", headers=theirs).status_code == 403
    with serving(Service([Line(parrot, max_waiting=1)]), origins=("https://app.example",)) as url:
        answer = httpx.get(url + "v1/models", headers=theirs)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert httpx.get(url, headers={"Origin": "https://evil.example"}).status_code == 403


def test_without_keys_only_this_machine_is_served() -> None:
    with pytest.raises(InputError, match="--store"):
        serve_service(Service([]), door=Door(host="0.0.0.0", port=0))


class Sourced(Line):
    """An answerer that adds what its words rest on, as one that looks things up would."""

    async def said(self, job: Any) -> Any:
        source = Source(id="post-7", quote="hello", first=0, last=5)
        async for bunch in super().said(job):
            yield [
                Piece(p.text, p.num_tokens, p.finish, More(sources=(source,)) if p.finish else None)
                for p in bunch
            ]


def test_sources_travel_with_the_words(parrot: Any, serving: Any) -> None:
    with serving(Service([Sourced(parrot, max_waiting=1)])) as url:
        whole = ask(url, None).json()["choices"][0]["message"]
        streamed = ask(url, None, stream=True).text
        response = httpx.post(url + "v1/responses", json={"model": "parrot", "input": "hello you"})
    expected = [{"id": "post-7", "quote": "hello", "first": 0, "last": 5}]
    assert whole["sources"] == expected
    assert json.dumps(expected)[1:-1] in streamed
    assert response.json()["output"][0]["content"][0]["sources"] == expected


def test_responses_with_the_official_client(parrot: Any, serving: Any) -> None:
    with (
        serving(Service([Line(parrot, max_waiting=1)])) as url,
        openai.OpenAI(base_url=url + "v1", api_key="none", max_retries=0) as client,
    ):
        whole = client.responses.create(model="parrot", input="hello there", instructions="be kind")
        assert whole.output_text == "hello there"
        assert whole.usage is not None
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (6, 2)
        assert parrot.heard[0][0][0].content == "be kind"
        with client.responses.stream(model="parrot", input="one two") as stream:
            kinds = [event.type for event in stream]
            assert stream.get_final_response().output_text == "one two"
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        cut = client.responses.create(model="parrot", input="a b c", max_output_tokens=2)
        assert (cut.status, cut.output_text) == ("incomplete", "a b")
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="parrot", input="a", previous_response_id="resp_1")
        assert caught.value.param == "previous_response_id"
        broken = client.responses.create(model="parrot", input="break down", stream=True)
        assert [event.type for event in broken][-2:] == ["error", "response.failed"]


def malformed(dice: random.Random) -> bytes:
    """A request that is wrong somewhere: in its bytes, its JSON, its fields or its address."""
    good = json.dumps({"model": "parrot", "messages": HELLO}).encode()
    depth = dice.randint(10, 90_000)
    bodies = [
        bytes(dice.randbytes(dice.randint(0, 200))),
        good[: dice.randint(0, len(good) - 1)],
        b"[" * depth,
        b'{"a":' * depth,
        b'{"model": "parrot", "messages": ' + b"[" * 500 + b"]" * 500 + b"}",
        good.replace(b"hello", b"\\ud800"),
        good.replace(b'"user"', dice.choice([b"null", b"7", b'"king"', b"{}", b"[]"])),
        good.replace(b"parrot", dice.choice([b"", b"owl", b"../..", b"\\u0000", b"%s%n"])),
        json.dumps({"model": "parrot", "messages": HELLO, "max_tokens": -(10**30)}).encode(),
        b'{"model": "parrot", "messages": [], "temperature": NaN}',
        b'{"model": "parrot", "messages": [' + b"9" * 6000 + b"]}",
    ]
    body = dice.choice(bodies)
    path = dice.choice(["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
    length = dice.choice([str(len(body))] * 8 + ["-1", "x"])
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
    raw = head.encode() + b"Connection: close\r\n\r\n" + body
    return dice.choice([raw] * 9 + [dice.randbytes(80) + b"\r\n\r\n"])


def test_malformed_requests_are_refused_without_a_traceback(
    parrot: Any, serving: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(6)
    statuses = []
    with serving(Service([Line(parrot, max_waiting=1)])) as url:
        place = url.removeprefix("http://").rstrip("/").split(":")
        for _ in range(400):
            with socket.create_connection((place[0], int(place[1])), timeout=20) as connection:
                connection.sendall(malformed(dice))
                answer = connection.recv(65536)
            statuses.append(int(answer.split()[1]))
        assert ask(url, None).status_code == 200
    assert {status // 100 for status in statuses} == {4}
    assert "Traceback" not in "".join(capfd.readouterr())
