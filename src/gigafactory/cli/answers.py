"""What many campaigns come to, on stdout: intervals, trade-offs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from gigafactory.cli.show import put, table
from gigafactory.units import DAY_S, KWH_J, show, show_time

Spread = dict[str, float]


def days(value: float) -> str:
    """``93.4 days``, and years where there are many."""
    return show_time(value * DAY_S)


def dollars(value: float) -> str:
    """``2.16 G$``."""
    return show(value, "$")


def share(value: float) -> str:
    """``95.3%``."""
    return f"{value:.1%}"


def number(value: float) -> str:
    """A count, or the mean of some."""
    return f"{value:,.0f}"


def tonnes(value_kg: float) -> str:
    """``63,700 t``."""
    return f"{value_kg / 1e3:,.0f} t"


def watt_hours(value_j: float) -> str:
    """``225 GWh``."""
    return show(value_j / KWH_J * 1e3, "Wh")


def tokens(value: float) -> str:
    """``46.6 T``."""
    return show(value, "").strip()


#: figure of an ensemble -> (what it is called, how it is written)
_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "goodput": ("goodput", share),
    "ettr": ("ETTR", share),
    "days": ("followed", days),
    "tokens": ("kept tokens", tokens),
    "job_days": ("whole job", days),
    "job_usd": ("whole job, rent", dollars),
    "cost_usd": ("rent", dollars),
    "energy_j": ("energy", watt_hours),
    "carbon_kg": ("CO2", tonnes),
    "num_interruptions": ("interruptions", number),
    "mtbf_s": ("MTBF", show_time),
    "mttr_s": ("MTTR", show_time),
    "num_evicted_hosts": ("hosts to repair", number),
}
_COLUMNS = {"p10": "P10", "p50": "P50", "p90": "P90", "low": "lowest", "high": "highest"}


def show_ensemble(document: dict[str, Any]) -> None:
    """A line a figure with its quantiles, where the time goes, and which campaign is the worst."""
    quantiles: dict[str, Spread] = document["quantiles"]
    count, first = document["num_campaigns"], document["first_seed"]
    title = f"{count:,} campaigns of {document['study']} (seeds {first} to {first + count - 1})"
    rows = (
        (name, *(write(quantiles[key][column]) for column in _COLUMNS))
        for key, (name, write) in _FIGURES.items()
        if key in quantiles
    )
    put(table(title, ("", *_COLUMNS.values()), rows))
    put(table("Where the time goes, in the mean", ("", ""), _lost(document["lost_shares"])))
    click.echo(_ends(document["outcomes"], count))
    good = quantiles["goodput"]
    click.echo(
        f"One campaign in ten keeps less than {good['p10']:.1%}; the worst one, --seed "
        f"{document['worst_seed']}, kept {good['low']:.1%}."
    )
    click.echo('"Whole job": all its tokens at the pace of the campaign.')
    click.echo(f"Convention: {document['convention']}.")


def _lost(shares: dict[str, float]) -> Iterable[tuple[str, str]]:
    ranked = sorted(shares.items(), key=lambda part: -part[1])
    yield "productive", f"{1 - sum(shares.values()):.2%}"
    for name, part in ranked:
        if part >= 5e-5:
            yield name.replace("_", " "), f"{part:.2%}"


_ENDS = {"done": "reached the last token", "horizon": "were followed to campaign.duration"}


def _ends(outcomes: dict[str, int], count: int) -> str:
    told = (f"{n:,} of {count:,} {_ENDS.get(end, end)}" for end, n in outcomes.items())
    return f"{', '.join(told)}."


def show_sweep(document: dict[str, Any]) -> None:
    """A line a point: what it keeps, what the whole job then takes and costs."""
    axes = [axis["path"] for axis in document["axes"]]
    points = document["points"]
    best = next((p for p in points if _overrides(p) == document["best"]), points[0])
    rows = (_point(point, axes, best) for point in points)
    header = (*axes, "GPUs", "spare hosts", "goodput", "P10", "whole job", "rent", "to the best")
    title = f"{document['study']}, {document['num_campaigns']} campaigns a point, the same dice"
    put(table(title, header, rows))
    click.echo(f"Cheapest for the whole job: {' '.join(document['best'])}.")


def _overrides(point: dict[str, Any]) -> list[str]:
    return [f"{path}={value}" for path, value in point["settings"].items()]


def _point(point: dict[str, Any], axes: list[str], best: dict[str, Any]) -> tuple[str, ...]:
    quantiles: dict[str, Spread] = point["quantiles"]
    goodput, usd = quantiles["goodput"], quantiles.get("job_usd")
    least = best["quantiles"].get("job_usd")
    return (
        *(point["settings"][path] for path in axes),
        number(point["num_training_gpus"]),
        number(point["num_spare_hosts"]),
        share(goodput["p50"]),
        share(goodput["p10"]),
        days(quantiles["job_days"]["p50"]) if usd else "never",
        dollars(usd["p50"]) if usd else "never",
        _more(usd["p50"] - least["p50"]) if usd and least else "",
    )


def _more(usd: float) -> str:
    return f"+{dollars(usd)}" if usd > 0 else "best"
