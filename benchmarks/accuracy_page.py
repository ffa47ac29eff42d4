"""Write the tables and pictures of docs/accuracy.md from the tables of measured runs.

    python benchmarks/accuracy_page.py ../shared/data [--page docs/accuracy.md]

Scores both tables as `giga validate --json` does, puts the figures between the marks
``<!-- table: NAME -->`` and ``<!-- end -->`` of the page, and draws predicted against measured into
docs/images/. Prose stays, and so do the reasons in the table of the worst rows: they are written by
hand, and a row that is new there gets a dash until somebody has looked at it.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gigafactory import api
from gigafactory.report.axes import Axis, Tick
from gigafactory.report.svg import Frame, dot, line

Scored = Mapping[str, Any]

ROOT = Path(__file__).resolve().parents[1]
#: Colours of Okabe and Ito, told apart by colour-blind eyes.
_COLOURS = {
    "blue": "#0072b2",
    "green": "#009e73",
    "orange": "#e69f00",
    "red": "#d55e00",
    "pink": "#cc79a7",
    "ink": "#16202c",
}
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#16202c}.name{font-weight:600}"
    ".grid{stroke:#dfe4ea}.dot{fill-opacity:.55}.line{fill:none;stroke:#5a6675}"
    ".line.c-grey{stroke-dasharray:4 4}polyline{vector-effect:non-scaling-stroke}"
)
_FAMILIES = (
    ("A100", "A100", "blue"),
    ("H", "H100 and H200", "green"),
    ("B200", "B200 and B300", "orange"),
    ("B300", "B200 and B300", "orange"),
    ("GB", "GB200 and GB300", "red"),
)
_QUANTITIES = (
    ("throughput", "time per token and GPU", "blue"),
    ("tpot", "time per output token", "green"),
    ("ttft", "time to the first token", "red"),
    ("e2e", "time of a request", "orange"),
)
_SIDE, _LEFT, _TOP = 460, 62, 40


def main(arguments: argparse.Namespace) -> None:
    tables = {name: arguments.tables / f"{name}_runs.csv" for name in ("training", "serving")}
    training, serving = (api.validate(table) for table in tables.values())
    told = _rows_of(tables["training"])
    text = arguments.page.read_text(encoding="utf-8")
    for name, table in {
        "targets": _targets(training, serving, told),
        **_of_steps(training),
        "intervals": _intervals(training, told),
        "sweeps": _sweeps(training["sweeps"]),
        "worst": _worst(training, told, _reasons(text)),
        **_of_memory(training),
        **{f"serving {key}": _by(serving, key) for key in ("quantity", "gpu", "kind", "source")},
        "skipped": _skipped(training),
    }.items():
        text = _put(text, name, table)
    arguments.page.write_text(text, encoding="utf-8")
    for name, picture in _pictures(training, serving, told).items():
        path = ROOT / "docs" / "images" / f"accuracy-{name}.svg"
        path.write_text(picture, encoding="utf-8")


def _rows_of(table: Path) -> dict[str, dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return {row["row_id"]: row for row in csv.DictReader(file)}


def _put(text: str, name: str, table: str) -> str:
    block = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.S)
    if not block.search(text):
        raise SystemExit(f"the page has no place for the table {name!r}")
    return block.sub(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _percent(share: float | None, *, sign: bool = False) -> str:
    if share is None:
        return "-"
    return f"{100 * share:{'+' if sign else ''}.1f} %"


def _summary(name: str, s: Scored) -> list[str]:
    return [
        name,
        f"{s['num_rows'] - s['num_skipped']}",
        _percent(s["median_abs_error"]),
        _percent(s["p90_abs_error"]),
        _percent(s["bias"], sign=True),
    ]


_HEAD = ("rows", "scored", "median", "90th percentile", "bias")


#: (rows, best public tool, target) of training rows, and which rows these are.
_STEP_TARGETS: tuple[tuple[str, str, str, Callable[[Mapping[str, str]], bool]], ...] = (
    (
        "dense, H100, trust A",
        "5.8 % mean; 4.0 % mean",
        "3 / 8 %",
        lambda run: _is(run, "H100", experts=False) and run["trust"].strip() == "A",
    ),
    (
        "mixture of experts, H100",
        "44.8 % mean; 22 %",
        "7 / 18 %",
        lambda run: _is(run, "H100", experts=True),
    ),
    ("A100, all sources", "12.0 % mean", "6 / 15 %", lambda run: _is(run, "A100")),
    ("B200, GB200, B300, GB300", "none", "7 / 18 %", lambda run: _is(run, "B", "GB")),
    ("all scorable rows", "25 % median", "6 / 18 %", lambda run: True),
)
_SERVING_TARGETS = (
    ("throughput", "-", "9 % median"),
    ("tpot", "14 % median, H100", "9 % median"),
    ("ttft", "45 %", "20 % median"),
)


def _is(run: Mapping[str, str], *gpus: str, experts: bool | None = None) -> bool:
    has = run["experts"] not in ("", "0")
    return run["gpu_class"].startswith(gpus) and (experts is None or has is experts)


def _targets(training: Scored, serving: Scored, told: Mapping[str, Mapping[str, str]]) -> str:
    known = [row for row in training["rows"] if row["error"] is not None]
    rows = []
    for what, best, target, chosen in _STEP_TARGETS:
        errors = [abs(row["error"]) for row in known if chosen(told[row["row_id"]])]
        rows.append([f"step, {what}", str(len(errors)), best, target, _pair(errors)])
    memory, fits, sweeps = training["memory"], training["fits"], training["sweeps"]
    errors = [abs(row["error"]) for row in memory["rows"] if row["error"] is not None]
    close = sum(one["loss"] <= 0.03 for one in sweeps["sweeps"])
    called, coverage = fits["num_called_out_of_memory"], training["summary"]["interval_coverage"]
    count = str(sweeps["num_sweeps"])
    spearman = f"{sweeps['median_spearman']:.2f} in the median"
    rows += [
        ["memory", str(len(errors)), "0.46 % on its own rows", "3 / 8 %", _pair(errors)],
        ["called out of memory", f"{fits['num_rows']}", "-", "none", str(called)],
        ["order in a sweep, Spearman", count, "none", "0.95", spearman],
        ["first layout within 3 % of the best", count, "none", "all", f"{close} sweeps"],
        ["inside the 80 % interval", str(len(known)), "none", "75 to 85 %", _percent(coverage)],
    ]
    for name, best, target in _SERVING_TARGETS:
        errors = [
            abs(row["error"])
            for row in serving["rows"]
            if row["quantity"] == name and row["error"] is not None
        ]
        rows.append([f"serving, {name}", str(len(errors)), best, target, _pair(errors)])
    return _table(("what", "number", "best public tool", "target", "reached"), rows)


def _pair(errors: Sequence[float]) -> str:
    """Median and 90th percentile, the latter as `giga validate` counts it."""
    ranked = sorted(errors)
    ninetieth = ranked[min(int(0.9 * len(ranked)), len(ranked) - 1)]
    return f"{100 * statistics.median(ranked):.1f} / {100 * ninetieth:.1f} %"


def _by(document: Scored, key: str) -> str:
    groups = document["by"][key].items()
    rows = [_summary(name or "-", s) for name, s in _ordered(groups) if _scored(s)]
    return _table((key, *_HEAD[1:]), rows)


def _ordered(groups: Iterable[tuple[str, Scored]]) -> list[tuple[str, Scored]]:
    """By the first number in the name, then by name: 4 GPUs before 16."""

    def place(name: str) -> tuple[int, str]:
        number = re.match(r"\d+", name)
        return (int(number[0]) if number else 0, name)

    return sorted(groups, key=lambda group: place(group[0]))


def _scored(s: Scored) -> bool:
    return bool(s["num_rows"] > s["num_skipped"])


def _of_steps(training: Scored) -> dict[str, str]:
    keys = ("gpu", "kind", "scale", "framework", "source")
    everything = _table(_HEAD, [_summary("all", training["summary"])])
    return {"steps": everything, **{f"steps {key}": _by(training, key) for key in keys}}


def _of_memory(training: Scored) -> dict[str, str]:
    memory, fits = training["memory"], training["fits"]
    rows = [_summary("all", memory["summary"])]
    rows += [
        _summary(name, s)
        for key in ("source", "counted", "gpu")
        for name, s in memory["by"][key].items()
        if _scored(s)
    ]
    called = [
        [f"{fits['num_rows']:,}", str(fits[f"num_{what}"])]
        for what in ("called_out_of_memory", "over_as_usual")
    ]
    words = ("do not fit even in the leanest reading", "do not fit in the usual reading")
    fitting = _table(
        ("runs that took place", "of them", "number"),
        [[c[0], word, c[1]] for c, word in zip(called, words, strict=True)],
    )
    return {"memory": _table(_HEAD, rows), "fits": fitting}


def _intervals(training: Scored, told: Mapping[str, Mapping[str, str]]) -> str:
    held: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    for row in training["rows"]:
        if row["low"] is None:
            continue
        dense = "experts" if told[row["row_id"]]["experts"] not in ("", "0") else "dense"
        for name in ("all", dense, _family(told[row["row_id"]]["gpu_class"])[0]):
            held.setdefault(name, []).append(row["low"] <= row["measured"] <= row["high"])
            widths.setdefault(name, []).append(math.sqrt(row["high"] / row["low"]) - 1)
    rows = [
        [
            name,
            str(len(inside)),
            _percent(sum(inside) / len(inside)),
            _percent(_median(name, widths)),
        ]
        for name, inside in held.items()
    ]
    return _table(("rows", "scored", "inside", "half width, median"), rows)


def _median(name: str, values: Mapping[str, Sequence[float]]) -> float:
    return statistics.median(values[name])


def _sweeps(sweeps: Scored) -> str:
    by_source: dict[str, list[Scored]] = {}
    for one in sweeps["sweeps"]:
        for name in ("all", one["sweep"].split()[0]):
            by_source.setdefault(name, []).append(one)

    def row(name: str, some: Sequence[Scored]) -> list[str]:
        close = sum(one["loss"] <= 0.03 for one in some)
        return [
            name,
            str(len(some)),
            f"{statistics.median(one['spearman'] for one in some):.2f}",
            f"{close} of {len(some)}",
            _percent(statistics.median(one["loss"] for one in some)),
            _percent(max(one["loss"] for one in some)),
        ]

    head = ("sweeps of", "number", "Spearman, median", "first within 3 %", "loss, median", "worst")
    return _table(head, [row(name, some) for name, some in by_source.items()])


def _worst(
    training: Scored, told: Mapping[str, Mapping[str, str]], reasons: Mapping[str, str]
) -> str:
    known = [row for row in training["rows"] if row["error"] is not None]
    worst = sorted(known, key=lambda row: -abs(math.log1p(row["error"])))[:10]
    rows = []
    for row in worst:
        run = told[row["row_id"]]
        precision = run["precision"].split(" (")[0]
        what = f"{run['model_id']} {precision}, {run['n_gpus']} {run['gpu_class']}"
        times = [f"{row[key]:.3g} s" for key in ("measured", "predicted")]
        error = _percent(row["error"], sign=True)
        rows.append([row["row_id"], what, *times, error, reasons.get(row["row_id"], "-")])
    return _table(("row", "run", "measured", "predicted", "error", "reason"), rows)


def _reasons(text: str) -> dict[str, str]:
    """What stands in the last column of the table of worst rows, by row."""
    block = re.search(r"<!-- table: worst -->\n(.*?)<!-- end -->", text, re.S)
    lines = [line.strip("| ").split(" | ") for line in (block[1] if block else "").splitlines()]
    return {cells[0]: cells[-1] for cells in lines if len(cells) == 6}


def _skipped(training: Scored) -> str:
    counts: dict[str, int] = {}
    for row in training["rows"]:
        if row["skipped"]:
            reason = re.sub(r"[:,(].*", "", row["skipped"]).strip()
            counts[reason] = counts.get(reason, 0) + 1
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return _table(("why a row is not scored", "rows"), [[why, str(n)] for why, n in rows])


def _family(gpu: str) -> tuple[str, str]:
    return next(((name, tone) for start, name, tone in _FAMILIES if gpu.startswith(start)))


def _quantity(name: str) -> tuple[str, str]:
    return next(
        (
            (words, tone)
            for start, words, tone in _QUANTITIES
            if name.removeprefix("prompt_").startswith(start)
        )
    )


def _pictures(
    training: Scored, serving: Scored, told: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    def gpu(row: Scored) -> tuple[str, str]:
        return _family(told[row["row_id"]]["gpu_class"])

    memory = [
        {**row, "measured": row["measured_bytes"] / 1e9, "predicted": row["predicted_bytes"] / 1e9}
        for row in training["memory"]["rows"]
        if row["error"] is not None
    ]
    return {
        "steps": _scatter(training["rows"], gpu, name="time of a training step", unit="s"),
        "serving": _scatter(
            serving["rows"], lambda row: _quantity(row["quantity"]), name="serving", unit="s"
        ),
        "memory": _scatter(memory, gpu, name="memory of a GPU", unit="GB"),
    }


def _scatter(
    rows: Iterable[Scored], group: Callable[[Scored], tuple[str, str]], *, name: str, unit: str
) -> str:
    """Predicted over measured, both logarithmic, as a whole SVG file."""
    points = [row for row in rows if row["error"] is not None]
    axis = _decades([row[key] for row in points for key in ("measured", "predicted")])
    frame = Frame(x=axis, y=axis, height_px=_SIDE)
    shift = math.log10(1.2)
    layers = [
        line(frame, [(axis.low, axis.low), (axis.high, axis.high)], tone="ink"),
        line(frame, [(axis.low, axis.low + shift), (axis.high - shift, axis.high)], tone="grey"),
        line(frame, [(axis.low + shift, axis.low), (axis.high, axis.high - shift)], tone="grey"),
    ]
    counts: dict[tuple[str, str], int] = {}
    for row in points:
        label, tone = group(row)
        counts[label, tone] = counts.get((label, tone), 0) + 1
        at = (math.log10(row["measured"]), math.log10(row["predicted"]))
        layers.append(dot(frame, at, tone=tone, title=row["row_id"], size_px=3))
    return _drawing(frame, layers, counts, name=name, unit=unit)


def _decades(values: Sequence[float]) -> Axis:
    """From below the least to above the largest, in logarithms, a tick at 1, 2, 5 of a decade."""
    low, high = math.log10(min(values)) - 0.05, math.log10(max(values)) + 0.05
    parts = (1, 2, 5) if high - low < 3.5 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    values_at = [part * 10.0**decade for decade in decades for part in parts]
    ticks = [Tick(value=math.log10(v), text=f"{v:g}") for v in values_at]
    return Axis(low=low, high=high, ticks=tuple(t for t in ticks if low <= t.value <= high))


def _drawing(
    frame: Frame,
    layers: Sequence[Markup],
    counts: Mapping[tuple[str, str], int],
    *,
    name: str,
    unit: str,
) -> str:
    width, height = _LEFT + _SIDE + 20, _TOP + _SIDE + 78
    tones = "".join(f".c-{tone}{{fill:{colour}}}" for tone, colour in _COLOURS.items())
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" '
        'role="img"><title>{2}: predicted over measured</title><style>{3}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>'
        '<text class="name" x="{4}" y="22">{5}, {6}: predicted over measured</text>'
        '<svg x="{4}" y="{7}" width="{8}" height="{8}" style="overflow:visible">'
    ).format(width, height, name, Markup(tones + _STYLE), _LEFT, name, unit, _TOP, _SIDE)
    body = Markup("").join([_ticks(frame), *layers])
    return str(head + body + Markup("</svg>") + _legend(counts, height, unit) + Markup("</svg>\n"))


def _ticks(frame: Frame) -> Markup:
    lines = []
    for tick in frame.y.ticks:
        across, down = frame.percent(tick.value), f"{frame.top_px(tick.value):.1f}"
        lines.append(
            Markup(
                '<line class="grid" x1="0" x2="100%" y1="{1}" y2="{1}"/>'
                '<line class="grid" y1="0" y2="100%" x1="{0}" x2="{0}"/>'
                '<text x="-8" y="{1}" dy="4" text-anchor="end">{2}</text>'
                '<text x="{0}" y="{3}" text-anchor="middle">{2}</text>'
            ).format(across, down, tick.text, _SIDE + 18)
        )
    return Markup("").join(lines)


def _legend(counts: Mapping[tuple[str, str], int], height: int, unit: str) -> Markup:
    """Two columns of names below the picture; the axis names itself."""
    parts = [
        Markup('<text x="{}" y="{}" text-anchor="end">measured, {}</text>').format(
            _LEFT + _SIDE, height - 42, unit
        )
    ]
    for number, ((label, tone), count) in enumerate(sorted(counts.items())):
        x, y = _LEFT + 230 * (number % 2), height - 24 + 18 * (number // 2)
        parts.append(
            Markup(
                '<circle class="dot c-{0}" cx="{1}" cy="{2}" r="4"/>'
                '<text x="{3}" y="{4}">{5}, {6:,}</text>'
            ).format(tone, x + 4, y - 4, x + 14, y, label, count)
        )
    return Markup("").join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", type=Path, help="the folder of training_runs.csv and serving_runs.csv"
    )
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "accuracy.md")
    main(parser.parse_args())
