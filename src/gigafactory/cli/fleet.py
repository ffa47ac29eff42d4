"""Plan and twin of a service, on stdout."""

from __future__ import annotations

from typing import Any

import click

from gigafactory.cli.show import put, say, table
from gigafactory.units import DAY_S, HOUR_S, show, show_time

_ROLES = {"whole": "prompts and answers", "prefill": "prompts", "decode": "answers"}
_SPENT = {
    "serving": "taking requests",
    "starting": "starting",
    "draining": "draining",
    "dead": "dead and not yet missed",
}


def show_service_plan(document: dict[str, Any]) -> None:
    """The chosen fleet, what it costs, and the other way to build one."""
    best = document["best"]
    click.echo(
        f"{document['model']} on {document['gpu']} for {document['peak_requests_per_s']:,.0f} "
        f"requests/s at the busiest hour, {document['mean_requests_per_s']:,.0f} on the mean of a "
        f"weekday; {document['input_tokens']:,.0f} tokens in, {document['output_tokens']:,.0f} "
        f"out; {document['num_candidates']} replicas tried in {document['search_s']:.2f} s"
    )
    for role in best["roles"]:
        put(table(_title(role, best), ("", ""), _replica(role)))
    put(table("The fleet", ("", ""), _fleet(best, document)))
    put(table("What it costs", ("", "rented", "owned"), _bill(best)))
    say(_other(document))
    hosts = best["peak_gpus"] / document["gpus_per_host"] + best["spare_hosts"]
    if hosts > document["hosts_available"]:
        say(f"The cluster has {document['hosts_available']:,} hosts, the fleet needs {hosts:,.0f}.")
    say(
        "Limits are predicted to some 11 % at the median (time per token) and 22 % (time to the "
        "first); giga simulate follows the requests through the queues."
    )


def _title(role: dict[str, Any], fleet: dict[str, Any]) -> str:
    kind = "disaggregated" if fleet["is_disaggregated"] else "not disaggregated"
    return f"A replica for {_ROLES[role['role']]} ({kind})"


def _replica(role: dict[str, Any]) -> list[tuple[str, str]]:
    layout = role["layout"]
    rows = [
        ("layout", _layout(layout)),
        ("tokens a step, at most", f"{layout['max_num_tokens']:,}"),
        ("requests/s within the limits", f"{role['requests_per_s']:.2f}"),
        ("requests inside at that rate", f"{role['at_once']:.0f}, at most {role['max_running']}"),
    ]
    if role["ttft_p99_s"] is not None:
        rows.append(("first token, 99 % within", show_time(role["ttft_p99_s"])))
        rows.append(("prompt tokens found in the cache", f"{role['cached_share']:.0%}"))
    if role["tpot_p99_s"] is not None:
        rows.append(("token after token, 99 % within", show_time(role["tpot_p99_s"])))
    return rows


def _layout(layout: dict[str, Any]) -> str:
    """Of the axes that only replicas of several hosts have, those that it uses."""
    wide = [f"{axis.upper()} {layout[axis]}" for axis in ("dp", "pp") if layout[axis] > 1]
    return ", ".join([f"TP {layout['tp']}", *wide, f"EP {layout['ep']}", layout["precision"]])


def _fleet(fleet: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str]]:
    counts = (f"{role['peak_replicas']:,} for {_ROLES[role['role']]}" for role in fleet["roles"])
    return [
        ("replicas at the busiest hour", ", ".join(counts)),
        ("GPUs at the busiest hour", f"{fleet['peak_gpus']:,}"),
        ("GPUs, mean of the day", f"{fleet['mean_gpus']:,.0f}"),
        ("spare hosts, if owned", f"{fleet['spare_hosts']:,}"),
        ("energy a day", show(fleet["energy_j_per_day"] / HOUR_S, "Wh")),
        ("energy an answer", f"{fleet['energy_j_per_answer'] / HOUR_S:.2f} Wh"),
    ]


def _bill(fleet: dict[str, Any]) -> list[tuple[str, str, str]]:
    per_token = "rent_usd_per_million_{}_tokens"
    return [
        ("a day", show(fleet["rent_usd_per_day"], "$"), show(fleet["own_usd_per_day"], "$")),
        ("a day without autoscaling", show(fleet["rent_fixed_usd_per_day"], "$"), ""),
        ("an answer", _cents(fleet["rent_usd_per_answer"]), _cents(fleet["own_usd_per_answer"])),
        ("a million tokens in", f"{fleet[per_token.format('input')]:.2f} $", ""),
        ("a million tokens out", f"{fleet[per_token.format('output')]:.2f} $", ""),
    ]


