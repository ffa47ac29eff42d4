"""`giga simulate`: the twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from gigafactory.describe.errors import InputError

if TYPE_CHECKING:
    from gigafactory.describe.study import Study
    from gigafactory.plan.chosen import Plan
    from gigafactory.simulate.ensemble import CampaignFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What every kind of answer needs to know."""

    study: Path
    overrides: tuple[str, ...]
    seed: int
    as_json: bool
    folder: Path | None

    def plan(self) -> Plan:
        """The plan, kept where a folder is named."""
        from gigafactory import api

        found, search_s = api.plan(self.study, overrides=self.overrides)
        document = found.to_json() | {"search_s": round(search_s, 3)}
        self.keep(api.PLAN_FILE, document)
        return found

    def keep(self, name: str, document: dict[str, Any]) -> None:
        """Write a document into the folder, if one is named."""
        if self.folder:
            keep_json(self.folder / name, document)

    def tell(self, document: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
        """The result on stdout, for a program or for a person."""
        if self.as_json:
            print_json(document)
        else:
            show(document)


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
@click.option(
    "--campaigns",
    type=click.IntRange(min=1),
    metavar="N",
    help="Follow N campaigns (seeds SEED, SEED + 1, ...): P10, P50 and P90 of every figure.",
)
@click.option(
    "--sweep",
    "axes",
    multiple=True,
    metavar="PATH=A,B,...",
    help="Follow the campaign for each value, with the same dice (repeatable: a grid).",
)
@click.option(
    "--answers",
    is_flag=True,
    help="What to change: other recovery, spares, repair, checkpoints, in days and dollars.",
)
@json_option
@dir_option("Also keep plan.json and what was found in this folder, for the report.")
def command(
    study: Path,
    *,
    overrides: tuple[str, ...],
    seed: int,
    campaigns: int | None,
    axes: tuple[str, ...],
    answers: bool,
    as_json: bool,
    folder: Path | None,
) -> None:
    """Follow STUDY's campaign on the full cluster: failures, spares, checkpoints, power, bill.

    Example: giga simulate studies/colossus.yaml --seed 1
    """
    asked = _Asked(study=study, overrides=overrides, seed=seed, as_json=as_json, folder=folder)
    if axes and answers:
        raise InputError("--answers varies by itself what --sweep would; leave one of them out")
    if axes:
        _sweep(asked, axes, campaigns)
    elif answers:
        _decisions(asked, campaigns)
    elif campaigns:
        _ensemble(asked, campaigns)
    else:
        _one(asked)


def _one(asked: _Asked) -> None:
    from gigafactory import api
    from gigafactory.cli.campaign import show_twin

    plan, study = asked.plan(), api.load(asked.study, overrides=asked.overrides)
    path = asked.folder / api.TWIN_FILE if asked.folder else None
    with working("following the campaign"):
        told = api.follow(study, plan=plan, seed=asked.seed, ledger_path=path)
        plain, why_not = _plainly(study, plan=plan, seed=asked.seed)
    document = told.result.to_json() | told.course.to_json()
    figures = api.figures(study, told.result)
    document |= {"job_days": figures.job_days, "job_usd": figures.job_usd}
    document |= {"recovery": study.policy.recovery.value, "plain": plain and asdict(plain)}
    document |= {"gpus_per_host": study.cluster.host.num_gpus}
    document |= {"power_hours": told.power.to_json()}
    asked.keep(api.RESULT_FILE, document)
    asked.tell(document, show_twin)
    if why_not:
        click.echo(f"Plain checkpoint and restart stands not beside it: {why_not}", err=True)


def _plainly(study: Study, *, plan: Plan, seed: int) -> tuple[CampaignFigures | None, str]:
    """Plain checkpoint and restart, or why it never comes to an end."""
    from gigafactory import api

    try:
        return api.plainly(study, plan=plan, seed=seed), ""
    except InputError as error:
        return None, str(error)


def _ensemble(asked: _Asked, num_campaigns: int) -> None:
    from gigafactory import api
    from gigafactory.cli.answers import show_ensemble
    from gigafactory.cli.progress import Counting

    plan = asked.plan()
    with Counting("following campaigns") as counting:
        found = api.ensemble(
            asked.study,
            num_campaigns=num_campaigns,
            plan=plan,
            seed=asked.seed,
            overrides=asked.overrides,
            watch=counting.show,
        )
    document = found.to_json()
    asked.keep(api.ENSEMBLE_FILE, document)
    asked.tell(document, show_ensemble)


def _sweep(asked: _Asked, axes: tuple[str, ...], num_campaigns: int | None) -> None:
    from gigafactory import api
    from gigafactory.cli.answers import show_sweep
    from gigafactory.cli.progress import Counting

    with Counting("following campaigns") as counting:
        found = api.sweep(
            asked.study,
            axes=axes,
            num_campaigns=num_campaigns or api.SWEEP_CAMPAIGNS,
            seed=asked.seed,
            overrides=asked.overrides,
            watch=counting.show,
        )
    document = found.to_json()
    asked.keep(api.sweep_file(axis.path for axis in found.axes), document)
    asked.tell(document, show_sweep)


def _decisions(asked: _Asked, num_campaigns: int | None) -> None:
    from gigafactory import api
    from gigafactory.cli.answers import show_decisions
    from gigafactory.cli.progress import Counting

    plan = asked.plan()
    with Counting("following campaigns") as counting:
        found = api.answers(
            asked.study,
            num_campaigns=num_campaigns or api.ANSWERS_CAMPAIGNS,
            plan=plan,
            seed=asked.seed,
            overrides=asked.overrides,
            watch=counting.show,
        )
    document = found.to_json()
    asked.keep(api.DECISIONS_FILE, document)
    asked.tell(document, show_decisions)
