"""The score of a table of published campaigns, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from gigafactory.cli.show import table
from gigafactory.units import plural

_YES_NO = {True: "yes", False: "NO", None: "-"}


def outcomes(document: dict[str, Any]) -> Iterator[Table | str]:
    """Tables and sentences: each row with its convention, parts, what was skipped, and counts."""
    rows = [row for row in document["rows"] if row["skipped"] is None]
    header = ("", "class", "what", "published", "predicted", "from", "to", "in band")
    yield table("Published campaigns", header, (_row(row) for row in rows))
    parts = [(row["row_id"], part) for row in rows for part in row["parts"]]
    columns = ("", "what", "published", "predicted", "in band")
    yield table("Other conventions, methods and figures of the same rows", columns,
                   (_part(row_id, part) for row_id, part in parts))  # fmt: skip
    yield table("By which convention", ("", "convention", "method"),
                   ((r["row_id"], r["convention"], r["method"]) for r in rows))  # fmt: skip
    skipped = [(row["row_id"], row["skipped"]) for row in document["rows"] if row["skipped"]]
    if skipped:
        yield table("Not scored", ("", "reason"), skipped)
    yield from _sentences(document)


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    unit = row["unit"]
    return (
        row["row_id"],
        row["class"],
        _short(row["metric"]),
        number(row["measured"], unit),
        number(row["predicted"], unit),
        number(row["low"], unit),
        number(row["high"], unit),
        _YES_NO[row["within_band"]] + (" *" if row["by_construction"] else ""),
    )


def _part(row_id: str, part: dict[str, Any]) -> tuple[str, ...]:
    unit = part["unit"]
    told = number(part["measured"], unit), number(part["predicted"], unit)
    return (row_id, part["name"], *told, _YES_NO[part["within_band"]])


def number(value: float | None, unit: str) -> str:
    """A figure in the unit of its table: shares in percent."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.2%}" if 0.99 < value < 1 else f"{value:.1%}"
    return f"{value:,.0f}" if unit == "count" else f"{value:.3g} {unit}"


def _short(metric: str) -> str:
    return metric if len(metric) <= 34 else metric[:33] + "…"


def _sentences(document: dict[str, Any]) -> Iterator[str]:
    for name, group in document["by"]["class"].items():
        scored = group["num_rows"] - group["num_skipped"]
        if not scored:
            continue
        within = group["num_within_band"]
        told = f"Class {name}: {within} of {plural(scored, 'row')} within their band"
        if group["num_ranges"]:
            told += (
                f"; {group['num_ranges_that_hold_it']} of {group['num_ranges']} ranges hold the "
                f"published value, {group['num_predicted_within_band']} single predictions are "
                "within the band"
            )
        yield told + "."
    if document["summary"]["num_by_construction"]:
        yield "* the published figure itself gave an input."
