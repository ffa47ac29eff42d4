"""`giga describe`: count the factory."""

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
)


@click.command("describe")
@study_argument
@set_option
@click.option("--why", metavar="KEY", help="Formula and source of one figure.")
@json_option
@dir_option("Also keep description.json in this folder, for the report.")
def command(
    study: Path, overrides: tuple[str, ...], why: str | None, as_json: bool, folder: Path | None
) -> None:
    """Count STUDY's factory: hosts, racks, switches, optics, megawatts, price, rent, carbon.

    Example: giga describe studies/colossus.yaml --why capex_usd
    """
    from gigafactory import api
    from gigafactory.cli.show import show_description, show_figure

    description = api.describe(study, overrides=overrides)
    if folder:
        keep_json(folder / api.DESCRIPTION_FILE, description.to_rows())
    if why:
        show_figure(description.figure(why), as_json=as_json)
    elif as_json:
        print_json(description.to_json())
    else:
        show_description(description)
