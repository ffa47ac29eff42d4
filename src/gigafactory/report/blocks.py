"""What a chapter is made of. The template knows how each block looks, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a stacked bar; ``share`` is of the whole bar."""

    label: str
    tone: str
    share: float
    text: str
    short: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One stacked bar and whose it is."""

    who: str
    parts: tuple[Part, ...]

    @property
    def rest(self) -> float:
        """What the parts leave empty, so that bars compare by length."""
        return max(0.0, 1.0 - sum(p.share for p in self.parts))

    @property
    def alt(self) -> str:
        """The bar in words."""
        return f"{self.who}: " + ", ".join(f"{p.label} {p.text}" for p in self.parts if p.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Stacked bars below each other on one scale."""

    kind: ClassVar[str] = "bars"
    title: str
    rows: tuple[Bar, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """Cells left to right; ``tone`` gives the first one a swatch."""

    cells: tuple[str, ...]
    tone: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """First column text, the others numbers."""

    kind: ClassVar[str] = "table"
    heads: tuple[str, ...]
    rows: tuple[TableRow, ...]
    title: str = ""
    note: str = ""

    @property
    def worded(self) -> bool:
        """The first column holds words, which want room on a narrow page."""
        return any(" " in row.cells[0] or row.tone for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A finished drawing."""

    kind: ClassVar[str] = "chart"
    title: str
    svg: Markup
    subtitle: str = ""
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Sentences."""

    kind: ClassVar[str] = "reasons"
    title: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """A figure of the description, ready to print."""

    label: str
    value: str
    formula: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureGroup:
    """Figures that belong together."""

    name: str
    figures: tuple[FigureRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The description."""

    kind: ClassVar[str] = "figures"
    groups: tuple[FigureGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A question and what a model answered."""

    model: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """Answers of the models beside each other."""

    kind: ClassVar[str] = "talk"
    answers: tuple[Spoken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Blocks side by side where the page is wide enough."""

    kind: ClassVar[str] = "beside"
    blocks: tuple[Block, ...]


Block = Bars | Table | Chart | Reasons | Figures | Talk | Beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A titled card of the page; ``absent`` says why it is empty."""

    key: str
    title: str
    intro: str = ""
    absent: str = ""
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A key figure of the headline and where it comes from."""

    origin: str
    tone: str
    value: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPage:
    """Everything the page says about one run folder."""

    name: str
    lead: str = ""
    tiles: tuple[Tile, ...] = ()
    chapters: tuple[Chapter, ...] = field(default=())


def stacked(who: str, parts: Iterable[tuple[str, str, float, str, str]], *, whole: float) -> Bar:
    """A bar of (label, tone, value, text, short text), each value as a share of ``whole``."""
    return Bar(
        who=who,
        parts=tuple(
            Part(
                label=label, tone=tone, share=value / whole if whole else 0, text=text, short=short
            )
            for label, tone, value, text, short in parts
        ),
    )


def rows(cells: Iterable[Sequence[str]]) -> tuple[TableRow, ...]:
    """Plain rows of a table."""
    return tuple(TableRow(cells=tuple(row)) for row in cells)
