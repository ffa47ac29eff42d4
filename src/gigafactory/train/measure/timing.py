"""Seconds of a call, on a device that may run behind the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from gigafactory.describe.cluster import Precision
from gigafactory.describe.measured import Piece, Unit

#: A measurement repeats the call until it lasts this long: far above the clock's grain.
LEAST_S = 4e-3
_MOST_REPEATS = 4096
#: A difference of two timings is never taken for less than this share of the longer one.
_LEAST_REST = 0.05


@dataclass(slots=True)
class Case:
    """One piece at one size, ready to be run again and again."""

    piece: Piece
    work: dict[Unit, float]
    """How much of each unit one call does."""
    run: Callable[[], object]
    precision: Precision | None = None
    """None where the number format makes no difference."""
    num_ranks: int | None = None
    """Ranks that take part where they talk; None: each alone."""
    baseline: Callable[[], object] | None = None
    """What ``run`` does besides, to be taken off."""
    repeats: int = 1
    seconds: list[float] = field(default_factory=list)
    """One a round."""


def settle(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def once_s(case: Case, *, device: torch.device) -> float:
    """Seconds of a call, device work included, above 0."""
    whole_s = _mean_s(case.run, case.repeats, device)
    if case.baseline is None:
        return whole_s
    return max(whole_s - _mean_s(case.baseline, case.repeats, device), _LEAST_REST * whole_s)


def _mean_s(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    settle(device)
    began_s = time.perf_counter()
    for _ in range(repeats):
        run()
    settle(device)
    return (time.perf_counter() - began_s) / repeats


def warm_up(case: Case, *, device: torch.device) -> None:
    """Compile, allocate, and find how many repeats last ``LEAST_S``."""
    case.run()
    case.run()
    took_s = once_s(case, device=device)
    case.repeats = max(1, min(_MOST_REPEATS, int(LEAST_S / max(took_s, 1e-7)) + 1))
