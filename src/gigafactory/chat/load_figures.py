"""What a load test says, from the times at which words came. Names and units (ms) of the figures
are those of vLLM's `bench serve`, so that results can be laid side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One request, times in seconds from the beginning of the test."""

    began_s: float
    word_times_s: Sequence[float] = ()
    """When each bunch of words came."""
    ended_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None

    @property
    def ttft_s(self) -> float:
        """To the first word."""
        return self.word_times_s[0] - self.began_s

    @property
    def tpot_s(self) -> float:
        """A token, after the first; 0 for a single one."""
        more = self.completion_tokens - 1
        return (self.word_times_s[-1] - self.word_times_s[0]) / more if more > 0 else 0.0

    @property
    def itl_s(self) -> list[float]:
        """Between bunches of words."""
        pairs = zip(self.word_times_s, self.word_times_s[1:], strict=False)
        return [later - sooner for sooner, later in pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a request must keep to count as good."""

    ttft_s: float = float("inf")
    tpot_s: float = float("inf")


def figures(shots: Sequence[Shot], *, promise: Promise) -> dict[str, object]:
    """All figures; durations in ms, rates a second."""
    good = [shot for shot in shots if shot.error is None and shot.word_times_s]
    ended = max((shot.ended_s for shot in shots), default=0.0)
    duration_s = max(ended - min((shot.began_s for shot in shots), default=0.0), 1e-9)
    tokens_in = sum(shot.prompt_tokens for shot in good)
    tokens_out = sum(shot.completion_tokens for shot in good)
    kept = [s for s in good if s.ttft_s <= promise.ttft_s and s.tpot_s <= promise.tpot_s]
    spread = {
        "ttft": [shot.ttft_s for shot in good],
        "tpot": [shot.tpot_s for shot in good if shot.completion_tokens > 1],
        "itl": [gap for shot in good for gap in shot.itl_s],
        "e2el": [shot.ended_s - shot.began_s for shot in good],
    }
    return {
        "duration": duration_s,
        "completed": len(good),
        "failed": len(shots) - len(good),
        "total_input_tokens": tokens_in,
        "total_output_tokens": tokens_out,
        "request_throughput": len(good) / duration_s,
        "request_goodput": len(kept) / duration_s,
        "output_throughput": tokens_out / duration_s,
        "total_token_throughput": (tokens_in + tokens_out) / duration_s,
        **{k: v for name, values in spread.items() for k, v in _summary(name, values).items()},
        "errors": sorted({shot.error for shot in shots if shot.error}),
    }


def _summary(name: str, values_s: Sequence[float]) -> dict[str, float | None]:
    if not values_s:
        return {f"{kind}_{name}_ms": None for kind in ("mean", "median", "std", "p99")}
    ms = sorted(1e3 * value for value in values_s)
    return {
        f"mean_{name}_ms": statistics.fmean(ms),
        f"median_{name}_ms": statistics.median(ms),
        f"std_{name}_ms": statistics.pstdev(ms),
        f"p99_{name}_ms": ms[min(len(ms) - 1, round(0.99 * (len(ms) - 1)))],
    }
