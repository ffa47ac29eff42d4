"""`giga chat x`: the bot that answers on X when it is called."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.chat_posts import database_argument
from gigafactory.cli.common import json_option, print_json


@click.command("x")
@database_argument
@click.option(
    "--mentions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What people post on the local fake: JSON lines of author and text.",
)
@click.option(
    "--api",
    metavar="URL",
    help="X (https://api.x.com) or another fake, with a token in GIGA_X_ACCESS_TOKEN; "
    "without, a fake X in this process.",
)
@click.option("--live", "is_live", is_flag=True, help="Really post and delete; without, only show.")
@click.option(
    "--budget",
    "usd_per_day",
    type=float,
    default=1.0,
    show_default=True,
    help="Dollars a day, reads included.",
)
@click.option(
    "--follow", "follows", is_flag=True, help="Go on with posts as they come, until Ctrl-C."
)
@json_option
def command(
    *,
    database: Path,
    mentions: Path | None,
    api: str | None,
    is_live: bool,
    usd_per_day: float,
    follows: bool,
    as_json: bool,
) -> None:
    """Answer posts that mention or quote the bot with quotes from DATABASE.

    A dry run against a fake X unless --api and --live say otherwise. The fake's bot is @quotesbot.

    Example: giga chat x posts.db --mentions mentions.jsonl
    """
    from gigafactory.api.x import run_x_bot
    from gigafactory.chat.x.opening import BotPlan

    plan = BotPlan(
        database=database, mentions=mentions, api=api, is_live=is_live, usd_per_day=usd_per_day
    )
    found = []
    for outcome in run_x_bot(plan, follows=follows):
        found.append(outcome)
        if not as_json:
            said = outcome.text if outcome.refusal is None else f"no answer: {outcome.refusal}"
            click.echo(f"{outcome.mention}: {said}")
    if as_json:
        rows = [
            {"mention": o.mention, "text": o.text, "reply": o.reply, "refusal": o.refusal}
            for o in found
        ]
        print_json(rows)
