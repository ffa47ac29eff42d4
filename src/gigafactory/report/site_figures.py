"""Drawings of the site along time: its power, and the serving pool beside training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gigafactory.ledger.pool import PoolHour
from gigafactory.ledger.power_hours import PowerHours
from gigafactory.report.axes import plain, prefixed, time_axis, value_axis
from gigafactory.report.blocks import Chart
from gigafactory.report.numbers import Quantity, write
from gigafactory.report.svg import Frame, bars, chart, line, step_line
from gigafactory.report.trace import Trace
from gigafactory.units import HOUR_S

Floats = NDArray[np.float64]
#: Columns beyond this cannot be told apart on a page.
_MOST_COLUMNS = 720


def power_levels(who: str, trace: Trace) -> Chart:
    """Power of the site as a staircase, for a campaign of a few hours."""
    frame = Frame(
        x=time_axis(trace.end_s),
        y=value_axis([0, *(w for _, w in trace.power_w)], text=prefixed("W")),
        height_px=150,
    )
    return Chart(
        title=f"{who}: power of the site",
        svg=chart(
            frame,
            [step_line(frame, trace.power_w, tone="green")],
            alt=f"{who}: power along time",
        ),
    )


def power_by_hour(who: str, hours: PowerHours, *, end_s: float) -> Chart:
    """Mean, lowest and highest of every hour, and what the site may draw."""
    stride = _stride(len(hours.mean_w))
    low_w = np.minimum.reduceat(hours.min_w, _firsts(hours.min_w, stride))
    high_w = np.maximum.reduceat(hours.max_w, _firsts(hours.max_w, stride))
    mean_w = _means(hours.mean_w, stride)
    cap_w = hours.capacity_w
    frame = Frame(
        x=time_axis(end_s),
        y=value_axis([0, *high_w, *([cap_w] if cap_w else [])], text=prefixed("W")),
        height_px=190,
    )
    band = [
        (i * stride * HOUR_S, min(end_s, (i + 1) * stride * HOUR_S), low, high)
        for i, (low, high) in enumerate(zip(low_w, high_w, strict=True))
    ]
    layers = [
        bars(frame, band, tone="green-pale"),
        step_line(frame, _points(mean_w, stride), tone="green"),
    ]
    legend = [("green", "mean"), ("green-pale", "lowest to highest")]
    if cap_w:
        layers.append(line(frame, [(0.0, cap_w), (end_s, cap_w)], tone="red"))
        legend.append(("red", f"what the site may draw, {write(cap_w, Quantity.POWER)}"))
    return Chart(
        title=f"{who}: power of the site",
        subtitle=f"every {_hours(stride)}, steps, checkpoints and restarts included",
        svg=chart(frame, layers, alt=f"{who}: power hour by hour"),
        legend=tuple(legend),
    )


def demand(hours: Sequence[PoolHour], *, per_host: float, end_s: float) -> Chart:
    """What people ask for, and what the hosts that serve keep within the limits."""
    stride = _stride(len(hours))
    asked = _means(np.array([hour.requests_per_s for hour in hours]), stride)
    able = _means(np.array([hour.serving_hosts for hour in hours]), stride) * per_host
    frame = Frame(
        x=time_axis(end_s),
        y=value_axis([0, *asked, *able], text=plain),
        height_px=190,
    )
    return Chart(
        title="Requests a second",
        subtitle=f"mean of every {_hours(stride)}; where the lines meet, the pool has nothing left",
        svg=chart(
            frame,
            [
                step_line(frame, _points(able, stride), tone="orange"),
                step_line(frame, _points(asked, stride), tone="blue"),
            ],
            alt="Requests a second along time, and how many the serving hosts keep",
        ),
        legend=(("blue", "asked for"), ("orange", "the serving hosts keep within the limits")),
    )


def lent(hours: Sequence[PoolHour], *, num_hosts: int, end_s: float) -> Chart:
    """Hosts of the pool that train, along time."""
    stride = _stride(len(hours))
    found = _means(np.array([hour.lent_hosts for hour in hours]), stride)
    frame = Frame(
        x=time_axis(end_s),
        y=value_axis([0, *found, num_hosts], text=plain, num_ticks=4),
        height_px=150,
    )
    boxes = [
        (i * stride * HOUR_S, min(end_s, (i + 1) * stride * HOUR_S), 0.0, level)
        for i, level in enumerate(found)
    ]
    return Chart(
        title="Hosts lent to training",
        subtitle=f"of {num_hosts:,}, mean of every {_hours(stride)}",
        svg=chart(frame, [bars(frame, boxes, tone="blue")], alt="Hosts lent along time"),
    )


def _stride(num_hours: int) -> int:
    """Hours that share a column."""
    return max(1, -(-num_hours // _MOST_COLUMNS))


def _firsts(values: Floats, stride: int) -> NDArray[np.int64]:
    return np.arange(0, len(values), stride)


def _means(values: Floats, stride: int) -> Floats:
    firsts = _firsts(values, stride)
    sizes = np.diff(np.append(firsts, len(values)))
    return np.add.reduceat(values, firsts) / sizes


def _points(values: Floats, stride: int) -> list[tuple[float, float]]:
    return [(i * stride * HOUR_S, float(value)) for i, value in enumerate(values)]


def _hours(stride: int) -> str:
    return "hour" if stride == 1 else f"{stride} hours"
