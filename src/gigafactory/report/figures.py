"""The drawings: each a pure function from traces to one chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from markupsafe import Markup

from gigafactory.report.axes import Axis, Tick, plain, time_axis, value_axis
from gigafactory.report.blocks import Chart
from gigafactory.report.buckets import PRODUCTIVE, in_order, tone, words
from gigafactory.report.svg import Frame, bars, chart, dot, line, rule, step_line
from gigafactory.report.trace import (
    Bin,
    Loss,
    Mark,
    Span,
    Trace,
    bin_edges_s,
    buckets_binned,
    counted,
)
from gigafactory.units import DAY_S, HOUR_S, plural, show_time

#: More changes of state than this cannot be told apart on a page.
_MOST_SPANS = 400
_MOST_MARKS = 80
_CAUSE_TONES = ("red", "orange", "blue", "pink", "green", "grey")
_BIN_WIDTHS_S = (HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S)
_MOST_BINS = 120
_MOST_POINTS = 1500


def course(who: str, trace: Trace, *, end_s: float) -> list[Chart]:
    """The campaign along time: exact while that can be seen, else in bins."""
    if len(trace.spans) <= _MOST_SPANS:
        return [_band(who, trace, end_s=end_s)]
    width_s = next((w for w in _BIN_WIDTHS_S if trace.end_s / w <= _MOST_BINS), trace.end_s / 100)
    return [_lost_by_bin(who, trace, width_s, end_s), _faults_by_bin(who, trace, width_s, end_s)]


_FAULTS_AT, _STATE_AT, _ACTIONS_AT = 0.86, 0.5, 0.14
_STATE_FROM, _STATE_TO = 0.3, 0.7
_LANES = Axis(
    low=0,
    high=1,
    ticks=(
        Tick(value=_FAULTS_AT, text="faults"),
        Tick(value=_STATE_AT, text="state"),
        Tick(value=_ACTIONS_AT, text="actions"),
    ),
)


def _band(who: str, trace: Trace, *, end_s: float) -> Chart:
    """States as a coloured band, faults as marks above it, actions below."""
    frame = Frame(x=time_axis(end_s), y=_LANES, height_px=104)
    stacks = [(span, _stack(span)) for span in trace.spans]
    present = in_order(bucket for _, stack in stacks for bucket in stack)
    layers = [
        bars(
            frame,
            ((s.begin_s, s.end_s, *stack[bucket]) for s, stack in stacks if bucket in stack),
            tone=tone(bucket),
        )
        for bucket in present
    ]
    layers += _marks(frame, trace.faults, at=_FAULTS_AT, tone_name="red")
    layers += _marks(frame, trace.actions, at=_ACTIONS_AT, tone_name="ink")
    return Chart(
        title=who,
        subtitle=(
            f"{_count(trace.faults, 'fault')}, {_count(trace.actions, 'action')} taken"
            + ("; the height of a state is its share of the GPUs" if _is_split(trace) else "")
        ),
        svg=chart(frame, layers, alt=f"{who}: states, faults and actions along time"),
        legend=tuple((tone(b), words(b)) for b in present),
    )


def _stack(span: Span) -> dict[str, tuple[float, float]]:
    """Bucket -> (bottom, top) in the band of states."""
    found, bottom = {}, _STATE_FROM
    for bucket, share in span.shares.items():
        if share > 0:
            top = bottom + share * (_STATE_TO - _STATE_FROM)
            found[bucket], bottom = (bottom, top), top
    return found


def _is_split(trace: Trace) -> bool:
    return any(span.working < 1 or span.pace < 1 for span in trace.spans)


def _marks(frame: Frame, marks: Sequence[Mark], *, at: float, tone_name: str) -> list[Markup]:
    shown = marks if len(marks) <= _MOST_MARKS else marks[:: len(marks) // _MOST_MARKS + 1]
    return [
        dot(frame, (m.at_s, at), tone=tone_name, title=f"{show_time(m.at_s)}: {m.text}")
        for m in shown
    ]


def _count(marks: Sequence[Mark], noun: str) -> str:
    return f"{len(marks):,} {noun}{'' if len(marks) == 1 else 's'}"


def _lost_by_bin(who: str, trace: Trace, width_s: float, end_s: float) -> Chart:
    """Share of each bin that was not productive, stacked by bucket."""
    bins = buckets_binned(trace, width_s=width_s)
    lost = [b for b in in_order(k for one in bins for k in one.seconds) if b != PRODUCTIVE]
    tallest = max((sum(_share(one, b) for b in lost) for one in bins), default=0.0)
    frame = Frame(
        x=time_axis(end_s),
        y=value_axis([0, tallest or 0.01], text=lambda v: f"{100 * v:.3g} %"),
        height_px=170,
    )
    spans = [(one.begin_s, one.end_s) for one in bins]
    columns = [{b: _share(one, b) for b in lost} for one in bins]
    return Chart(
        title=who,
        subtitle=f"share of GPU time lost in each {_width(width_s)}",
        svg=chart(
            frame, _columns(frame, spans, columns, lost, tone), alt=f"{who}: lost time along time"
        ),
        legend=tuple((tone(b), words(b)) for b in lost),
    )


def _share(one: Bin[str], bucket: str) -> float:
    return (
        one.seconds.get(bucket, 0.0) / (one.end_s - one.begin_s) if one.end_s > one.begin_s else 0.0
    )


def _faults_by_bin(who: str, trace: Trace, width_s: float, end_s: float) -> Chart:
    """Number of faults in each bin, stacked by cause, the rarest causes together."""
    ranked = [name for name, _ in Counter(m.name for m in trace.faults).most_common()]
    kept = ranked[: len(_CAUSE_TONES) - 1]
    tones = dict(zip(kept, _CAUSE_TONES, strict=False)) | {_OTHER: _CAUSE_TONES[-1]}
    columns = [
        _merged(one, kept) for one in counted(trace.faults, width_s=width_s, end_s=trace.end_s)
    ]
    frame = Frame(
        x=time_axis(end_s),
        y=value_axis([0, *(sum(c.values()) for c in columns)], text=plain, num_ticks=3),
        height_px=120,
    )
    spans = bin_edges_s(width_s=width_s, end_s=trace.end_s)
    names = [*kept, *([_OTHER] if len(ranked) > len(kept) else [])]
    return Chart(
        title=f"{who}: faults",
        subtitle=f"number in each {_width(width_s)}, {len(trace.faults):,} in all",
        svg=chart(
            frame,
            _columns(frame, spans, columns, names, tones.__getitem__),
            alt=f"{who}: faults by cause along time",
        ),
        legend=tuple((tones[n], n) for n in names),
    )


_OTHER = "other causes"


def _merged(counts: Counter[str], kept: Sequence[str]) -> dict[str, float]:
    rest = sum(n for name, n in counts.items() if name not in kept)
    return {name: float(counts[name]) for name in kept} | {_OTHER: float(rest)}


def _columns(
    frame: Frame,
    spans: Sequence[tuple[float, float]],
    columns: Sequence[Mapping[str, float]],
    names: Sequence[str],
    tone_of: Callable[[str], str],
) -> list[Markup]:
    """Stacked columns, one path a name, the first name at the bottom."""
    floors = [0.0] * len(columns)
    layers = []
    for name in names:
        tops = [
            floor + column.get(name, 0.0) for floor, column in zip(floors, columns, strict=True)
        ]
        boxes = [
            (a, b, floor, top)
            for (a, b), floor, top in zip(spans, floors, tops, strict=True)
            if top > floor
        ]
        layers.append(bars(frame, boxes, tone=tone_of(name), gap=2.0))
        floors = tops
    return layers


def _width(width_s: float) -> str:
    return {HOUR_S: "hour", DAY_S: "day", 7 * DAY_S: "week"}.get(width_s, show_time(width_s))


def losses(trace: Trace) -> Chart:
    """Loss by step: the kept curve, the stretch that was done again, the checkpoints."""
    kept = [loss for loss in trace.losses if not loss.redone]
    again = [loss for loss in trace.losses if loss.redone]
    steps = [loss.step for loss in trace.losses]
    frame = Frame(
        x=_step_axis(max(steps)),
        y=value_axis((loss.loss for loss in trace.losses), text=plain),
        height_px=240,
    )
    layers = [_shade(frame, a, b) for a, b in _stretches(again)]
    layers.append(line(frame, _thinned([(loss.step, loss.loss) for loss in kept]), tone="blue"))
    layers += [_redone_dot(frame, loss) for loss in again[:_MOST_MARKS]]
    layers += [_checkpoint_dot(frame, at_s, step) for at_s, step in trace.checkpoints[:_MOST_MARKS]]
    last = kept[-1]
    legend = [("blue", f"kept steps, at the end {last.loss:.3f} nats")]
    legend += [("red", f"{plural(len(again), 'step')} lost and done again")] if again else []
    legend += [("green", plural(len(trace.checkpoints), "checkpoint"))] if trace.checkpoints else []
    return Chart(
        title="Loss",
        subtitle="reality, nats a token, by step",
        svg=chart(frame, layers, alt=f"Loss falls to {last.loss:.3f} nats at step {last.step}"),
        legend=tuple(legend),
    )


def _step_axis(last: int) -> Axis:
    axis = value_axis([0, last], text=plain, label="step", num_ticks=5)
    return Axis(
        low=0, high=last, ticks=tuple(t for t in axis.ticks if t.value <= last), label="step"
    )


def _shade(frame: Frame, first: int, last: int) -> Markup:
    box = (first - 0.5, last + 0.5, frame.y.low, frame.y.high)
    return Markup('<g class="shade">{}</g>').format(bars(frame, [box], tone="red"))


def _stretches(again: Sequence[Loss]) -> Iterable[tuple[int, int]]:
    """Runs of consecutive steps."""
    steps = sorted({loss.step for loss in again})
    begin = 0
    for index, step in enumerate(steps):
        if index + 1 == len(steps) or steps[index + 1] != step + 1:
            yield steps[begin], step
            begin = index + 1


def _redone_dot(frame: Frame, loss: Loss) -> Markup:
    title = f"step {loss.step}: {loss.loss:.4f} nats, lost and done again"
    return dot(frame, (loss.step, loss.loss), tone="red", title=title, size_px=3)


def _checkpoint_dot(frame: Frame, at_s: float, step: int) -> Markup:
    title = f"checkpoint of step {step}, committed after {show_time(at_s)}"
    return dot(frame, (step, frame.y.low), tone="green", title=title, size_px=4.5)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``_MOST_POINTS`` points, the last always among them."""
    stride = len(points) // _MOST_POINTS + 1
    return points[::stride] + (points[-1:] if (len(points) - 1) % stride else [])


