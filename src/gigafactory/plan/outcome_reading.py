"""What a row about a published campaign says, read into numbers.

A row is a mapping of the columns of ``outcomes.csv`` to text. Its quantities are read from
``published_inputs``, then from what ``repro_method`` sets (``u0=2 min``, ``N=256..512``), each
as a range whose ends agree where one figure is stated. Nothing looks at who published the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

from gigafactory.units import DAY_S, HOUR_S

Row = Mapping[str, str]
MINUTE_S, YEAR_S = 60.0, 365.25 * DAY_S
UNITS_S = {
    "s": 1.0, "sec": 1.0, "min": MINUTE_S, "h": HOUR_S, "hour": HOUR_S, "d": DAY_S, "day": DAY_S,
    "week": 7 * DAY_S, "mo": YEAR_S / 12, "month": YEAR_S / 12, "y": YEAR_S, "year": YEAR_S,
}  # fmt: skip
PER_KDAY = 1e-3 / DAY_S
GPUS_PER_HOST = 8
TPUS_PER_HOST = 4

_NUM = r"(\d[\d,]*\.?\d*|\.\d+)"
_TIME = r"(sec|s|minutes?|min|hours?|h|days?|d|weeks?|months?|mo|years?|y)\b"
_TO = rf"(?:\s*(?:-|\.\.|to)\s*{_NUM})?"


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``; both the same where a figure is stated."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Halfway."""
        return 0.5 * (self.low + self.high)

    @property
    def is_point(self) -> bool:
        """Whether a single figure is stated."""
        return self.low == self.high

    def times(self, factor: float) -> Range:
        """In other units."""
        return Range(self.low * factor, self.high * factor)

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in it, give or take rounding."""
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack

    def meets(self, other: Range) -> bool:
        """Whether the two have a value in common."""
        return self.low <= other.high * (1 + 1e-9) and other.low <= self.high * (1 + 1e-9)


def point(value: float) -> Range:
    """A stated figure."""
    return Range(value, value)


@dataclass(frozen=True)
class Stated:
    """The quantities of a row; None where it says nothing."""

    host_rate_per_s: Range | None = None
    job_rate_per_s: Range | None = None
    num_hosts: Range | None = None
    num_gpus: tuple[float, ...] = ()
    gpus_per_host: float | None = None
    restart_s: Range | None = None
    restart_after_s: Range | None = None
    """Second of two stated recoveries (before -> after)."""
    interval_s: Range | None = None
    each_step: bool = False
    """A checkpoint at every step."""
    blocking_s: Range | None = None
    overhead: float | None = None
    """Share of the time that checkpoints take."""
    spacing_s: Range | None = None
    """Between failures of the job."""
    period_s: Range | None = None
    target: float | None = None
    confidence: float | None = None
    num_units: int | None = None
    num_events: int | None = None
    num_unexpected: int | None = None
    num_faults: int | None = None
    availability: Range | None = None
    bound: str = field(default="")
    """``<`` where the scale is stated as more than so much."""

    @property
    def hosts(self) -> Range | None:
        """Hosts of the job: as stated, or its GPUs over those of a host."""
        if self.num_hosts is not None:
            return self.num_hosts
        if not self.num_gpus:
            return None
        per_host = self.gpus_per_host or GPUS_PER_HOST
        return Range(min(self.num_gpus), max(self.num_gpus)).times(1.0 / per_host)

    def filled_from(self, other: Stated) -> Stated:
        """What is not said here is taken from ``other``."""
        missing = {
            f.name: getattr(other, f.name)
            for f in fields(self)
            if getattr(self, f.name) in (None, (), False, "")
        }
        return replace(self, **missing)


def stated(row: Row) -> Stated:
    """Every quantity that the row states."""
    scale = row["scale_gpus"]
    inputs = read_quantities(row["published_inputs"])
    whole = inputs.filled_from(read_quantities(row["repro_method"]))
    per_host = whole.gpus_per_host or _chips_per_host(f"{scale} {row['system']}")
    return replace(
        whole,
        num_gpus=read_counts(scale),
        gpus_per_host=per_host,
        period_s=read_time(row["period"]) or whole.period_s,
    )


def read_quantities(text: str) -> Stated:
    """The quantities in a free text of inputs."""
    found = re.sub(r"\s+", " ", text)
    restarts = _durations(found, r"u0|R|restart|recovery|stall|downtime")
    return Stated(
        host_rate_per_s=_host_rate(found),
        job_rate_per_s=_per_time(found, r"job-?(?:level|size)?[- ]?(?:independent )?hazard"),
        num_hosts=_named_count(found, r"N"),
        gpus_per_host=_first(found, rf"{_NUM}\s*GPUs?\s*/\s*(?:node|host|server)"),
        restart_s=restarts[0] if restarts else None,
        restart_after_s=_after_arrow(found),
        interval_s=_interval(found),
        each_step=bool(re.search(r"every[- ]step|each step|per[- ]step", found, re.I)),
        blocking_s=next(iter(_durations(found, "w|blocking")), None) or _zero(found, "w"),
        overhead=_share(found, r"[<~]?\s*([\d.]+)\s*% overhead"),
        spacing_s=_spacing(found),
        target=_first(found, rf"(?:ETTR|goodput)\s*(?:of|=)?\s*{_NUM}\s*target"),
        confidence=_share(found, r"([\d.]+)\s*% confidence"),
        num_units=_whole(found, r"(\d+)\s*(?:cubes|slices|pods|racks|units)\b"),
        num_events=_whole(found, r"([\d,]+)\s*interruptions"),
        num_unexpected=_whole(found, r"([\d,]+)\s*(?:unexpected|unplanned)"),
        num_faults=_whole(found, r"([\d,]+)\s*faults"),
        availability=_named_range(found, r"(?:p|p_avail|availability)"),
    )


def read_counts(text: str) -> tuple[float, ...]:
    """Numbers of GPUs: ``16384``, ``512+``, ``16K/22K``, ``8960-chip pods``; none where unclear."""
    if re.search(r"continent|nodes|hosts", text):
        return ()
    found = re.findall(rf"(?<![A-Za-z\d.,]){_NUM}\s*([KkM])?(?![\d.])", text)
    factor = {"": 1.0, "k": 1e3, "m": 1e6}
    return tuple(_number(n) * factor[unit.lower()] for n, unit in found)


def read_time(text: str) -> Range | None:
    """A duration such as ``54 d``, ``~74 d (derived)``, ``55-73 d``."""
    match = re.search(rf"{_NUM}{_TO}\s*{_TIME}", text)
    return _range_s(*match.groups()) if match else None


def unit_s(word: str) -> float:
    """Seconds in a unit of time, singular or plural."""
    return UNITS_S.get(word) or UNITS_S[word.rstrip("s").replace("minute", "min")]


def references(text: str, known: Iterable[str]) -> list[str]:
    """Rows of the same table that a text of inputs names."""
    return [name for name in known if re.search(rf"\b{re.escape(name)}\b", text)]


def _host_rate(text: str) -> Range | None:
    """Failures of one host per second, from so many in 1,000 node-days."""
    kdays = r"(?:/|per)\s*1[, ]?000\s*(?:nodes?|servers?|hosts?|machines?)[- ]days?"
    match = re.search(rf"{_NUM}{_TO}\s*(?:failures?\s*)?{kdays}", text)
    if match is None:
        many = re.search(r"\br\s*=\s*(\d[\d.]*(?:/\d[\d.]*)+)", text)
        if many:
            rates = [_number(part) for part in many[1].split("/")]
            return Range(min(rates), max(rates)).times(PER_KDAY)
        match = re.search(rf"\br\s*=\s*{_NUM}{_TO}", text)
    if match is None:
        return None
    low = _number(match[1])
    return Range(low, _number(match[2]) if match[2] else low).times(PER_KDAY)


def _per_time(text: str, name: str) -> Range | None:
    match = re.search(rf"{name}\s*(?:of|=|:)?\s*{_NUM}\s*(?:/|per)\s*{_TIME}", text)
    return point(_number(match[1]) / unit_s(match[2])) if match else None


def _durations(text: str, name: str) -> list[Range]:
    """Stated times called ``name``; of several names before a sign of equality all count."""
    pattern = rf"\b(?:{name})(?:\s*=\s*dt)?\s*(?:time|of|=|:|<|~)?\s*[<~]?{_NUM}{_TO}\s*{_TIME}"
    return [_range_s(*groups) for groups in re.findall(pattern, text)]


def _after_arrow(text: str) -> Range | None:
    match = re.search(
        rf"(?:restart|recovery|downtime)\b[^>]*->\s*[<~]?\s*{_NUM}{_TO}\s*{_TIME}", text
    )
    return _range_s(*match.groups()) if match else None


def _interval(text: str) -> Range | None:
    """Between checkpoints."""
    named = _durations(text, r"dt|(?:checkpoint|ckpt)s?\s*(?:interval|every)")
    if named:
        return named[0]
    words = {"hourly": HOUR_S, "daily": DAY_S, "every hour": HOUR_S, "every minute": MINUTE_S}
    found = [seconds for word, seconds in words.items() if word in text.lower()]
    return point(found[0]) if found else None


def _spacing(text: str) -> Range | None:
    """Between failures of the job."""
    name = r"interval between failures|time between failures|MTBF|MTTF|(?:a )?failure every"
    return next(iter(_durations(text, name)), None)


def _named_count(text: str, name: str) -> Range | None:
    match = re.search(rf"\b{name}\s*=\s*{_NUM}{_TO}", text)
    if match is None:
        return None
    low = _number(match[1])
    return Range(low, _number(match[2]) if match[2] else low)


def _named_range(text: str, name: str) -> Range | None:
    match = re.search(rf"\b{name}\s*=?\s*~?(0?\.\d+)(?:\s*-\s*(0?\.\d+))?", text)
    return Range(float(match[1]), float(match[2] or match[1])) if match else None


def _zero(text: str, name: str) -> Range | None:
    return point(0.0) if re.search(rf"\b{name}\s*=\s*0\b(?!\.)", text) else None


def _first(text: str, pattern: str) -> float | None:
    match = re.search(pattern, text)
    return _number(match[1]) if match else None


def _share(text: str, pattern: str) -> float | None:
    found = _first(text, pattern)
    return None if found is None else found / 100.0


def _whole(text: str, pattern: str) -> int | None:
    found = _first(text, pattern)
    return None if found is None else int(found)


def _range_s(low: str, high: str, unit: str) -> Range:
    seconds = unit_s(unit)
    return Range(_number(low), _number(high or low)).times(seconds)


def _number(text: str) -> float:
    return float(text.replace(",", "").rstrip("."))


def _chips_per_host(text: str) -> float:
    return TPUS_PER_HOST if re.search(r"TPU|chip", text) else GPUS_PER_HOST
