"""`giga replay`: the same brain on a recorded ledger."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import json_option, print_json, working
from gigafactory.describe.errors import JobError


@click.command("replay")
@click.argument("ledger", type=click.Path(path_type=Path))
@json_option
def command(ledger: Path, as_json: bool) -> None:
    """Feed the events of LEDGER, real or simulated, to the controller again.

    Prints whether every action and state hash is the same, or the first difference (status 1).

    Example: giga replay runs/first-light/ledger.jsonl
    """
    from gigafactory import api

    with working("feeding the ledger to the controller"):
        result = api.replay(ledger)
    if as_json:
        print_json(result.to_json())
    else:
        click.echo(result.text())
    if not result.same:
        raise JobError(f"{ledger}: the controller acts differently from the record")
