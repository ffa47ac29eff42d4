"""`giga simulate`: the twin."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import (
    dir_option,
    json_option,
    keep_json,
    print_json,
    set_option,
    study_argument,
    working,
)


@click.command("simulate")
@study_argument
@set_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Same study and seed, same bytes.",
)
@json_option
@dir_option("Also keep plan.json and the twin's ledger (twin.jsonl) in this folder.")
def command(
    study: Path, overrides: tuple[str, ...], seed: int, as_json: bool, folder: Path | None
) -> None:
    """Follow STUDY's campaign on the full cluster: failures, spares, checkpoints, power, bill.

    Example: giga simulate studies/colossus.yaml --seed 1
    """
    from gigafactory import api
    from gigafactory.cli.show import show_campaign

    found, search_s = api.plan(study, overrides=overrides)
    ledger_path = folder / api.TWIN_FILE if folder else None
    if folder:
        keep_json(folder / api.PLAN_FILE, found.to_json() | {"search_s": round(search_s, 3)})
    with working("following the campaign"):
        result = api.simulate(
            study, plan=found, seed=seed, overrides=overrides, ledger_path=ledger_path
        )
    if as_json:
        print_json(result.to_json())
    else:
        show_campaign(result.to_json())
