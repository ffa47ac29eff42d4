"""`giga run`: the world."""

from __future__ import annotations

from pathlib import Path

import click

from gigafactory.cli.common import (
    dir_option,
    json_option,
    print_json,
    set_option,
    study_argument,
)
from gigafactory.describe.errors import JobError

#: as api.run knows them, whose import would make --help slow
_PLACES = ("local", "slurm")


@click.command("run")
@study_argument
@set_option
@click.option("--fresh", is_flag=True, help="Begin anew; removes what the folder holds of a run.")
@click.option(
    "--on",
    "place",
    type=click.Choice(_PLACES),
    default="local",
    show_default=True,
    help="This machine, or a job of the Slurm cluster at hand.",
)
@json_option
@dir_option("Where the run lives (default: runs/ and the study's name).")
def command(
    study: Path,
    *,
    overrides: tuple[str, ...],
    fresh: bool,
    place: str,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Really train STUDY, through whatever happens on the way.

    Killed workers are started again from the last committed checkpoint. Ctrl-C stops at the next
    checkpoint, and the same command goes on from there.

    Example: giga run studies/first-light.yaml
    """
    from gigafactory import api
    from gigafactory.cli.progress import Screen
    from gigafactory.cli.show import show_run

    with Screen() as screen:
        result = api.run(
            study, folder=folder, fresh=fresh, overrides=overrides, observer=screen.show, on=place
        )
    if as_json:
        print_json(result.to_json())
    else:
        show_run(result.to_json())
    if result.outcome != "done":
        again = "the same command goes on from there"
        raise JobError(f"{result.outcome} at step {result.steps}: {result.reason or again}")
