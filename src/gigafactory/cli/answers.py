"""What many campaigns come to, on stdout: intervals, trade-offs, what to change."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import click

from gigafactory.cli.show import put, say, table
from gigafactory.cli.written import (
    FIGURES,
    Writer,
    days,
    dollars,
    number,
    share,
    signed_days,
    signed_dollars,
    words,
)
from gigafactory.report.buckets import words as bucket_words
from gigafactory.units import plural, show_time

Spread = dict[str, float]
_COLUMNS = {"p10": "P10", "p50": "P50", "p90": "P90", "low": "lowest", "high": "highest"}
_ENDS = {"done": "reached the last token", "horizon": "followed to campaign.duration"}
#: Fewer have no tenth.
_MANY = 10
#: Of the rent of the whole job: less is not worth a change.
_LITTLE = 1e-3
WHOLE_JOB = '"Whole job": all its tokens at the pace of the campaign.'


#: In place of days and dollars of a job of which nothing was kept.
NO_STEP = "no step kept"


def show_ensemble(document: dict[str, Any]) -> None:
    """A line a figure with its quantiles, where the time goes, and which campaign is the worst."""
    quantiles: dict[str, Spread] = document["quantiles"]
    count, first = document["num_campaigns"], document["first_seed"]
    seeds = f"seed {first}" if count == 1 else f"seeds {first} to {first + count - 1}"
    title = f"{plural(count, 'campaign')} of {document['study']} ({seeds})"
    rows = (
        (name, *(write(quantiles[key][column]) for column in _COLUMNS))
        for key, (name, write) in FIGURES.items()
        if key in quantiles
    )
    put(table(title, ("", *_COLUMNS.values()), rows))
    put(table("Where the time goes, in the mean", ("", ""), _lost(document["lost_shares"])))
    say(_ends(document["outcomes"], count))
    say(_bad_case(document))
    say(WHOLE_JOB)
    say(f"Convention: {document['convention']}.")


def _bad_case(document: dict[str, Any]) -> str:
    good, count = document["quantiles"]["goodput"], document["num_campaigns"]
    tenth = f"one campaign in ten keeps less than {good['p10']:.1%}; " if count >= _MANY else ""
    worst = f"the worst of {plural(count, 'campaign')}, --seed {document['worst_seed']},"
    return f"The bad case: {tenth}{worst} kept {good['low']:.1%}."


def _lost(shares: dict[str, float]) -> Iterable[tuple[str, str]]:
    ranked = sorted(shares.items(), key=lambda part: -part[1])
    yield "productive", f"{1 - sum(shares.values()):.2%}"
    for name, part in ranked:
        if part >= 5e-5:
            yield bucket_words(name), f"{part:.2%}"


def _ends(outcomes: dict[str, int], count: int) -> str:
    told = (f"{_ENDS.get(end, end)}: {n:,} of {count:,}" for end, n in outcomes.items())
    return f"{'; '.join(told).capitalize()}."


def show_sweep(document: dict[str, Any]) -> None:
    """A line a point: what it keeps, what the whole job then takes and costs."""
    axes = [axis["path"] for axis in document["axes"]]
    points = document["points"]
    best = next(p for p in points if _overrides(p) == document["best"])
    rows = (_point(point, axes, best) for point in points)
    heads = (*(_head(path) for path in axes), "GPUs", "spares", "goodput", "P10", "whole job")
    title = _on_every_line(document["study"], document["num_campaigns"], "a point")
    put(table(title, (*heads, "rent", "above best"), rows))
    for point in points:
        if point["impossible"]:
            reason = " ".join(point["impossible"].splitlines())
            say(f"Impossible: {', '.join(_overrides(point))} ({reason}).")
    say(f"Cheapest for the whole job: {', '.join(document['best'])}.")
    say(WHOLE_JOB)


def _on_every_line(what: str, num_campaigns: int, of_what: str) -> str:
    return f"{what}: {plural(num_campaigns, 'campaign')} {of_what}, the same dice"


def _head(path: str) -> str:
    return words(path.rpartition(".")[2].removeprefix("num_"))


def _overrides(point: dict[str, Any]) -> list[str]:
    return [f"{path}={value}" for path, value in point["settings"].items()]


def _point(point: dict[str, Any], axes: list[str], best: dict[str, Any]) -> tuple[str, ...]:
    if point["impossible"]:
        return (*(point["settings"][path] for path in axes), "", "", "impossible", *4 * ("",))
    quantiles: dict[str, Spread] = point["quantiles"]
    goodput, usd = quantiles["goodput"], quantiles.get("job_usd")
    least = best["quantiles"].get("job_usd")
    return (
        *(point["settings"][path] for path in axes),
        number(point["num_training_gpus"]),
        number(point["num_spare_hosts"]),
        share(goodput["p50"]),
        share(goodput["p10"]),
        days(quantiles["job_days"]["p50"]) if usd else NO_STEP,
        dollars(usd["p50"]) if usd else "",
        _more(usd["p50"] - least["p50"]) if usd and least else "",
    )


def _more(usd: float) -> str:
    return signed_dollars(usd) if usd > 0 else "best" if usd == 0 else signed_dollars(usd)


def show_decisions(document: dict[str, Any]) -> None:
    """The study as it is, then each decision with what it would change."""
    base = document["base"]
    quantiles: dict[str, Spread] = base["quantiles"]
    count = base["num_campaigns"]
    good, job = quantiles["goodput"], quantiles.get("job_days")
    say(f"{base['study']} as it is: goodput {good['p50']:.1%}{_job(quantiles)}.")
    say(_bad_case(base))
    click.echo()
    effects = document["effects"]
    paid = any(effect["job_usd_change"] for effect in effects)
    rows = (_effect(effect)[: None if paid else -1] for effect in effects)
    title = _on_every_line("What to change", count, "each")
    heads = ("", "goodput", "points", "whole job", *(("rent",) if paid else ()))
    put(table(title, heads, rows))
    for sentence in _sentences(document):
        say(sentence)
    for variant in document["left_out"]:
        say(f"Left out, {variant['name']}: {variant['reason']}.")
    if job:
        say(WHOLE_JOB)
    say(f"Convention: {base['convention']}.")


def _job(quantiles: dict[str, Spread]) -> str:
    if "job_days" not in quantiles:
        return ", and no step was kept"
    usd = quantiles["job_usd"]["p50"]
    paid = f" and {dollars(usd)}" if usd else ""
    return f", {days(quantiles['job_days']['p50'])}{paid} for the whole job"


def _effect(effect: dict[str, Any]) -> tuple[str, ...]:
    error = effect["goodput_error"]
    return (
        effect["name"],
        share(effect["goodput"]),
        f"{100 * effect['goodput_change']:+.2f}" + (f" ± {100 * error:.2f}" if error else ""),
        _changed(effect["job_days_change"], signed_days),
        _changed(effect["job_usd_change"], signed_dollars),
    )


def _changed(value: float | None, write: Writer) -> str:
    return NO_STEP if value is None else write(value)


def _sentences(document: dict[str, Any]) -> Iterable[str]:
    """The questions that every factory asks, answered from the effects."""
    effects: list[dict[str, Any]] = document["effects"]
    for effect in effects:
        if effect["question"] == "repair":
            yield f"A day more in every repair: {_price(effect)}."
    whole_usd = document["base"]["quantiles"].get("job_usd", {}).get("p50", 0.0)
    for question, asked in _asked(document).items():
        concerned = [effect for effect in effects if effect["question"] == question]
        if concerned:
            yield f"{asked}: {_verdict(concerned, whole_usd=whole_usd)}"


def _asked(document: dict[str, Any]) -> dict[str, str]:
    """Question -> what is asked, and how it is now."""
    every = show_time(document["checkpoint_interval_s"])
    return {
        "recovery": f"Recovery (now {document['recovery']})",
        "spares": f"Spares (now {plural(document['num_spare_hosts'], 'host')})",
        "cadence": f"Checkpoints in the store (now every {every} of work)",
        "tier": "Copies near the hosts",
    }


def _verdict(effects: list[dict[str, Any]], *, whole_usd: float) -> str:
    """The best of the alternatives that is better beyond chance, or that none is."""
    better = [effect for effect in effects if _saves(effect)]
    if not better:
        told = "; ".join(f"{e['name']}: {_price(e)}" for e in effects)
        return f"nothing better among these ({told})."
    best = min(better, key=_cost)
    if -(best["job_usd_change"] or 0.0) < _LITTLE * whole_usd:
        return f"hardly matters (best, {best['name']}: {_price(best)})."
    return f"{best['name']} is better: {_price(best)}."


def _cost(effect: dict[str, Any]) -> float:
    """Dollars, or days where nothing is paid; infinite where no step was kept."""
    if effect["job_usd_change"] is None:
        return math.inf
    return float(effect["job_usd_change"] or effect["job_days_change"])


def _saves(effect: dict[str, Any]) -> bool:
    """Cheaper by more than two standard errors of the comparison."""
    return _cost(effect) < -2.0 * (effect["job_usd_error"] or 0.0)


def _price(effect: dict[str, Any]) -> str:
    if effect["job_days_change"] is None:
        return NO_STEP
    if not effect["job_days_change"] and not effect["job_usd_change"]:
        return "no change"
    told = f"{signed_days(effect['job_days_change'])} for the whole job"
    if effect["job_usd_change"]:
        told = f"{signed_days(effect['job_days_change'])} and " + (
            f"{signed_dollars(effect['job_usd_change'])} for the whole job"
        )
    return told + _doubt(effect)


def _doubt(effect: dict[str, Any]) -> str:
    error = effect["job_usd_error"]
    if error is None or not effect["job_usd_change"]:
        return ""
    return ", which may be chance" if abs(effect["job_usd_change"]) < 2.0 * error else ""
