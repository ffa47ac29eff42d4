"""`giga chat truth`: ask for quotes, check statements, verify the record, score the checker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gigafactory.cli.chat_posts import database_argument
from gigafactory.cli.common import json_option, print_json

_LOTS = (
    *("development", "held_out", "traps", "sealed", "fresh", "blind", "unseen"),
    *("hostile", "strange", "twisted", "posted", "framed", "mixed", "last", "press"),
)


@click.group("truth")
def command() -> None:
    """Answers with quotes or none, and the record of them.

    Example: giga chat truth ask posts.db "How deep is the lake?"
    """


@command.command("ask")
@database_argument
@click.argument("question")
@json_option
def ask(database: Path, question: str, as_json: bool) -> None:
    """Answer QUESTION with quotes from DATABASE, or say that nothing supports an answer."""
    from gigafactory import api

    _tell(api.ask_posts(database, question), as_json=as_json)


@command.command("check")
@database_argument
@click.argument("claim")
@json_option
def check(database: Path, claim: str, as_json: bool) -> None:
    """Tell whether the posts support CLAIM, contradict it, or neither."""
    from gigafactory import api

    _tell(api.check_claim(database, claim), as_json=as_json)


def _tell(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    click.echo(told["answer"])


@command.command("audit")
@database_argument
@click.option("--head", metavar="HASH", help="The last hash as noted earlier: finds a cut-off end.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the newest records as an HTML page.",
)
@json_option
def audit(database: Path, head: str | None, page: Path | None, as_json: bool) -> None:
    """Verify the chain of records; status 1 and the faults if it does not hold."""
    from gigafactory import api

    if page is not None:
        api.audit_page(database, page)
    found = api.verify_audit(database, head=head)
    if as_json:
        print_json(found)
        return
    click.echo(
        f"the chain holds: {found['num_records']} records, {found['num_erased']} with erased "
        f"details, last hash {found['head']}"
    )


@command.command("stop")
@database_argument
@click.option("--reason", required=True, help="Why; it stands in the record.")
def stop(database: Path, reason: str) -> None:
    """Switch all answers from DATABASE off, in running services too."""
    from gigafactory import api

    api.switch_answers(database, off=reason)
    click.echo("answers are off")


@command.command("start")
@database_argument
def start(database: Path) -> None:
    """Switch answers on again."""
    from gigafactory import api

    api.switch_answers(database, off=None)
    click.echo("answers are on")


@command.command("score")
@click.argument(
    "lots",
    nargs=-1,
    type=click.Choice(_LOTS),
)
@json_option
def score(lots: tuple[str, ...], as_json: bool) -> None:
    """Judge the project's own claims and sources; precision and recall of "supported" by lot."""
    from gigafactory import api

    scores = api.score_support(lots)
    if as_json:
        print_json(scores)
        return
    click.echo(f"{'lot':<12} {'cases':>5} {'precision':>10} {'recall':>7}")
    for lot, found in scores.items():
        shown = [
            f"{found[key]:.2f}" if found[key] is not None else "-"
            for key in ("precision", "recall")
        ]
        click.echo(f"{lot:<12} {found['num_cases']:>5} {shown[0]:>10} {shown[1]:>7}")


@command.command("rate")
@click.argument("ratings", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def rate(ratings: Path, as_json: bool) -> None:
    """Rate answers by bridging, from a database of posts (what was rated on the page) or from JSON
    lines of user, note and value (0, 0.5, 1)."""
    from gigafactory import api

    rated = api.rate_answers(ratings)
    if as_json:
        print_json(rated)
        return
    if not rated:
        click.echo("nothing has been rated yet")
    for one in rated:
        told = f"{one['intercept']:+.2f}, {one['num_ratings']} ratings"
        click.echo(f"{one['note']}: {one['status']} ({told})")
