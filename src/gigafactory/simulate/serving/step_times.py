"""How long the steps of a replica take, in whole picoseconds.

Legend
    B  requests that decode;  h  tokens in their caches together;  P  prompt tokens of the step
    K  keys that those attend to, summed over them
    decode(B, h) = first[B] + slope[B] h;  mixed(B, h, P, K) = decode(B, h) + more(B, P) + flash K

The equations of serving (`cost.token_step`) are evaluated once on a grid: decode for every B at two
lengths of the context, and the straight line between them is taken; ``more`` for a few B and P,
bilinear between. A law test bounds what that costs in accuracy.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gigafactory.cost.token_step import Deployment, Work, token_step
from gigafactory.simulate.serving.clock import SECOND, picoseconds

Floats = NDArray[np.float64]
_NUM_CHUNKS = 40
_SHORT, _LONG = 256.0, 4096.0
#: Attoseconds of a picosecond; keys are counted twice.
_ATTO = 10**6
_DOUBLE_ATTO = 2 * _ATTO


class StepTimes(Protocol):
    """Durations of steps in picoseconds."""

    def decode(self, num_requests: int) -> tuple[int, int]:
        """(``first``, ``slope``) of a step of so many requests that decode and nothing else."""

    def mixed(
        self, num_requests: int, held_tokens: int, *, prompt_tokens: int, double_keys: int
    ) -> int:
        """A step with prompts; ``double_keys``: twice the keys of all prompt tokens."""


@dataclass(slots=True)
class EquationTimes:
    """The tables of one deployment."""

    first: Sequence[int]
    slope: Sequence[int]
    batches: Sequence[int]
    chunks: Sequence[int]
    more: Sequence[Floats]
    """Picoseconds, rows by ``batches``, columns by ``chunks``."""
    flash: int
    """Attoseconds a key of a prompt token."""
    _rows: dict[int, array[int]] = field(default_factory=dict)
    """``more`` for every number of prompt tokens, by B, as far as it was asked for."""

    def decode(self, num_requests: int) -> tuple[int, int]:
        """(``first``, ``slope``) of a step of decoding."""
        return self.first[num_requests], self.slope[num_requests]

    def mixed(
        self, num_requests: int, held_tokens: int, *, prompt_tokens: int, double_keys: int
    ) -> int:
        """A step with prompts."""
        row = self._rows.get(num_requests) or self._row(num_requests)
        plain = self.first[num_requests] + self.slope[num_requests] * held_tokens
        return plain + row[prompt_tokens] + self.flash * double_keys // _DOUBLE_ATTO

    def _row(self, num_requests: int) -> array[int]:
        high = min(bisect_right(self.batches, num_requests), len(self.batches) - 1)
        low = high - 1
        width = self.batches[high] - self.batches[low]
        share = (num_requests - self.batches[low]) / width
        at_chunks = (1 - share) * self.more[low] + share * self.more[high]
        row = np.interp(np.arange(self.chunks[-1] + 1), self.chunks, at_chunks)
        self._rows[num_requests] = array("q", np.rint(row).astype(np.int64).tobytes())
        return self._rows[num_requests]


def equation_times(at: Deployment, *, max_running: int, max_step_tokens: int) -> EquationTimes:
    """Tables for up to ``max_running`` requests and ``max_step_tokens`` tokens a step."""
    requests = np.arange(1, max_running + 1, dtype=np.float64)
    first, slope = _decode(at, requests)
    batches = _grid(max_running, num=12)
    chunks = _grid(max_step_tokens, num=_NUM_CHUNKS)[1:]
    return EquationTimes(
        first=(0, *first),
        slope=(0, *slope),
        batches=batches,
        chunks=chunks,
        more=[_more(at, float(b), np.asarray(chunks, np.float64)) for b in batches],
        flash=_flash(at, max_step_tokens),
    )


def _decode(at: Deployment, requests: Floats) -> tuple[list[int], list[int]]:
    none = np.zeros_like(requests)
    short, long = (
        token_step(at, Work(requests, none + context, none, none)).step_s
        for context in (_SHORT, _LONG)
    )
    slope = (long - short) / (requests * (_LONG - _SHORT))
    first = short - slope * requests * _SHORT
    return _whole(first), _whole(slope)


def _whole(times_s: Floats) -> list[int]:
    return [picoseconds(value) for value in times_s.tolist()]


def _grid(most: int, *, num: int) -> list[int]:
    """0, 1, ... ``most``, ever more apart."""
    points = np.geomspace(1, max(most, 2), num)
    return [0, *sorted({round(point) for point in points.tolist()})]


def _more(at: Deployment, requests: float, chunks: Floats) -> Floats:
    """What prompts add to a step, attention among them left out; picoseconds."""
    none = np.zeros_like(chunks)
    context = none + _LONG / 2
    plain = token_step(at, Work(none + requests, context, none, none)).step_s if requests else none
    full = token_step(at, Work(none + requests, context, chunks, none)).step_s
    return np.asarray((full - plain) * SECOND)


def _flash(at: Deployment, tokens: int) -> int:
    one, keys = np.ones(1), _LONG / 2
    bare = Work(0 * one, 0 * one, tokens * one, 0 * one)
    seeing = Work(0 * one, 0 * one, tokens * one, keys * one)
    more = token_step(at, seeing).step_s - token_step(at, bare).step_s
    return round(float(more[0]) * SECOND * _ATTO / (tokens * keys))


@dataclass(frozen=True, slots=True)
class MeasuredTimes:
    """A few constants of an engine that was measured, picoseconds.

    ``steps[B]`` is a step with B requests that decode; each token in a cache that is read costs
    ``held``, prompts in a step cost ``part`` and for each of their tokens ``prompt``, what it
    attends to included.
    """

    steps: Sequence[int]
    held: int = 0
    part: int = 0
    prompt: int = 0

    def decode(self, num_requests: int) -> tuple[int, int]:
        """(``first``, ``slope``) of a step of decoding."""
        return self.steps[num_requests], self.held

    def mixed(
        self, num_requests: int, held_tokens: int, *, prompt_tokens: int, double_keys: int
    ) -> int:
        """A step with prompts."""
        plain = self.steps[num_requests] + self.held * held_tokens
        return plain + self.part + self.prompt * prompt_tokens
