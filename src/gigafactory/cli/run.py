"""`giga run`: the world."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gigafactory.cli.common import (
    dir_option,
    json_option,
    print_json,
    set_option,
    study_argument,
    working,
)
from gigafactory.describe.errors import InputError, JobError

if TYPE_CHECKING:
    from gigafactory.run.launchers.rental import Quote

#: as api.run knows them, whose import would make --help slow
_PLACES = ("local", "slurm", "ray", "kubernetes", "oci")
#: Where our driver sits beside the job; elsewhere the scheduler carries out the whole job.
_DRIVEN = ("local", "slurm", "ray")
_ALONE = ("ray", "kubernetes", "oci")
_ENGINES = ("ours", "torchtitan", "megatron")


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
    help="This machine, a job of the Slurm or Ray cluster at hand, Kubernetes, rented hosts.",
)
@click.option(
    "--engine",
    type=click.Choice(_ENGINES),
    default="ours",
    show_default=True,
    help="The training program; others than ours with --on ray, kubernetes or oci.",
)
@click.option(
    "--render",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write what --on would be asked for into this folder, and ask for nothing.",
)
@click.option(
    "--yes-rent",
    "yes_usd_per_h",
    type=click.FloatRange(min=0),
    metavar="USD_PER_HOUR",
    help="Rent hosts (--on oci) up to this price; without it nothing is rented unasked.",
)
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
    study: Path,
    *,
    overrides: tuple[str, ...],
    fresh: bool,
    place: str,
    engine: str,
    out: Path | None,
    yes_usd_per_h: float | None,
    seed: int | None,
    faults: int,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Really train STUDY, through whatever happens on the way.

    Killed workers are started again from the last committed checkpoint; with policy.recovery
    replicas the other groups go on meanwhile. Ctrl-C stops at the next checkpoint, and the same
    command goes on from there.

    Example: giga run studies/first-light.yaml
    """
    from gigafactory import api

    if seed is not None and place != "local":
        raise InputError("--chaos shoots at a run on this machine; leave --on away")
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

    if out or engine != "ours" or place not in _DRIVEN:
        _elsewhere(
            study, overrides, place=place, engine=engine, out=out, yes_usd_per_h=yes_usd_per_h,
            as_json=as_json, folder=folder,
        )  # fmt: skip
        return
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


def _elsewhere(
    study: Path,
    overrides: tuple[str, ...],
    *,
    place: str,
    engine: str,
    out: Path | None,
    yes_usd_per_h: float | None,
    as_json: bool,
    folder: Path | None,
) -> None:
    """A job that the scheduler carries out by itself, or what it would be asked for."""
    from gigafactory import api

    if place not in _ALONE:
        raise InputError(
            f"--on {place} runs our own engine only, and renders nothing; --engine and --render go "
            f"with --on {', '.join(_ALONE)}"
        )
    with working("searching every legal layout"):
        order = api.ordered(study, engine=engine, overrides=overrides)
    for note in order.program.notes:
        click.echo(note, err=True)
    if out:
        paths = [str(path) for path in api.rendered(order, on=place, out=out)]
        print_json(paths) if as_json else click.echo("\n".join(paths))
        return
    sent = api.send(
        order,
        on=place,
        folder=folder,
        tell=lambda words: click.echo(words, err=True),
        yes_usd_per_h=yes_usd_per_h,
        confirm=_confirm if sys.stdin.isatty() else None,
    )
    if as_json:
        print_json(sent.to_json())
    else:
        click.echo(f"{sent.engine} on {sent.num_hosts} hosts of {place}: {sent.status.state}")


def _confirm(quote: Quote) -> bool:
    return click.confirm(f"{quote.sentence()}. Rent them?", err=True)


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
