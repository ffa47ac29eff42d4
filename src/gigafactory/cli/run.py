"""`giga run`: the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gigafactory.cli.common import (
    dir_option,
    json_option,
    print_json,
    set_option,
    study_argument,
)
from gigafactory.describe.errors import JobError


@click.command("run")
@study_argument
@set_option
@click.option("--fresh", is_flag=True, help="Begin anew; removes what the folder holds of a run.")
@click.option(
    "--chaos",
    "seed",
    type=click.IntRange(min=0),
    metavar="SEED",
    help="Shoot at the run from outside, as the seed says, and hold it to its laws.",
)
@click.option(
    "--faults",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="With --chaos: how often it is shot at.",
)
@json_option
@dir_option("Where the run lives (default: runs/ and the study's name, or chaos-SEED).")
def command(
    *,
    study: Path,
    overrides: tuple[str, ...],
    fresh: bool,
    seed: int | None,
    faults: int,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Really train STUDY on this machine, through whatever happens on the way.

    Killed workers are started again from the last committed checkpoint. Ctrl-C stops at the next
    checkpoint, and the same command goes on from there.

    Example: giga run studies/first-light.yaml
    """
    from gigafactory import api

    if seed is not None:
        soak = api.chaos(
            study,
            seed=seed,
            num_faults=faults,
            folder=folder,
            fresh=fresh,
            overrides=overrides,
            watcher=lambda words: click.echo(words, err=True),
        )
        _show_soak(soak.to_json(), as_json=as_json)
        return
    from gigafactory.cli.progress import Screen
    from gigafactory.cli.show import show_run

    with Screen() as screen:
        result = api.run(
            study, folder=folder, fresh=fresh, overrides=overrides, observer=screen.show
        )
    if as_json:
        print_json(result.to_json())
    else:
        show_run(result.to_json())
    if result.outcome != "done":
        again = "the same command goes on from there"
        raise JobError(f"{result.outcome} at step {result.steps}: {result.reason or again}")


def _show_soak(soak: dict[str, Any], *, as_json: bool) -> None:
    """The figures of a soak; JobError where a law was broken."""
    broken = soak["broken"]
    if as_json:
        print_json(soak)
    else:
        for name, value in soak.items():
            if name != "broken":
                click.echo(f"{name:20} {value}")
    if broken:
        raise JobError("laws were broken:\n  " + "\n  ".join(broken))
