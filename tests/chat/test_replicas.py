"""Several services behind one name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from gigafactory.chat.completion import Job
from gigafactory.chat.engine import Message, Role, Sampling
from gigafactory.chat.engines import open_remotes
from gigafactory.chat.errors import ApiError
from gigafactory.chat.remote import Remote
from gigafactory.chat.replicas import Replicas, conversation_of
from gigafactory.chat.request import ChatRequest, as_request


@pytest.fixture
def second(upstream: Any) -> Iterator[Any]:
    another = type(upstream)()
    yield another
    another.close()


def request(*turns: str, model: str = "good") -> ChatRequest:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
    return as_request({"model": model, "messages": messages})


async def answer(replicas: Replicas, *turns: str, model: str = "good") -> str:
    with replicas.place():
        job = await replicas.prepare(request(*turns, model=model))
        bunches = [bunch async for bunch in replicas.said(job)]
    return "".join(piece.text for bunch in bunches for piece in bunch)


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def of(urls: Sequence[str], *, model: str = "good", away_s: float = 60.0) -> Replicas:
    remotes = [Remote("grok", base_url=url, model=model) for url in urls]
    return Replicas(remotes, away_s=away_s)


def test_all_turns_of_a_conversation_are_one_conversation() -> None:
    first = Job((Message(Role.USER, "hi"),), Sampling(1, 0), (), 1, request("hi"), salt="alice")
    later = Job((), Sampling(1, 0), (), 1, request("hi", "hello", "and now?"), salt="alice")
    other = Job((), Sampling(1, 0), (), 1, request("hi"), salt="bob")
    assert conversation_of(first) == conversation_of(later)
    assert conversation_of(first) != conversation_of(other)


def test_conversations_spread_and_stay(upstream: Any, second: Any) -> None:
    async def talk() -> None:
        replicas = of([upstream.url, second.url])
        for number in range(20):
            begin = f"question {number}"
            before = [len(each.asked) for each in (upstream, second)]
            await answer(replicas, begin)
            await answer(replicas, begin, "yes", "and more?")
            grown = [len(e.asked) - b for e, b in zip((upstream, second), before, strict=True)]
            assert sorted(grown) == [0, 2]
        assert replicas.num_present == 0
        await replicas.close()

    asyncio.run(talk())
    assert len(upstream.asked) > 4
    assert len(second.asked) > 4


def test_one_that_cannot_be_reached_is_left_out_and_comes_back(upstream: Any) -> None:
    async def talk() -> None:
        replicas = of([upstream.url, nobody()], away_s=0.05)
        for number in range(12):
            assert await answer(replicas, f"question {number}")
        assert len(replicas._router) in (1, 2)
        await asyncio.sleep(0.1)
        assert len(replicas._router) == 2
        await replicas.close()

    asyncio.run(talk())
    assert len(upstream.asked) == 12


def test_where_none_can_be_reached_that_is_said() -> None:
    async def talk() -> None:
        replicas = of([nobody(), nobody()])
        for _ in range(2):
            with pytest.raises(ApiError) as caught:
                await answer(replicas, "hi")
            assert caught.value.code == "upstream_unreachable"
        await replicas.close()

    asyncio.run(talk())


def test_an_answer_that_broke_off_is_not_begun_anew_elsewhere(upstream: Any, second: Any) -> None:
    async def talk() -> None:
        replicas = of([upstream.url, second.url], model="dies")
        with pytest.raises(ApiError, match="broke off"):
            await answer(replicas, "hi", model="dies")
        assert len(replicas._router) == 2
        await replicas.close()

    asyncio.run(talk())
    assert len(upstream.asked) + len(second.asked) == 1


def test_engines_of_one_name_are_its_replicas() -> None:
    grok, other = open_remotes(["g=http://a/v1", "o=http://b/v1", "g=http://c/v1"])
    assert (grok.name, other.name) == ("g", "o")
    assert isinstance(grok, Replicas)
    assert isinstance(other, Remote)
