"""The bot on X, dry by default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gigafactory.describe.errors import JobError

if TYPE_CHECKING:
    from gigafactory.chat.x.bot import Outcome
    from gigafactory.chat.x.opening import BotPlan


def run_x_bot(plan: BotPlan, *, follows: bool = False) -> Iterator[Outcome]:
    """Deal with all mentions, or ``follows``: go on with those that come; JobError where X stops
    it."""
    from gigafactory.chat.x.budget import Spent
    from gigafactory.chat.x.opening import opened
    from gigafactory.chat.x.platform import Broken, Forbidden, TooMany

    with opened(plan) as bot:
        try:
            if plan.api is not None:  # the fake of this process knows none of the library's posts
                bot.tidy()
            yield from bot.follow() if follows else bot.catch_up()
        except TooMany as limit:
            raise JobError(
                f"X allows no more requests until {limit.reset_s:.0f} (Unix time)"
            ) from None
        except (Broken, Forbidden) as broken:
            raise JobError(f"X: {broken.why}") from None
        except Spent as spent:
            raise JobError(str(spent)) from None
