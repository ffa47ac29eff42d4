"""One campaign of the twin, on stdout: what it came to, what cost what, what else it could be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from gigafactory.cli.show import put, say, table
from gigafactory.cli.written import (
    FIGURES,
    days,
    dollars,
    gpu_hours,
    number,
    share,
    watt_hours,
    words,
)
from gigafactory.report.buckets import words as bucket_words
from gigafactory.units import HOUR_S, plural, show, show_time

_MOST_CAUSES = 12
#: Fewer have no P99, and no grid minds them.
_FEW_HOURS = 6
_SHOWN = (
    *("goodput", "ettr", "tokens", "job_days", "job_usd", "cost_usd", "energy_j", "carbon_kg"),
    *("num_interruptions", "mtbf_s", "mttr_s", "num_evicted_hosts"),
)


TERMS = (
    "Goodput: kept work over wall time; ETTR: the same without planned stops. MTBF: from one "
    "interruption to the next; MTTR: until it trains again."
)


def show_twin(document: dict[str, Any]) -> None:
    """Everything that one campaign tells a person who decides."""
    click.secho(_title(document), bold=True)
    put(table("", *_figures(document)))
    put(table("Where the GPU-time went", *_buckets(document)))
    causes = list(_causes(document))
    if causes:
        heads = ("", "faults", "stops", "each", "GPU-hours lost", "share")
        put(table("What cost it", heads, causes))
    for sentence in _sentences(document):
        say(sentence)


def _title(document: dict[str, Any]) -> str:
    end = document["outcome"] or "cut off"
    reason = f": {document['reason']}" if document["reason"] else ""
    return (
        f"{document['study']}, seed {document['seed']}: {days(document['days'])} on "
        f"{document['num_gpus']:,} GPUs ({end}{reason})"
    )


def _figures(document: dict[str, Any]) -> tuple[tuple[str, ...], Iterable[tuple[str, ...]]]:
    plain = document["plain"]
    heads = ("", document["recovery"], "plain restart") if plain else ("", "")
    sources = [document, plain] if plain else [document]
    known = [key for key in _SHOWN if any(source.get(key) for source in sources)]
    rows = ((FIGURES[k][0], *(_written(k, source.get(k)) for source in sources)) for k in known)
    return heads, rows


def _written(key: str, value: float | None) -> str:
    return "none" if value is None else FIGURES[key][1](value)


def _buckets(document: dict[str, Any]) -> tuple[tuple[str, ...], Iterable[tuple[str, ...]]]:
    gpu_s: dict[str, float] = document["buckets_gpu_s"]
    training_gpu_s = sum(v for k, v in gpu_s.items() if k != "idle_spare") or 1.0
    usd_per_gpu_s = document["cost_usd"] / (document["allocation_gpu_s"] or 1.0)
    plain = document["plain"]
    parts = sorted(gpu_s.items(), key=lambda part: (part[0] == "idle_spare", -part[1]))

    def row(name: str, value: float) -> tuple[str, ...]:
        paid = (dollars(value * usd_per_gpu_s),) if usd_per_gpu_s else ()
        beside = (_plain_share(plain, name),) if plain else ()
        label = "beside it: idle spares" if name == "idle_spare" else bucket_words(name)
        return (label, gpu_hours(value), share(value / training_gpu_s), *paid, *beside)

    heads = ("", "GPU-hours", "share", *(("rent",) if usd_per_gpu_s else ()))
    rows = [row(name, value) for name, value in parts if value > 0]
    return (*heads, *(("plain restart",) if plain else ())), rows


def _plain_share(plain: dict[str, Any], bucket: str) -> str:
    if bucket == "productive":
        return share(plain["goodput"])
    return share(plain["lost_shares"].get(bucket, 0.0)) if bucket != "idle_spare" else ""


def _causes(document: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """The dearest causes, the others together."""
    causes: list[dict[str, Any]] = [c for c in document["causes"] if c["lost_gpu_s"] > 0]
    whole_gpu_s = document["num_gpus"] * document["wall_s"]
    for cause in causes[:_MOST_CAUSES]:
        yield _cause(words(cause["cause"]), [cause], whole_gpu_s)
    if rest := causes[_MOST_CAUSES:]:
        yield _cause(plural(len(rest), "other cause"), rest, whole_gpu_s)


def _cause(name: str, causes: list[dict[str, Any]], whole_gpu_s: float) -> tuple[str, ...]:
    faults, stops, down_s, lost_gpu_s = (
        sum(cause[key] for cause in causes)
        for key in ("num_faults", "num_stops", "down_s", "lost_gpu_s")
    )
    return (
        name,
        number(faults),
        number(stops),
        show_time(down_s / stops) if stops else "",
        gpu_hours(lost_gpu_s),
        f"{lost_gpu_s / whole_gpu_s:.2%}",
    )


def _sentences(document: dict[str, Any]) -> Iterable[str]:
    if document["spares"]:
        yield _spares(document["spares"])
    if document["pool"]:
        yield from _pool(document["pool"], wall_s=document["wall_s"])
    for tier in document["tiers"]:
        yield _tier(tier)
    if document["power"]:
        yield from _power(document)
    yield TERMS
    yield f"Convention: {document['convention']}."
    yield (
        "Next: --campaigns 100 tells how sure this is, --answers what to change, "
        "--sweep PATH=A,B,... draws a trade-off."
    )


def _spares(spares: dict[str, Any]) -> str:
    return (
        f"Spares: {plural(spares['num_spares'], 'host')}; {spares['away_p50']:,} away in repair "
        f"half of the time, {spares['away_p99']:,} at P99, {spares['away_most']:,} at most; "
        f"{spares['empty_s'] / HOUR_S:,.1f} h without a spare, "
        f"{spares['short_s'] / HOUR_S:,.1f} h with empty seats."
    )


def _pool(pool: dict[str, Any], *, wall_s: float) -> Iterable[str]:
    yield (
        f"Serving pool: {plural(pool['num_hosts'], 'host')} of "
        f"{pool['requests_per_s_per_host']:.2f} requests a second; "
        f"{pool['peak_requests_per_s']:,.0f} at the busiest moment. Within the "
        f"limits: {pool['slo_kept_share']:.3%} of {pool['num_requests']:,.0f} requests, "
        f"{pool['slo_kept_time_share']:.3%} of the time; "
        f"{pool['short_while_lent_s'] / HOUR_S:,.1f} h too few hosts while some were lent."
    )
    yield (
        f"Loans to training: {pool['lent_host_s'] / wall_s:,.0f} hosts in the mean, "
        f"{plural(pool['num_loans'], 'loan')}, {plural(pool['num_recalls'], 'recall')} of "
        f"{plural(pool['num_hosts_recalled'], 'host')}, {pool['num_recalls_that_hurt']:,} of them "
        "out of a gang that computed."
    )


def _tier(tier: dict[str, Any]) -> str:
    every = f"every {show_time(tier['every_s'])} of work, " if tier["every_s"] else ""
    # copies near the hosts replace each other
    done = "kept" if tier["tier"] == "store" else "made"
    kept = f"{tier['num_kept']:,} {done}, " if tier["num_kept"] else ""
    restored = plural(tier["num_restores"], "time")
    return f"Checkpoints, {tier['tier']}: {every}{kept}restored from {restored}."


def _power(document: dict[str, Any]) -> Iterable[str]:
    power, hours = document["power"], document["power_hours"]
    if len(hours["mean_w"]) < _FEW_HOURS:
        yield (
            f"Power of the site: {show(power['mean_w'], 'W')} in the mean, "
            f"{show(power['peak_w'], 'W')} at most."
        )
        return
    yield (
        f"Power of the site, hour by hour: {show(power['mean_w'], 'W')} in the mean, "
        f"{show(hours['p99_w'], 'W')} at P99, {show(hours['peak_hour_w'], 'W')} at most (hour "
        f"{hours['peak_hour']:,}); {_cap(hours)}. {watt_hours(document['energy_j'])} are "
        f"{dollars(document['electricity_usd'])} of electricity, in the rent."
    )
    yield (
        f"Swings: steps move it between {show(hours['step_low_w'], 'W')} and "
        f"{show(hours['step_high_w'], 'W')}; {hours['num_dips']:,} stops and checkpoints, down by "
        f"up to {show(hours['deepest_dip_w'], 'W')}{_battery(hours)}."
    )


def _cap(hours: dict[str, Any]) -> str:
    if hours["capacity_w"] is None:
        return "no limit is known"
    held, num_hours = hours["num_hours_at_capacity"], len(hours["mean_w"])
    return (
        f"it may draw {show(hours['capacity_w'], 'W')}, which held training back in {held:,} of "
        f"{plural(num_hours, 'hour')}"
    )


def _battery(hours: dict[str, Any]) -> str:
    if not hours["ramp_w_per_s"]:
        return ""
    return (
        f", of which {hours['num_beyond_battery']:,} are beyond the battery (the deepest asks "
        f"{show(hours['deepest_dip_w'], 'W')} and {show(hours['ramp_energy_j'] / HOUR_S, 'Wh')})"
    )