def _cents(usd: float) -> str:
    return f"{usd * 100:.3f} cents"


def _other(document: dict[str, Any]) -> str:
    best, other = document["best"], document["other"]
    kind = "Not disaggregated" if best["is_disaggregated"] else "Disaggregated"
    if other is None:
        return f"{kind}: {document['why_no_other']}."
    return (
        f"{kind}, the same service takes {other['peak_gpus']:,} GPUs at the busiest hour "
        f"({other['peak_gpus'] / best['peak_gpus']:.2f} times as many) and "
        f"{_cents(other['rent_usd_per_answer'])} an answer."
    )


def show_service(document: dict[str, Any]) -> None:
    """What people met, what the fleet did, and what it cost."""
    followed = ", ".join(
        f"{count} of {document['mean_replicas'][role]:,.0f} for {_ROLES[role]}"
        for role, count in document["followed_replicas"].items()
    )
    say(
        f"{show_time(document['duration_s'])} of the whole fleet; request by request the replicas "
        f"{followed}: {document['num_requests']:,} of {document['requests']:,.0f} requests."
    )
    put(table("What people met", ("", "P50", "P90", "P99"), _times(document)))
    put(table("", ("", ""), _kept(document)))
    put(table("GPU-hours of the whole fleet", ("", "", ""), _spent(document)))
    put(table("What it cost", ("", "rented", "owned"), _costs(document)))
    put(table("By the hour", ("hour", "requests/s", "GPUs", "computing", "late"), _hours(document)))


def _times(document: dict[str, Any]) -> list[tuple[str, ...]]:
    names = {
        "ttft_s": "time to the first token",
        "tpot_s": "time a token after it",
        "e2e_s": "whole answer",
    }
    return [
        (name, *(show_time(document[key][q]) for q in ("p50", "p90", "p99")))
        for key, name in names.items()
    ]


def _kept(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("within both limits", f"{document['goodput']:.2%}"),
        ("first token in time", f"{document['ttft_kept_share']:.2%}"),
        ("pace kept", f"{document['tpot_kept_share']:.2%}"),
        ("refused, broken off", f"{document['num_refused']:,}, {document['num_broken']:,}"),
        ("prompt tokens found in a cache", f"{document['cached_share']:.0%}"),
        ("replicas started", f"{document['num_starts']:,}"),
        (
            "replicas that died",
            f"{document['num_deaths']:,}, with about {document['broken_answers']:.0f} answers",
        ),
    ]


def _spent(document: dict[str, Any]) -> list[tuple[str, ...]]:
    total = document["total_gpu_h"]
    rows = [
        (words, f"{document['gpu_h'][key]:,.0f}", f"{document['gpu_h'][key] / total:.2%}")
        for key, words in _SPENT.items()
    ]
    mean = total * HOUR_S / document["duration_s"]
    return [*rows, ("together", f"{total:,.0f}", f"{mean:,.0f} GPUs")]


def _costs(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    days = document["duration_s"] / DAY_S
    rented, owned = document["rent_usd"] / days, document["own_usd"] / days
    per_token = "rent_usd_per_million_{}_tokens"
    return [
        ("a day at this pace", show(rented, "$"), show(owned, "$")),
        (
            "an answer",
            _cents(document["rent_usd_per_answer"]),
            _cents(document["own_usd_per_answer"]),
        ),
        ("a million tokens in", f"{document[per_token.format('input')]:.2f} $", ""),
        ("a million tokens out", f"{document[per_token.format('output')]:.2f} $", ""),
        ("energy an answer", f"{document['energy_j_per_answer'] / HOUR_S:.2f} Wh", ""),
    ]


def _hours(document: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            str(hour["hour"]),
            f"{hour['requests_per_s']:,.0f}",
            f"{hour['num_gpus']:,.0f}",
            f"{hour['busy_share']:.0%}",
            f"{hour['late_share']:.2%}",
        )
        for hour in document["hours"]
    ]


def show_variants(document: dict[str, Any]) -> None:
    """The service in other ways, side by side."""
    heads = ("", "within limits", "TTFT P99", "TPOT P99", "GPU-hours", "most GPUs", "an answer")
    rows = [
        (
            each["name"],
            f"{each['goodput']:.2%}",
            show_time(each["ttft_s"]["p99"]),
            show_time(each["tpot_s"]["p99"]),
            f"{each['total_gpu_h']:,.0f}",
            f"{each['most_gpus']:,}",
            _cents(each["rent_usd_per_answer"]),
        )
        for each in document["variants"]
    ]
    put(table(f"{document['study']}: the same people", heads, rows))
