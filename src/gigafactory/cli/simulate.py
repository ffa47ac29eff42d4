"""`giga simulate`: the twin."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gigafactory.cli.common import (
    dir_option,
    json_option,
    print_json,
    set_option,
    study_argument,
    working,
)
from gigafactory.describe.errors import ImpossibleError, InputError

if TYPE_CHECKING:
    from gigafactory.api import Drafts
    from gigafactory.describe.study import Study
    from gigafactory.plan.chosen import Plan
    from gigafactory.simulate.ensemble import CampaignFigures


Found = TypeVar("Found")
#: A document, and how a person is shown it.
Told = tuple[dict[str, Any], Callable[[dict[str, Any]], None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What every kind of answer needs to know."""

    study: Path
    overrides: tuple[str, ...]
    seed: int
    drafts: Drafts | None
    """Of the folder that keeps what is found."""

    def plan(self) -> Plan:
        """The plan, kept where a folder is named."""
        from gigafactory import api

        found, search_s = api.plan(self.study, overrides=self.overrides)
        document = found.to_json() | {"search_s": round(search_s, 3)}
        self.keep(api.PLAN_FILE, document)
        return found

    def keep(self, name: str, document: dict[str, Any]) -> None:
        """A document for the folder, if one is named."""
        if self.drafts:
            self.drafts.document(name, document)

    def place(self, name: str) -> Path | None:
        """Where to write a file of the folder, if one is named."""
        return self.drafts.place(name) if self.drafts else None


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

    A study of a service (serve) is followed through its day, request by request.

    Example: giga simulate studies/colossus.yaml --seed 1
    """
    if axes and answers:
        raise InputError("--answers varies by itself what --sweep would; leave one of them out")
    with _keeping(folder) as drafts:
        asked = _Asked(study=study, overrides=overrides, seed=seed, drafts=drafts)
        told, show = _answer(asked, campaigns=campaigns, axes=axes, answers=answers)
    if as_json:
        print_json(told)
    else:
        show(told)


def _keeping(folder: Path | None) -> AbstractContextManager[Drafts | None]:
    """The folder's files appear when all is done, and together."""
    from gigafactory import api

    return api.together(folder) if folder else nullcontext()


def _answer(asked: _Asked, *, campaigns: int | None, axes: tuple[str, ...], answers: bool) -> Told:
    from gigafactory import api

    if api.is_service(asked.study, overrides=asked.overrides):
        if campaigns or axes:
            raise InputError("--campaigns and --sweep are for a training job; this study serves")
        return _service_in_ways(asked) if answers else _service(asked)
    if axes:
        return _sweep(asked, axes, campaigns)
    if answers:
        return _decisions(asked, campaigns)
    if campaigns:
        return _ensemble(asked, campaigns)
    return _one(asked)


def _service(asked: _Asked) -> Told:
    from gigafactory import api
    from gigafactory.cli.fleet import show_service

    study = api.load_any(asked.study, overrides=asked.overrides)
    plan, search_s = api.plan_service(study)
    asked.keep(api.FLEET_PLAN_FILE, plan.to_json() | {"search_s": round(search_s, 3)})
    with working("following the fleet through its day"):
        outcome = api.simulate_service(study, plan=plan.best, seed=asked.seed)
    document = {"study": plan.study, "seed": asked.seed} | outcome.to_json()
    asked.keep(api.FLEET_FILE, document | {"moments": [asdict(m) for m in outcome.moments]})
    return document, show_service


def _service_in_ways(asked: _Asked) -> Told:
    from gigafactory import api
    from gigafactory.cli.fleet import show_variants

    study = api.load_any(asked.study, overrides=asked.overrides)
    with working("following the fleet through its day, in three ways"):
        variants = api.vary_service(study, seed=asked.seed)
    told = [variant.to_json() for variant in variants]
    document = {"study": study.study, "seed": asked.seed, "variants": told}
    return document, show_variants


def _one(asked: _Asked) -> Told:
    from gigafactory import api
    from gigafactory.cli.campaign import show_twin

    plan, study = asked.plan(), api.load(asked.study, overrides=asked.overrides)
    with working("following the campaign"):
        told = api.follow(study, plan=plan, seed=asked.seed, ledger_path=asked.place(api.TWIN_FILE))
        plain, why_not = _plainly(study, plan=plan, seed=asked.seed)
    document = told.result.to_json() | told.course.to_json()
    figures = api.figures(study, told.result)
    document |= {"job_days": figures.job_days, "job_usd": figures.job_usd}
    document |= {"recovery": study.policy.recovery.value, "plain": plain and asdict(plain)}
    document |= {"gpus_per_host": study.cluster.host.num_gpus}
    document |= {"power_hours": told.power.to_json()}
    asked.keep(api.RESULT_FILE, document)
    if why_not:
        click.echo(f"Plain checkpoint and restart does not stand beside it: {why_not}", err=True)
    return document, show_twin


def _plainly(study: Study, *, plan: Plan, seed: int) -> tuple[CampaignFigures | None, str]:
    """Plain checkpoint and restart, or why it never comes to an end."""
    from gigafactory import api

    try:
        return api.plainly(study, plan=plan, seed=seed), ""
    except ImpossibleError as error:
        return None, str(error)


def _many(asked: _Asked, verb: Callable[..., Found], **own: Any) -> Found:
    """What ``verb`` finds by following campaigns of the study, with a bar that shows how far."""
    from gigafactory.cli.progress import Counting

    with Counting("following campaigns") as counting:
        return verb(
            asked.study, seed=asked.seed, overrides=asked.overrides, watch=counting.show, **own
        )


def _ensemble(asked: _Asked, num_campaigns: int) -> Told:
    from gigafactory import api
    from gigafactory.cli.answers import show_ensemble

    found = _many(asked, api.ensemble, num_campaigns=num_campaigns, plan=asked.plan())
    document = found.to_json()
    asked.keep(api.ENSEMBLE_FILE, document)
    return document, show_ensemble


def _sweep(asked: _Asked, axes: tuple[str, ...], num_campaigns: int | None) -> Told:
    from gigafactory import api
    from gigafactory.cli.answers import show_sweep

    found = _many(asked, api.sweep, axes=axes, num_campaigns=num_campaigns or api.SWEEP_CAMPAIGNS)
    document = found.to_json()
    asked.keep(api.sweep_file(axis.path for axis in found.axes), document)
    return document, show_sweep


def _decisions(asked: _Asked, num_campaigns: int | None) -> Told:
    from gigafactory import api
    from gigafactory.cli.answers import show_decisions

    num_campaigns = num_campaigns or api.ANSWERS_CAMPAIGNS
    found = _many(asked, api.answers, num_campaigns=num_campaigns, plan=asked.plan())
    document = found.to_json()
    asked.keep(api.DECISIONS_FILE, document)
    return document, show_decisions
