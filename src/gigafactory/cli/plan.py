"""`giga plan`: the best layout and why it wins."""

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


@click.command("plan")
@study_argument
@set_option
@json_option
@dir_option("Also keep plan.json in this folder, for the report.")
def command(study: Path, overrides: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """Search every legal layout of STUDY and print the fastest, with reasons.

    Example: giga plan studies/colossus.yaml
    """
    from gigafactory import api
    from gigafactory.cli.show import show_plan

    with working("searching every legal layout"):
        found, search_s = api.plan(study, overrides=overrides)
    document = found.to_json() | {"search_s": round(search_s, 3)}
    if folder:
        keep_json(folder / api.PLAN_FILE, document)
    if as_json:
        print_json(document)
    else:
        show_plan(document)