def step_times(plan_s: float | None, campaigns: Sequence[tuple[str, str, Trace]]) -> Chart:
    """Share of steps that took at most so long, for each (who, tone, trace); the plan as a line."""
    curves = [(who, tone_name, _cumulative(t.step_times_s)) for who, tone_name, t in campaigns]
    times = [s for _, _, curve in curves for s, share in curve if share <= 0.99]
    times += [curve[0][0] for _, _, curve in curves] + ([plan_s] if plan_s else [])
    axis = value_axis(times, text=_seconds, label="time of a step", num_ticks=5)
    frame = Frame(
        x=axis,
        y=value_axis([0, 1], text=percent_tick),
        height_px=190,
    )
    layers = [
        step_line(frame, [(axis.low, 0.0), *curve], tone=tone_name)
        for _, tone_name, curve in curves
    ]
    if plan_s:
        layers.append(rule(frame, plan_s, tone="orange", title=f"plan: {show_time(plan_s)}"))
    legend = [("orange", f"plan {show_time(plan_s)}")] if plan_s else []
    legend += [(t, f"{who}: median {show_time(_median(curve))}") for who, t, curve in curves]
    return Chart(
        title="Time of a step",
        subtitle="share of steps that took at most so long; the slowest hundredth is cut off",
        svg=chart(frame, layers, alt="Share of steps by their time"),
        legend=tuple(legend),
    )


