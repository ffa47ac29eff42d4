"""Charts as SVG text that fills any width while its lettering keeps its size.

Horizontal positions are percent of the chart's width, vertical ones pixels of a fixed height;
only paths live in a nested, stretched viewport (their strokes do not scale). Colours are
classes (``c-<tone>``) that the style sheet sets for light, dark and print. All text is escaped
here, and the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gigafactory.report.axes import Axis, Tick

#: Width of the stretched viewport; wide enough that one unit is below a pixel.
_STRETCH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The rectangle of a chart: its axes and its height on the page."""

    x: Axis
    y: Axis
    height_px: int = 200

    def percent(self, value: float) -> str:
        """Horizontal place of ``value``."""
        return f"{_short(100 * self.x.share(value))}%"

    def top_px(self, value: float) -> float:
        """Vertical place of ``value``, from the top."""
        return self.height_px * (1 - self.y.share(value))


def chart(frame: Frame, layers: Iterable[Markup], *, alt: str) -> Markup:
    """The axes of ``frame`` with ``layers`` over them; ``alt`` is read aloud."""
    body = Markup("").join([_grid(frame), *layers, _x_ticks(frame)])
    return Markup(
        '<div class="plot"><svg class="chart" role="img" width="100%" height="{}">'
        "<title>{}</title>{}</svg>{}</div>"
    ).format(frame.height_px, alt, body, _axis_name(frame))


def line(frame: Frame, points: Iterable[tuple[float, float]], *, tone: str) -> Markup:
    """A polyline through ``points``."""
    path = " ".join(f"{_x(frame, x)},{_short(frame.top_px(y))}" for x, y in points)
    return _stretched(frame, Markup('<polyline class="line c-{}" points="{}"/>').format(tone, path))


def step_line(frame: Frame, points: Sequence[tuple[float, float]], *, tone: str) -> Markup:
    """A staircase: each value holds until the next point, the last until the axis ends."""
    stairs: list[tuple[float, float]] = []
    for (x, y), following in zip(points, [*points[1:], None], strict=True):
        stairs += [(x, y), (following[0] if following else frame.x.high, y)]
    return line(frame, stairs, tone=tone)


def bars(
    frame: Frame, boxes: Iterable[tuple[float, float, float, float]], *, tone: str, gap: float = 0.0
) -> Markup:
    """Rectangles (left, right, bottom, top in axis values) as one path, ``gap`` apart."""
    path = "".join(
        f"M{_short(left)} {_short(frame.top_px(low))}V{_short(frame.top_px(high))}"
        f"H{_short(right)}V{_short(frame.top_px(low))}Z"
        for left, right, low, high in (
            (_x_number(frame, a), max(_x_number(frame, b) - gap, _x_number(frame, a) + 1), c, d)
            for a, b, c, d in boxes
        )
    )
    return _stretched(frame, Markup('<path class="area c-{}" d="{}"/>').format(tone, path))


def dot(
    frame: Frame, at: tuple[float, float], *, tone: str, title: str, size_px: float = 4
) -> Markup:
    """A circle with a tooltip."""
    return Markup(
        '<circle class="dot c-{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>'
    ).format(tone, frame.percent(at[0]), _short(frame.top_px(at[1])), _short(size_px), title)


def rule(frame: Frame, x: float, *, tone: str, title: str) -> Markup:
    """A vertical line over the whole height, with a tooltip."""
    return Markup(
        '<line class="rule c-{0}" x1="{1}" x2="{1}" y1="0" y2="{2}"><title>{3}</title></line>'
    ).format(tone, frame.percent(x), frame.height_px, title)


def _stretched(frame: Frame, body: Markup) -> Markup:
    return Markup(
        '<svg width="100%" height="{0}" viewBox="0 0 {1} {0}" preserveAspectRatio="none">{2}</svg>'
    ).format(frame.height_px, _STRETCH, body)


def _grid(frame: Frame) -> Markup:
    return Markup("").join(_grid_line(frame, tick) for tick in frame.y.ticks)


def _grid_line(frame: Frame, tick: Tick) -> Markup:
    return Markup(
        '<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>'
        '<text class="tick" x="-8" y="{0}" dy="4" text-anchor="end">{1}</text>'
    ).format(_short(frame.top_px(tick.value)), tick.text)


def _x_ticks(frame: Frame) -> Markup:
    base = Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(frame.height_px)
    return base + Markup("").join(_x_tick(frame, tick) for tick in frame.x.ticks)


def _x_tick(frame: Frame, tick: Tick) -> Markup:
    return Markup(
        '<line class="base" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="tick" x="{0}" y="{3}" text-anchor="middle">{4}</text>'
    ).format(
        frame.percent(tick.value),
        frame.height_px,
        frame.height_px + 4,
        frame.height_px + 17,
        tick.text,
    )


def _axis_name(frame: Frame) -> Markup:
    name = frame.x.label
    return Markup('<div class="axis-x">{}</div>').format(name) if name else Markup("")


def _x_number(frame: Frame, value: float) -> float:
    return _STRETCH * frame.x.share(value)


def _x(frame: Frame, value: float) -> str:
    return _short(_x_number(frame, value))


def _short(value: float) -> str:
    text = f"{value:.1f}"
    return text.removesuffix(".0")
