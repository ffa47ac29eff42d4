"""What a person decides: causes to fight, spares to keep, what another choice would change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gigafactory.ledger.away import Spares
from gigafactory.ledger.blame import Blamed
from gigafactory.report.axes import Axis, Tick, plain, time_axis, value_axis
from gigafactory.report.blocks import Block, Chapter, Chart, Table, TableRow, rows
from gigafactory.report.documents import (
    DecisionsDocument,
    EffectDocument,
    EnsembleDocument,
    Setting,
    SweepDocument,
)
from gigafactory.report.figures import percent_tick
from gigafactory.report.folder import Campaign, Folder
from gigafactory.report.numbers import Quantity, percent, write
from gigafactory.report.record import words
from gigafactory.report.svg import Frame, bars, chart, line, step_line
from gigafactory.units import DAY_S, HOUR_S, plural

#: In place of days of a job of which nothing was kept.
NO_STEP = "no step kept"
_MOST_CAUSES = 15
_MOST_LEVELS = 1500


def causes(campaigns: Mapping[str, Campaign]) -> Chapter | None:
    """What each cause cost; no chapter where nothing stopped."""
    tables = [
        Table(
            title=who,
            heads=("cause", "faults", "stops", "mean stop", "GPU time lost"),
            rows=tuple(_cause(one, campaign) for one in costly[:_MOST_CAUSES]),
            note=_others(costly[_MOST_CAUSES:], campaign),
        )
        for who, campaign in campaigns.items()
        if (costly := [one for one in campaign.course.causes if one.lost_gpu_s > 0])
    ]
    if not tables:
        return None
    return Chapter(
        key="causes",
        title="What each cause cost",
        intro="Standing still, work done again, work held up: booked to the fault that began it.",
        blocks=tuple(tables),
    )


def _cause(one: Blamed, campaign: Campaign) -> TableRow:
    mean = write(one.down_s / one.num_stops, Quantity.TIME) if one.num_stops else ""
    name = words(one.cause)
    lost = percent(_lost_share(one, campaign))
    return TableRow(cells=(name, f"{one.num_faults:,}", f"{one.num_stops:,}", mean, lost))


def _lost_share(one: Blamed, campaign: Campaign) -> float:
    whole_gpu_s = campaign.opened.num_gpus * campaign.summary.wall_s
    return one.lost_gpu_s / whole_gpu_s if whole_gpu_s else 0.0


def _others(rest: list[Blamed], campaign: Campaign) -> str:
    if not rest:
        return ""
    lost = sum(_lost_share(one, campaign) for one in rest)
    return f"{plural(len(rest), 'other cause')} together: {percent(lost)}."


def spares(campaigns: Mapping[str, Campaign]) -> Chapter | None:
    """Hosts in repair along time against the spares there are; no chapter without either."""
    charts = [
        _pool(who, pool, end_s=campaign.trace.end_s)
        for who, campaign in campaigns.items()
        if (pool := campaign.course.spares) and (pool.num_spares or pool.away_most)
    ]
    if not charts:
        return None
    return Chapter(key="spares", title="The spare pool", blocks=tuple(charts))


def _pool(who: str, pool: Spares, *, end_s: float) -> Chart:
    frame = Frame(
        x=time_axis(end_s),
        y=value_axis([0, pool.num_spares, pool.away_most], text=plain, num_ticks=3),
        height_px=150,
    )
    stride = len(pool.levels) // _MOST_LEVELS + 1
    away = [(at_s, float(level)) for at_s, level in pool.levels[::stride]]
    limit = [(0.0, float(pool.num_spares)), (end_s, float(pool.num_spares))]
    return Chart(
        title=f"{who}: hosts in repair",
        subtitle=(
            f"{pool.away_p50:,} half of the time, {pool.away_p99:,} at P99; "
            f"{pool.empty_s / HOUR_S:,.1f} h without a spare"
        ),
        svg=chart(
            frame,
            [step_line(frame, away, tone="blue"), line(frame, limit, tone="red")],
            alt=f"{who}: hosts in repair along time",
        ),
        legend=(("blue", "in repair"), ("red", plural(pool.num_spares, "spare host"))),
    )


def decisions(folder: Folder) -> Chapter | None:
    """How sure it is, what to change, the trade-offs; no chapter where nothing was asked."""
    blocks: list[Block] = []
    if folder.ensemble:
        blocks.append(_intervals(folder.ensemble))
    if folder.decisions:
        blocks.append(_effects(folder.decisions))
    for sweep in folder.sweeps:
        blocks += _sweep(sweep)
    if not blocks:
        return None
    return Chapter(
        key="decisions",
        title="What to decide",
        intro="Campaigns of the twin, with the same seeds on every line, so that lines differ by "
        "the decision more than by luck (another number of hosts meets other faults). "
        "The whole job is all its tokens at a campaign's pace.",
        blocks=tuple(blocks),
    )


def _days(value: float) -> str:
    return write(value * DAY_S, Quantity.TIME)


_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("goodput", "goodput", percent),
    ("ettr", "ETTR", percent),
    ("tokens", "kept tokens", lambda v: write(v, Quantity.TOKENS)),
    ("job_days", "whole job", _days),
    ("job_usd", "whole job, rent", lambda v: write(v, Quantity.MONEY)),
    ("energy_j", "energy", lambda v: write(v, Quantity.ENERGY)),
    ("num_interruptions", "interruptions", lambda v: f"{v:,.0f}"),
    ("mttr_s", "time to recover", lambda v: write(v, Quantity.TIME)),
)


def _intervals(ensemble: EnsembleDocument) -> Table:
    known = [line for line in _FIGURES if line[0] in ensemble.quantiles]
    spreads = [ensemble.quantiles[key] for key, _, _ in known]
    return Table(
        title=plural(ensemble.num_campaigns, "campaign"),
        heads=("figure", "P10", "P50", "P90", "lowest", "highest"),
        rows=rows(
            (name, *(put(v) for v in (s.p10, s.p50, s.p90, s.low, s.high)))
            for (_, name, put), s in zip(known, spreads, strict=True)
        ),
        note=f"The worst one has seed {ensemble.worst_seed}.",
    )


def _effects(document: DecisionsDocument) -> Table:
    return Table(
        title="What to change",
        heads=("decision", "goodput", "points", "whole job", "rent"),
        rows=rows(_effect(effect) for effect in document.effects),
        note=" ".join(_notes(document)),
    )


def _notes(document: DecisionsDocument) -> Iterable[str]:
    yield f"{plural(document.base.num_campaigns, 'campaign')} each."
    for variant in document.left_out:
        yield f"Left out, {variant.name}: {variant.reason}."


def _effect(effect: EffectDocument) -> tuple[str, ...]:
    return (
        effect.name,
        percent(effect.goodput),
        f"{100 * effect.goodput_change:+.2f}",
        _signed(effect.job_days_change, _days),
        _signed(effect.job_usd_change, lambda v: write(v, Quantity.MONEY)),
    )


def _signed(value: float | None, put: Callable[[float], str]) -> str:
    if value is None:
        return NO_STEP
    return f"{'+' if value > 0 else '-'}{put(abs(value))}" if value else "none"


def _sweep(document: SweepDocument) -> Iterable[Block]:
    """The picture, and the figures below it."""
    paths = [axis.path for axis in document.axes]
    yield _picture(document, paths)
    told = f"{plural(document.num_campaigns, 'campaign')} a point"
    reasons = [f" {', '.join(one.settings.values())} is impossible: {one.impossible}."
               for one in document.points if one.impossible]  # fmt: skip
    yield Table(
        heads=(*paths, "GPUs", "spare hosts", "goodput", "whole job", "rent"),
        rows=tuple(
            TableRow(cells=_point(one, paths), mark="best" if _is_best(one, document) else "")
            for one in document.points
        ),
        note=f"{told}; cheapest: {', '.join(document.best)}.{''.join(reasons)}",
    )


def _is_best(one: Setting, document: SweepDocument) -> bool:
    return tuple(f"{path}={value}" for path, value in one.settings.items()) == document.best


def _point(one: Setting, paths: list[str]) -> tuple[str, ...]:
    values = tuple(one.settings[path] for path in paths)
    told = one.quantiles
    if told is None:
        return (*values, "", "", "impossible", "", "")
    return (
        *values,
        f"{one.num_training_gpus:,}",
        f"{one.num_spare_hosts:,}",
        percent(told["goodput"].p50),
        _days(told["job_days"].p50) if "job_days" in told else NO_STEP,
        write(told["job_usd"].p50, Quantity.MONEY) if "job_usd" in told else "",
    )


def _picture(document: SweepDocument, paths: list[str]) -> Chart:
    """Goodput at every point: the interval as a box, the median across it."""
    spreads = [
        (index, one.quantiles["goodput"])
        for index, one in enumerate(document.points)
        if one.quantiles
    ]
    ticks = tuple(
        Tick(value=index + 0.5, text=" ".join(one.settings.values()))
        for index, one in enumerate(document.points)
    )
    names = " and ".join(paths)
    frame = Frame(
        x=Axis(low=0, high=len(ticks), ticks=ticks, label=names),
        y=value_axis((v for _, s in spreads for v in (s.p10, s.p90)), text=percent_tick),
        height_px=190,
    )
    boxes = [(i + 0.3, i + 0.7, s.p10, s.p90) for i, s in spreads]
    medians = [line(frame, [(i + 0.3, s.p50), (i + 0.7, s.p50)], tone="blue")
               for i, s in spreads]  # fmt: skip
    return Chart(
        title=f"Goodput by {names}",
        subtitle="P10 to P90 of the campaigns, the median as a line",
        svg=chart(
            frame, [bars(frame, boxes, tone="blue-pale"), *medians], alt=f"Goodput by {names}"
        ),
    )
