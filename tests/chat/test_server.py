"""A really started service, asked by the official client and over plain sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from gigafactory.chat.app import make_app
from gigafactory.chat.server import address, listen, serve
from gigafactory.describe.errors import InputError

PARROTS = Path(__file__).with_name("parrot.py")
HELLO: Any = [{"role": "user", "content": "hello there"}]
FOR_EVER: Any = [{"role": "user", "content": "for ever"}]


@pytest.fixture
def served(parrot: Any) -> Iterator[str]:
    """Address of the parrot, served in a thread of this process so that tests can look at it."""
    parrot.context_tokens = 1_000_000
    listening = listen("127.0.0.1", port=0)
    app = make_app([parrot], max_waiting=1)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield address(listening)
    server.should_exit = True
    parrot.may_go_on.set()
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture
def client(served: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served + "v1", api_key="none", max_retries=0) as client:
        yield client


def eventually(condition: Callable[[], object]) -> bool:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_the_official_client_gets_an_answer(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["parrot"]
    answer = client.chat.completions.create(model="parrot", messages=HELLO)
    assert answer.choices[0].message.content == "hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5


def test_the_official_client_streams(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="parrot", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "hello there"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_the_official_client_understands_the_errors(client: openai.OpenAI) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="the models are parrot"):
        create(model="owl", messages=HELLO)
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="parrot", messages=HELLO, temperature=5)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.InternalServerError, match="without a word"):
        create(model="parrot", messages=[{"role": "user", "content": "say nothing"}], stream=True)
    broken = create(
        model="parrot", messages=[{"role": "user", "content": "break down"}], stream=True
    )
    with broken, pytest.raises(openai.APIError, match="fell off its perch"):
        list(broken)


def test_leaving_a_stream_stops_the_engine(client: openai.OpenAI, parrot: Any) -> None:
    parrot.step_s = 0.002
    stream = client.chat.completions.create(
        model="parrot", messages=FOR_EVER, stream=True, max_tokens=900_000
    )
    next(iter(stream))
    assert not parrot.was_closed.is_set()
    stream.close()
    assert parrot.was_closed.wait(10)


def test_leaving_before_the_answer_stops_the_engine(served: str, parrot: Any) -> None:
    parrot.step_s = 0.002
    fields = {"model": "parrot", "messages": FOR_EVER, "max_tokens": 900_000}
    body = json.dumps(fields).encode()
    host, port = served.removeprefix("http://").rstrip("/").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        assert eventually(lambda: parrot.num_steps > 2)
    assert parrot.was_closed.wait(10)


def test_a_full_queue_says_when_to_come_back(served: str, parrot: Any) -> None:
    parrot.may_go_on.clear()
    body = {"model": "parrot", "messages": HELLO}
    with httpx.Client(base_url=served, timeout=20) as client, ThreadPoolExecutor(2) as pool:

        def post() -> httpx.Response:
            return client.post("v1/chat/completions", json=body)

        def num_present() -> int:
            return int(client.get("healthz").json()["num_present"]["parrot"])

        first = pool.submit(post)
        assert eventually(lambda: num_present() == 1)
        second = pool.submit(post)
        assert eventually(lambda: num_present() == 2)
        refused = post()
        parrot.may_go_on.set()
        assert [first.result(20).status_code, second.result(20).status_code] == [200, 200]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["code"] == "engine_busy"


def test_requests_to_one_engine_come_one_after_the_other(served: str, parrot: Any) -> None:
    fields = {"model": "parrot", "messages": [{"role": "user", "content": "a b c"}]}
    with httpx.Client(base_url=served, timeout=20) as client, ThreadPoolExecutor(2) as pool:
        posts = [pool.submit(client.post, "v1/chat/completions", json=fields) for _ in range(2)]
        answers = [post.result(20).json() for post in posts]
    assert [a["choices"][0]["message"]["content"] for a in answers] == ["a b c"] * 2
    assert len(parrot.threads) == 1


def test_a_taken_port_is_named_with_an_alternative(parrot: Any) -> None:
    with listen("127.0.0.1", port=0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} on 127.0.0.1 is taken; \d+ is free"):
            serve([parrot], port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com"])
def test_only_loopback_is_served(parrot: Any, host: str) -> None:
    with pytest.raises(InputError, match="not loopback"):
        serve([parrot], host=host)


def test_impossible_ports_and_no_engines_are_refused(parrot: Any) -> None:
    with pytest.raises(InputError, match="70000"):
        serve([parrot], port=70000)
    with pytest.raises(InputError, match="no model"):
        serve([], port=0)


def test_the_socket_names_its_protocol_so_that_answers_are_not_delayed() -> None:
    with listen("127.0.0.1", port=0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_addresses_are_written_for_browsers() -> None:
    with listen("127.0.0.1", port=0) as listening:
        assert address(listening).startswith("http://127.0.0.1:")


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_ends_it_cleanly(busy: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PARROTS), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        body = {"model": "slow-parrot", "messages": FOR_EVER, "stream": True}
        with httpx.Client(base_url=url, timeout=20) as client:
            if busy:
                request = client.build_request("POST", "v1/chat/completions", json=body)
                response = client.send(request, stream=True)
                words = response.iter_bytes()  # a nameless one would be closed with the line
                next(words)
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == "closed\n"
            if busy:
                assert '"code": "closing"' in b"".join(words).decode()
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


FROZEN = """
import gc, os, signal
from gigafactory.chat.server import Door, serve_service
from gigafactory.chat.service import Service

def ready(url):
    print(gc.get_freeze_count() > 10_000, flush=True)
    os.kill(os.getpid(), signal.SIGINT)

serve_service(Service([]), door=Door(port=0), on_ready=ready)
print(gc.get_freeze_count())
"""


def test_no_answer_waits_while_what_the_start_made_is_looked_through_for_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FROZEN], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True", "0"]
