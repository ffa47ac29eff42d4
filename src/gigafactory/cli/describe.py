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

#: as api.configure knows them: the topology of the second is made of blocks
_SCHEDULERS = ("slurm", "slurm-block")


@click.command("describe")
@study_argument
@set_option
@click.option("--why", metavar="KEY", help="Formula and source of one figure.")
@click.option(
    "--emit",
    "scheduler",
    type=click.Choice(_SCHEDULERS),
    help="Print the configuration of this scheduler for the cluster, with its topology.",
)
@json_option
@dir_option("Also keep description.json, or what is emitted, in this folder.")
def command(
    study: Path,
    *,
    overrides: tuple[str, ...],
    why: str | None,
    scheduler: str | None,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Count STUDY's factory: hosts, racks, switches, optics, megawatts, price, rent, carbon.

    Example: giga describe studies/colossus.yaml --why capex_usd
    """
    from gigafactory import api
    from gigafactory.cli.show import show_description, show_figure, show_files

    if scheduler:
        show_files(
            api.configure(study, scheduler=scheduler, folder=folder, overrides=overrides),
            as_json=as_json,
        )
        return
    description = api.describe(study, overrides=overrides)
    if folder:
        keep_json(folder / api.DESCRIPTION_FILE, description.to_rows())
    if why:
        show_figure(description.figure(why), as_json=as_json)
    elif as_json:
        print_json(description.to_json())
    else:
        show_description(description)
