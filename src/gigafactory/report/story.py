"""The page of one study: headline, then the chapters in the order in which one asks."""

from __future__ import annotations

from collections.abc import Iterable

from gigafactory.describe.figures import Figure
from gigafactory.report.blocks import Chapter, StudyPage, Tile
from gigafactory.report.chapters import campaign, decisions
from gigafactory.report.chapters.answers import answers
from gigafactory.report.chapters.comparison import comparison
from gigafactory.report.chapters.factory import factory
from gigafactory.report.chapters.plan import plan
from gigafactory.report.chapters.pool import pool
from gigafactory.report.chapters.power import power
from gigafactory.report.folder import Campaign, Folder
from gigafactory.report.numbers import Quantity, percent, with_unit, write
from gigafactory.units import plural

#: Figures of the description that tell a stranger what this is about.
_LEAD_KEYS = ("num_hosts", "num_gpus", "num_parameters", "num_active_parameters", "num_steps")
_NO_BREAK = "\N{NO-BREAK SPACE}"
_TILE_KEYS = ("site_training_w", "capex_usd")


def tell(folder: Folder) -> StudyPage:
    """Headline and chapters of a run folder."""
    campaigns = _campaigns(folder)
    chapters: Iterable[Chapter | None] = (
        comparison(folder.plan, campaigns),
        plan(folder.plan),
        campaign.goodput(campaigns),
        campaign.events(campaigns),
        decisions.causes(campaigns),
        decisions.spares(campaigns),
        decisions.decisions(folder),
        campaign.learning(campaigns),
        campaign.pace(folder.plan.best.step_s if folder.plan else None, campaigns),
        power(campaigns),
        pool(folder.result),
        answers(folder.answers),
        factory(folder.description),
    )
    return StudyPage(
        name=folder.name,
        lead=_lead(folder.description or ()),
        tiles=tuple(_tiles(folder)),
        chapters=tuple(chapter for chapter in chapters if chapter),
    )


def _campaigns(folder: Folder) -> dict[str, Campaign]:
    both = {"twin": folder.twin, "reality": folder.reality}
    return {who: campaign for who, campaign in both.items() if campaign}


def _lead(description: Iterable[Figure]) -> str:
    known = {figure.key: figure for figure in description}
    said = [_phrase(known[key]) for key in _LEAD_KEYS if key in known and known[key].value > 1]
    return ", ".join(said) + "." if said else ""


def _phrase(figure: Figure) -> str:
    value = with_unit(figure.value, figure.unit, key=figure.key)
    return f"{value.replace(' ', _NO_BREAK)} {figure.label}"


def _tiles(folder: Folder) -> Iterable[Tile]:
    known = {figure.key: figure for figure in folder.description or ()}
    for key in _TILE_KEYS:
        if key in known and known[key].value:
            value = with_unit(known[key].value, known[key].unit, key=key)
            yield Tile(origin="factory", tone="grey", value=value, label=known[key].label)
    if folder.plan:
        best = folder.plan.best
        yield _tile("plan", write(best.step_s, Quantity.TIME), "a step")
        yield _tile("plan", percent(best.mfu), "MFU")
    for who, run in _campaigns(folder).items():
        yield from _campaign_tiles(who, run)


def _campaign_tiles(who: str, run: Campaign) -> Iterable[Tile]:
    yield _tile(
        who, percent(run.summary.goodput), f"goodput over {write(run.trace.end_s, Quantity.TIME)}"
    )
    number, noun = plural(run.summary.num_interruptions, "interruption").split()
    yield _tile(who, number, noun)
    kept = [loss for loss in run.trace.losses if not loss.redone]
    if kept:
        yield _tile(who, f"{kept[-1].loss:.2f} nats", f"loss after {plural(kept[-1].step, 'step')}")


_TONES = {"plan": "orange", "twin": "blue", "reality": "green"}


def _tile(origin: str, value: str, label: str) -> Tile:
    return Tile(origin=origin, tone=_TONES[origin], value=value, label=label)
