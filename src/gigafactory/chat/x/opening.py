"""Opening the bot: where it posts, with whose token, live or not. Going live takes a switch and a
token."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gigafactory.chat.guard import is_loopback
from gigafactory.chat.truth.database import open_database
from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.x.bot import Bot
from gigafactory.chat.x.budget import Budget
from gigafactory.chat.x.fake_state import World
from gigafactory.chat.x.memory import Memory
from gigafactory.describe.errors import InputError

TOKEN_VARIABLE = "GIGA_X_ACCESS_TOKEN"
X_URL = "https://api.x.com"
_FAKE_TOKEN = "token-of-the-fake"  # opens nothing but the fake in this process


@dataclass(frozen=True, slots=True, kw_only=True)
class BotPlan:
    """How a bot is run."""

    database: Path
    mentions: Path | None = None
    """What the local fake's people post, JSON lines of author and text; for runs without --api."""
    api: str | None = None
    """Address of X or of another fake; None: a fake in this process."""
    is_live: bool = False
    usd_per_day: float = 1.0


@contextmanager
def opened(plan: BotPlan) -> Iterator[Bot]:
    """A bot ready to work; InputError where something is missing for going live."""
    if plan.usd_per_day < 0:
        raise InputError(f"a budget of {plan.usd_per_day:g} $ a day: it is 0 or more")
    if not plan.database.is_file():
        raise InputError(
            f"{plan.database}: there is no database of posts; giga chat posts import makes one"
        )
    desk = Desk(plan.database)
    try:
        with _address(plan) as (url, token):
            yield _bot(desk, plan, url=url, token=token)
    finally:
        desk.close()


def _bot(desk: Desk, plan: BotPlan, *, url: str, token: str) -> Bot:
    try:
        from gigafactory.chat.x.sdk import XdkPlatform
    except ImportError as error:
        raise InputError(f"the bot needs X's SDK: pip install 'gigafactory[x]' ({error})") from None
    # a fake that ends with the run leaves nothing behind: its ids begin anew each time
    kept = open_database(Path(":memory:")) if plan.api is None else desk.connection
    return Bot(
        XdkPlatform(base_url=url, access_token=token),
        desk,
        budget=Budget(kept, usd_per_day=plan.usd_per_day),
        memory=Memory(kept),
        clock=time.time,
        is_live=plan.is_live,
    )


@contextmanager
def _address(plan: BotPlan) -> Iterator[tuple[str, str]]:
    if plan.api is None:
        from gigafactory.chat.x.serving import served

        world = _peopled(plan.mentions)
        with served(world) as url:
            yield url, _FAKE_TOKEN
        return
    if plan.mentions is not None:
        raise InputError(
            "--mentions is what people of the local fake post; leave it out with --api"
        )
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        raise InputError(
            f"{plan.api} wants an access token in the environment variable {TOKEN_VARIABLE}"
        )
    parts = urlsplit(plan.api)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise InputError(f"{plan.api}: a token goes to https addresses only")
    yield plan.api.rstrip("/"), token


def _peopled(mentions: Path | None) -> World:
    world = World(clock_s=time.time())
    world.add_user("quotesbot", token=_FAKE_TOKEN)
    for author, text in _read_mentions(mentions):
        known = next((u for u in world.users.values() if u.username == author), None)
        world.add_post(known or world.add_user(author, token=f"of {author}"), text)
    return world


def _read_mentions(path: Path | None) -> Iterator[tuple[str, str]]:
    if path is None:
        return
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no mentions can be read there: {error}") from None
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            author, text = fields["author"], fields["text"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f'{path}:{number}: a mention is {{"author": "...", "text": "..."}}'
            ) from None
        yield str(author), str(text)
