"""A load client: many streams at one OpenAI address, by rate or by number of clients."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gigafactory.chat.errors import ApiError
from gigafactory.chat.http1 import BrokenOffError, Client, Response
from gigafactory.chat.load_figures import Promise, Shot, figures
from gigafactory.chat.remote import EventReader
from gigafactory.describe.errors import InputError, JobError

_WORDS = [
    "the",
    "sea",
    "is",
    "wide",
    "and",
    "blue",
    "and",
    "a",
    "ship",
    "goes",
    "out",
    "in",
    "the",
    "morning",
    "with",
    "five",
    "men",
    "on",
    "board",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked, and how often."""

    base_url: str
    model: str
    api_key: str | None = None
    num_requests: int = 100
    rate_per_s: float | None = None
    """Requests a second, at random as a crowd asks (Poisson); None: as fast as clients are free."""
    num_clients: int = 8
    """The most requests at once."""
    prompt_words: int = 32
    max_tokens: int = 64
    seed: int = 0
    promise: Promise = field(default_factory=Promise)

    def __post_init__(self) -> None:
        wrong = [
            f"{name} {getattr(self, name)} is below 1"
            for name in ("num_requests", "num_clients", "prompt_words", "max_tokens")
            if getattr(self, name) < 1
        ]
        if self.rate_per_s is not None and self.rate_per_s <= 0:
            wrong.append(f"rate {self.rate_per_s} is not above 0")
        if wrong:
            raise InputError("; ".join(wrong))


def run_load(load: Load) -> dict[str, object]:
    """Ask, and give all figures; JobError where not one request was answered."""
    shots = asyncio.run(shoot(load))
    found = figures(shots, promise=load.promise)
    if not found["completed"]:
        raise JobError(f"no request was answered: {'; '.join(map(str, found['errors'] or []))}")  # type: ignore[call-overload]
    setting = {
        "model_id": load.model,
        "num_prompts": load.num_requests,
        "request_rate": load.rate_per_s,
        "max_concurrency": load.num_clients,
    }
    return {**setting, **found}


async def shoot(load: Load) -> list[Shot]:
    """All requests, each with its times."""
    headers = {"Authorization": f"Bearer {load.api_key}"} if load.api_key else {}
    client = Client(load.base_url, headers=headers)
    dice = random.Random(load.seed)
    free = asyncio.Semaphore(load.num_clients)
    zero_s = time.perf_counter()
    tasks = []
    for index in range(load.num_requests):
        await free.acquire()
        task = asyncio.create_task(_shot(client, _body(load, dice, index), zero_s))
        task.add_done_callback(lambda _: free.release())
        tasks.append(task)
        if load.rate_per_s:
            await asyncio.sleep(dice.expovariate(load.rate_per_s))
    shots = await asyncio.gather(*tasks)
    client.close()
    return shots


def _body(load: Load, dice: random.Random, index: int) -> bytes:
    words = " ".join(dice.choice(_WORDS) for _ in range(load.prompt_words))
    return json.dumps(
        {
            "model": load.model,
            "messages": [{"role": "user", "content": f"{words} {index}"}],
            "max_tokens": load.max_tokens,
            "temperature": 0.8,
            "seed": load.seed + index,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()


async def _shot(client: Client, body: bytes, zero_s: float) -> Shot:
    began_s = time.perf_counter() - zero_s
    try:
        response = await client.post("/chat/completions", body)
    except (OSError, BrokenOffError) as error:
        return _missed(began_s, zero_s, f"{type(error).__name__}: {error}")
    try:
        if response.status != 200:
            words = (await response.whole(most_bytes=2000)).decode("utf-8", "replace")
            return _missed(began_s, zero_s, f"status {response.status}: {words}")
        return await _heard(response, began_s, zero_s)
    except (BrokenOffError, ApiError) as error:
        return _missed(began_s, zero_s, str(error))
    finally:
        response.close()


async def _heard(response: Response, began_s: float, zero_s: float) -> Shot:
    reader, times_s, num_words = EventReader(), [], 0
    usage: Mapping[str, Any] = {}
    async for data in response.parts():
        for chunk in reader.feed(data):
            if "error" in chunk:
                return _missed(began_s, zero_s, str(chunk["error"]))
            usage = chunk.get("usage") or usage
            if any(choice["delta"].get("content") for choice in chunk["choices"]):
                times_s.append(time.perf_counter() - zero_s)
                num_words += 1
    if not reader.is_done:
        return _missed(began_s, zero_s, "the stream ended without [DONE]")
    return Shot(
        began_s=began_s,
        word_times_s=times_s,
        ended_s=time.perf_counter() - zero_s,
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", num_words),
    )


def _missed(began_s: float, zero_s: float, why: str) -> Shot:
    return Shot(began_s=began_s, ended_s=time.perf_counter() - zero_s, error=why)
