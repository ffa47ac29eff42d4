"""The factory: every figure of the description, with formula and source a click away."""

from __future__ import annotations

from collections.abc import Iterable

from gigafactory.describe.figures import Figure
from gigafactory.report.blocks import Chapter, FigureGroup, FigureRow, Figures
from gigafactory.report.numbers import with_unit

_KEY, _TITLE = "factory", "The factory"


def factory(figures: tuple[Figure, ...] | None) -> Chapter:
    """The description as a table in groups, in the order in which it was counted."""
    if figures is None:
        return Chapter(
            key=_KEY,
            title=_TITLE,
            absent="No description.json here; giga describe --dir writes it.",
        )
    return Chapter(
        key=_KEY,
        title=_TITLE,
        intro="What the study describes, counted. Formula and source stand behind each figure.",
        blocks=(Figures(groups=tuple(_groups(figures))),),
    )


def _groups(figures: tuple[Figure, ...]) -> Iterable[FigureGroup]:
    names = dict.fromkeys(figure.group for figure in figures)
    for name in names:
        members = (figure for figure in figures if figure.group == name)
        yield FigureGroup(name=name or "Figures", figures=tuple(_row(f) for f in members))


def _row(figure: Figure) -> FigureRow:
    return FigureRow(
        label=figure.label,
        value=with_unit(figure.value, figure.unit, key=figure.key),
        formula=figure.formula,
        source=figure.source,
    )
