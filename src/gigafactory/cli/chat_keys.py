"""`giga chat keys`: who may ask a served chat."""

from __future__ import annotations

import click

from gigafactory.cli.common import json_option, print_json

store_option = click.option(
    "--store", required=True, envvar="GIGA_CHAT_STORE", metavar="FILE|URL",
    help="The service's store: a SQLite file or postgresql://...",
)  # fmt: skip
_LIMIT = click.IntRange(min=1)


@click.group("keys")
def command() -> None:
    """Add, list and revoke keys, also while the service runs.

    Example: giga chat keys add alice --store chat.db --budget 1000000
    """


@command.command("add")
@click.argument("name")
@store_option
@click.option("--scope", "scopes", multiple=True,
              type=click.Choice(["chat", "embeddings", "models", "metrics", "audit"]),
              help="What it opens; without: chat, embeddings, models (repeatable).")  # fmt: skip
@click.option("--requests-per-min", type=_LIMIT, help="The most requests a minute.")
@click.option("--tokens-per-min", type=_LIMIT, help="The most tokens a minute.")
@click.option("--budget", "budget_tokens", type=_LIMIT, help="The most tokens in a --period.")
@click.option("--period", type=click.Choice(["day", "month", "lifetime"]), default="month",
              show_default=True, help="After which the budget begins anew (UTC).")  # fmt: skip
@json_option
def add(
    *,
    name: str,
    store: str,
    scopes: tuple[str, ...],
    requests_per_min: int | None,
    tokens_per_min: int | None,
    budget_tokens: int | None,
    period: str,
    as_json: bool,
) -> None:
    """Make a key for NAME and print it: this once, only its hash is kept."""
    from gigafactory import api

    made = api.add_key(
        store,
        name,
        scopes=scopes,
        requests_per_min=requests_per_min,
        tokens_per_min=tokens_per_min,
        budget_tokens=budget_tokens,
        budget_period=period,
    )
    if as_json:
        print_json(made)
        return
    click.echo(made["key"])
    click.echo(f"{made['id']} for {made['name']}; the key is not kept, note it now", err=True)


@command.command("list")
@store_option
@json_option
def list_(store: str, as_json: bool) -> None:
    """Show all keys and the tokens that each has used."""
    from gigafactory import api

    keys = api.list_keys(store)
    if as_json:
        print_json(keys)
        return
    click.echo(f"{'id':<15} {'name':<20} {'used tokens':>12} {'budget':>12}  state")
    for key in keys:
        budget = key["budget_tokens"]
        shown = "none" if budget is None else f"{budget}/{key['budget_period']}"
        state = "good" if key["revoked_s"] is None else "revoked"
        click.echo(
            f"{key['id']:<15} {key['name']:<20} {key['used_tokens']:>12} {shown:>12}  {state}"
        )


@command.command("revoke")
@click.argument("ident", metavar="ID")
@store_option
def revoke(ident: str, store: str) -> None:
    """End the key ID at once, answers under way included."""
    from gigafactory import api

    api.revoke_key(store, ident)
    click.echo(f"{ident} is revoked")
