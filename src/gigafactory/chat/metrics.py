"""What Prometheus reads: counters, gauges and histograms in its text format, version 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TTFT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.45, 1.0, 2.5, 5.0, 10.0, 30.0)
_TPOT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.04, 0.075, 0.1, 0.25, 0.5, 1.0)
_WHOLE_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Labels = tuple[str, ...]


@dataclass(slots=True)
class Counter:
    """Counts up, one figure for each set of labels."""

    name: str
    about: str
    labels: Labels
    _values: dict[Labels, float] = field(default_factory=dict)

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """``amount`` more."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def lines(self) -> Iterable[str]:
        """In the text format."""
        yield from _head(self.name, self.about, "counter")
        for labels, value in self._values.items():
            yield f"{self.name}{_shown(self.labels, labels)} {value:g}"


@dataclass(slots=True)
class Histogram:
    """How a duration is spread."""

    name: str
    about: str
    labels: Labels
    bounds: Sequence[float]
    _counts: dict[Labels, list[int]] = field(default_factory=dict)
    _sums: dict[Labels, float] = field(default_factory=dict)

    def observe(self, *labels: str, value: float) -> None:
        """One more value."""
        counts = self._counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterable[str]:
        """In the text format."""
        yield from _head(self.name, self.about, "histogram")
        names = (*self.labels, "le")
        for labels, counts in self._counts.items():
            so_far = 0
            for bound, count in zip([*map(str, self.bounds), "+Inf"], counts, strict=True):
                so_far += count
                yield f"{self.name}_bucket{_shown(names, (*labels, bound))} {so_far}"
            yield f"{self.name}_sum{_shown(self.labels, labels)} {self._sums[labels]:.9g}"
            yield f"{self.name}_count{_shown(self.labels, labels)} {so_far}"


@dataclass(slots=True)
class Gauge:
    """A figure that is looked up when it is asked for."""

    name: str
    about: str
    labels: Labels
    read: Callable[[], Mapping[Labels, float]]

    def lines(self) -> Iterable[str]:
        """In the text format."""
        yield from _head(self.name, self.about, "gauge")
        for labels, value in self.read().items():
            yield f"{self.name}{_shown(self.labels, labels)} {value:g}"


class Metrics:
    """All figures of one service; ``present`` tells how many requests each model has."""

    def __init__(self, present: Callable[[], Mapping[str, int]]) -> None:
        self.requests = Counter(
            "giga_chat_requests_total", "Requests by route, model and status.",
            ("route", "model", "status"),
        )  # fmt: skip
        self.tokens = Counter(
            "giga_chat_tokens_total", "Tokens of prompts and answers.", ("model", "kind")
        )
        self.ends = Counter("giga_chat_ends_total", "How answers ended.", ("model", "outcome"))
        self.ttft = Histogram(
            "giga_chat_time_to_first_token_seconds", "From the request to its first token.",
            ("model",), _TTFT_S,
        )  # fmt: skip
        self.tpot = Histogram(
            "giga_chat_time_per_output_token_seconds", "Between tokens after the first, by answer.",
            ("model",), _TPOT_S,
        )  # fmt: skip
        self.whole = Histogram(
            "giga_chat_request_seconds", "From the request to its end.", ("model",), _WHOLE_S
        )
        self._present = Gauge(
            "giga_chat_requests_present", "Requests being answered or waiting.", ("model",),
            lambda: {(name,): float(count) for name, count in present().items()},
        )  # fmt: skip

    def text(self) -> str:
        """The page that Prometheus reads."""
        families = (
            self.requests, self.tokens, self.ends, self.ttft, self.tpot, self.whole, self._present
        )  # fmt: skip
        return "\n".join(line for family in families for line in family.lines()) + "\n"


def _head(name: str, about: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {about}", f"# TYPE {name} {kind}"


def _shown(names: Labels, values: Labels) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    pairs = ",".join(f'{n}="{escaped(v)}"' for n, v in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""
