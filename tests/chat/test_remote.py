"""An engine elsewhere, through a really served gateway: what goes well, and ways to break off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.chat.engines import open_remotes
from gigafactory.chat.errors import ApiError
from gigafactory.chat.remote import EventReader, Remote
from gigafactory.chat.service import Bounds, Service
from gigafactory.describe.errors import InputError

MODELS = ["good", "tools", "logprobs", "dies", "falls-silent", "dies-at-once", "fails-inside",
          "no-json", "no-http", "busy", "refuses", "wants-key", "half-pair", "endless", "large",
          "slow"]  # fmt: skip
HELLO: Any = [{"role": "user", "content": "hello there"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture
def service(upstream: Any) -> Service:
    remotes = [Remote(name, base_url=upstream.url, api_key="sk-secret") for name in MODELS]
    return Service(remotes, bounds=Bounds(request_s=60.0, stall_s=1.0))


@pytest.fixture
def url(service: Service, serving: Any) -> Iterator[str]:
    with serving(service) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url + "v1", api_key="none", max_retries=0) as client:
        yield client


def post(url: str, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": HELLO, **fields}
    return httpx.post(url + "v1/chat/completions", json=body, timeout=20)


def eventually(condition: Callable[[], object]) -> bool:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_whole_answer_is_put_together(client: openai.OpenAI, upstream: Any) -> None:
    answer = client.chat.completions.create(
        model="good", messages=HELLO, temperature=0.3, extra_body={"their_own": 1}, user="me"
    )
    assert answer.choices[0].message.content == "one two three"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 3)
    asked = upstream.asked[0]
    assert (asked["temperature"], asked["their_own"], asked["user"]) == (0.3, 1, "me")
    assert b"bearer sk-secret" in asked["head"].lower()
    assert b"bearer none" not in asked["head"].lower()


def test_a_stream_is_passed_on_and_its_connection_used_again(
    client: openai.OpenAI, upstream: Any
) -> None:
    for _ in range(3):
        with client.chat.completions.create(
            model="good", messages=HELLO, stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        words = [c.choices[0].delta.content for c in chunks if c.choices]
        assert "".join(word or "" for word in words) == "one two three"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens == 11
    assert upstream.num_connections == 1


def test_tools_and_logprobs_come_through(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tools", messages=HELLO, tools=[TOOL])
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name) == ("call_1", "weather")
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    judged = client.chat.completions.create(model="logprobs", messages=HELLO, logprobs=True)
    logprobs = judged.choices[0].logprobs
    assert logprobs is not None
    assert [entry.logprob for entry in logprobs.content or []] == [-0.1]


def test_responses_call_tools(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"},
                 "strict": False}  # fmt: skip
    response = client.responses.create(model="tools", input="weather in Oslo?", tools=[tool])
    [call] = [item for item in response.output if item.type == "function_call"]
    assert (call.call_id, call.name) == ("call_1", "weather")


def test_vectors_come_through(client: openai.OpenAI, upstream: Any) -> None:
    answer = client.embeddings.create(model="good", input=["a", "b"])
    assert [entry.embedding for entry in answer.data] == [[0.5, -2.0]] * 2
    assert upstream.asked[0]["path"] == "/v1/embeddings"


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("dies", 502, "broke off"),
        ("falls-silent", 502, "without a finish_reason"),
        ("dies-at-once", 502, "cannot be reached"),
        ("fails-inside", 502, "out of memory"),
        ("no-json", 502, "no JSON"),
        ("no-http", 502, "cannot be reached"),
        ("busy", 503, "slow down"),
        ("refuses", 400, "temperature is odd"),
        ("wants-key", 502, "bad key"),
    ],
)
def test_whatever_breaks_is_an_error(url: str, model: str, status: int, words: str) -> None:
    whole = post(url, model)
    assert whole.status_code == status
    assert words in whole.json()["error"]["message"]
    streamed = post(url, model, stream=True)
    if streamed.status_code == 200:  # it broke after the first word: the last event says so
        *_, failure, done = [line for line in streamed.text.split("\n\n") if line]
        assert done == "data: [DONE]"
        assert words in json.loads(failure.removeprefix("data: "))["error"]["message"]
    else:
        assert streamed.status_code == status


def test_half_a_surrogate_pair_breaks_nothing(url: str) -> None:
    assert post(url, "half-pair").json()["choices"][0]["message"]["content"] == "a?"
    assert '"content":"a?"' in post(url, "half-pair", stream=True).text


def test_hanging_up_hangs_up_upstream(url: str, service: Service, upstream: Any) -> None:
    body = {"model": "endless", "messages": HELLO, "stream": True}
    with httpx.stream("POST", url + "v1/chat/completions", json=body, timeout=20) as response:
        words = response.iter_bytes()  # a nameless one would be closed with the line
        next(words)
        assert service.num_present()["endless"] == 1
    assert upstream.hung_up.wait(10)
    assert eventually(lambda: service.num_present()["endless"] == 0 and not service.flights)


def test_a_reader_that_sleeps_stalls_nobody_and_is_let_go(
    url: str, service: Service, upstream: Any
) -> None:
    body = {"model": "large", "messages": HELLO, "stream": True}
    with httpx.stream("POST", url + "v1/chat/completions", json=body, timeout=20) as response:
        words = response.iter_bytes()  # a nameless one would be closed with the line
        next(words)
        times_s = []
        for _ in range(5):
            began_s = time.perf_counter()
            assert post(url, "good").status_code == 200
            times_s.append(time.perf_counter() - began_s)
        assert min(times_s) < 1.0
        assert eventually(lambda: service.num_present()["large"] == 0)


def test_an_answer_that_takes_too_long_is_ended(upstream: Any, serving: Any) -> None:
    remotes = [Remote(name, base_url=upstream.url) for name in ("slow", "endless")]
    with serving(Service(remotes, bounds=Bounds(request_s=0.4))) as url:
        assert post(url, "slow").status_code == 504
        last = post(url, "endless", stream=True).text.split("\n\n")[-3]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "timeout"


def test_an_address_without_server_is_told(serving: Any) -> None:
    with serving(Service([Remote("m", base_url="http://127.0.0.1:9/v1")])) as url:
        answer = post(url, "m")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")


@given(st.lists(st.integers(1, 40), max_size=30))
def test_events_are_read_wherever_the_bytes_break(sizes: list[int]) -> None:
    text = b': hello\r\n\r\ndata: {"a": 1}\r\n\r\ndata:{"a": 2}\n\nevent: x\ndata: [DONE]\n\n'
    reader, found, at = EventReader(), [], 0
    for size in [*sizes, len(text)]:
        found += reader.feed(text[at : at + size])
        at += size
    assert found == [{"a": 1}, {"a": 2}]
    assert reader.is_done


@pytest.mark.parametrize("payload", [b"data: [1]\n", b"data: nope\n", b"data: \xff\n"])
def test_an_event_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(ApiError, match="no JSON"):
        EventReader().feed(payload)


@pytest.mark.parametrize("spec", ["", "m", "m=", "=http://x", "m=ftp://x", "m=http://"])
def test_wrong_addresses_are_refused(spec: str) -> None:
    with pytest.raises(InputError):
        open_remotes([spec])


def test_a_name_may_differ_from_the_models(upstream: Any) -> None:
    [remote] = open_remotes([f"fast={upstream.url}#good"])
    assert remote.name == "fast"
    with pytest.raises(InputError, match="twice"):
        open_remotes([f"a={upstream.url}", f"a={upstream.url}"])
