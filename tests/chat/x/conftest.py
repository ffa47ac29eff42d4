from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.posts import Authority, Post
from gigafactory.chat.x.bot import Bot
from gigafactory.chat.x.budget import Budget
from gigafactory.chat.x.fake_state import User, World
from gigafactory.chat.x.memory import Memory

pytest.importorskip("xdk", reason="needs the extra x")

TOKEN = "token-of-the-test"


@dataclass
class Scene:
    """The fake X, somebody who asks, and the bot before it."""

    world: World
    url: str
    desk: Desk
    account: User
    ann: User
    clock: list[float] = field(default_factory=lambda: [1_790_000_000.0])

    def bot(self, *, is_live: bool = True, usd_per_day: float = 10.0) -> Bot:
        from gigafactory.chat.x.sdk import XdkPlatform

        return Bot(
            XdkPlatform(base_url=self.url, access_token=TOKEN, backoff_s=0.01, max_retries=3),
            self.desk,
            budget=Budget(self.desk.connection, usd_per_day=usd_per_day),
            memory=Memory(self.desk.connection),
            clock=lambda: self.clock[0],
            is_live=is_live,
        )

    def ask(self, text: str, **fields: Any) -> str:
        return self.world.add_post(self.ann, text, **fields).id

    def replies(self) -> list[str]:
        return [p.text for p in self.world.posts.values() if p.author_id == self.account.id]

    @staticmethod
    def wait(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture(scope="session")
def address() -> Iterator[tuple[str, list[World]]]:
    """One server for all tests; each brings a world of its own."""
    from gigafactory.chat.x import fake
    from gigafactory.chat.x.serving import served

    current = [World()]

    class Current:
        def __getattr__(self, name: str) -> Any:
            return getattr(current[0], name)

    with served(Current()) as url:  # type: ignore[arg-type]
        yield url, current
    assert fake


@pytest.fixture
def scene(address: tuple[str, list[World]], tmp_path: Path) -> Iterator[Scene]:
    url, current = address
    world = current[0] = World()
    account = world.add_user("quotesbot", token=TOKEN)
    ann = world.add_user("ann", token="of-ann")
    desk = Desk(tmp_path / "posts.db")
    desk.library.add(
        [
            Post("7", "Survey", "The lake is 30 metres deep.", 1.7e9, Authority.OFFICIAL),
            Post("x:55", "daily", "The old ferry sank in 1931.", 1.7e9, Authority.PRESS),
        ]
    )
    yield Scene(world, url, desk, account, ann)
    desk.close()