def percent_tick(share: float) -> str:
    """``0.25`` -> ``25 %``."""
    return f"{100 * share:.3g} %"


def _seconds(value_s: float) -> str:
    if abs(value_s) >= 1 or value_s == 0:
        return f"{value_s:.3g} s"
    return f"{value_s * 1e3:.3g} ms"


def _cumulative(times_s: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """(time, share of steps at most so long), rising, at most ``_MOST_POINTS`` points."""
    counts: Counter[float] = Counter()
    for time_s, count in times_s:
        counts[time_s] += count
    total, done, curve = sum(counts.values()), 0, []
    for time_s, count in sorted(counts.items()):
        done += count
        curve.append((time_s, done / total))
    return _thinned(curve)


def _median(curve: Sequence[tuple[float, float]]) -> float:
    return next(time_s for time_s, share in curve if share >= 0.5)


def cumulative_faults(campaigns: Sequence[tuple[str, str, Trace]]) -> Chart:
    """How many faults had struck by then, for each (who, tone, trace)."""
    frame = Frame(
        x=time_axis(max(t.end_s for _, _, t in campaigns)),
        y=value_axis([0, *(len(t.faults) for _, _, t in campaigns)], text=plain),
        height_px=170,
    )
    layers = []
    for _, tone_name, trace in campaigns:
        points = [(m.at_s, float(n)) for n, m in enumerate(trace.faults, start=1)]
        layers.append(step_line(frame, _thinned([(0.0, 0.0), *points]), tone=tone_name))
    return Chart(
        title="Faults so far",
        svg=chart(frame, layers, alt="Cumulative number of faults"),
        legend=tuple((tone_name, f"{who} {len(t.faults):,}") for who, tone_name, t in campaigns),
    )
