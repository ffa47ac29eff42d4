"""The score of a table of published campaigns, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from rich.table import Table

from gigafactory.cli.show import table
from gigafactory.units import plural

_YES_NO = {True: "yes", False: "NO", None: "-"}
_IDS_WIDTH = 11


def outcomes(document: dict[str, Any]) -> Iterator[Table | str]:
    """Tables and sentences: rows by class, their other figures, by what convention, what was
    skipped, and counts."""
    rows = [row for row in document["rows"] if row["skipped"] is None]
    for kind in sorted({row["class"] for row in rows}):
        yield _of_class(kind, [row for row in rows if row["class"] == kind])
    parts = [(row["row_id"], part) for row in rows for part in row["parts"]]
    columns = ("", "what", "published", "predicted", "in band")
    yield table("Other conventions, methods and figures of the same rows", columns,
                (_part(row_id, part) for row_id, part in parts), num_texts=2)  # fmt: skip
    told = _grouped((r["row_id"], f"{r['convention']}: {r['method']}") for r in rows)
    yield table("By which convention, and which method", ("", ""), told, num_texts=2)
    skipped = [(row["row_id"], row["skipped"]) for row in document["rows"] if row["skipped"]]
    if skipped:
        yield table("Not scored", ("", ""), _grouped(skipped), num_texts=2)
    yield from _sentences(document)


def _of_class(kind: str, rows: list[dict[str, Any]]) -> Table:
    """Class B and others with open inputs have ranges."""
    has_range = any(row["low"] is not None for row in rows)
    header = ("", "what", "published", "predicted", *(("range",) if has_range else ()), "in band")
    told = (_row(row, has_range=has_range) for row in rows)
    return table(f"Published campaigns, class {kind}", header, told, num_texts=2)


def _row(row: dict[str, Any], *, has_range: bool) -> tuple[str, ...]:
    unit = row["unit"]
    return (
        row["row_id"],
        row["metric"],
        number(row["measured"], unit),
        number(row["predicted"], unit),
        *((_range(row),) if has_range else ()),
        _YES_NO[row["within_band"]] + (" *" if row["by_construction"] else ""),
    )


def _range(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return "-"
    low, high = number(row["low"], row["unit"]), number(row["high"], row["unit"])
    return f"{low} to {high}"


def _grouped(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(row, text) pairs with the rows of one text together, some on a line."""
    rows: dict[str, list[str]] = {}
    for row_id, text in pairs:
        rows.setdefault(text, []).append(row_id)
    for text, ids in rows.items():
        yield textwrap.fill(" ".join(ids), width=_IDS_WIDTH), text


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
