"""Community rating: an answer is helpful when people who usually disagree both find it so.

rating = mu + i_user + i_note + f_user * f_note. The factor takes up what one camp likes; the note's
intercept is what is left, and decides. Model, penalties and the mark 0.40 are those published for
Community Notes (Wojcik et al. 2022, arXiv:2210.15723); the fit here is our own: alternating ridge
regressions, each exact, so the cost falls with every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

INTERCEPT_PENALTY = 0.15
FACTOR_PENALTY = 0.03
HELPFUL_AT = 0.40
NOT_HELPFUL_BELOW = -0.05
"""With -0.8 times the absolute factor: an answer that one camp loves is not called unhelpful."""
FACTOR_SLOPE = 0.8
LEAST_RATINGS = 5
_NUM_ROUNDS = 300
_TOLERANCE = 1e-7
_STARTS = 3

Array = NDArray[np.float64]


class Status(StrEnum):
    """What the community makes of an answer."""

    HELPFUL = "helpful"
    NOT_HELPFUL = "not helpful"
    NEEDS_RATINGS = "needs more ratings"


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's view of one answer: 0 not helpful, 0.5 somewhat, 1 helpful."""

    user: str
    note: str
    value: float


@dataclass(frozen=True, slots=True)
class Rated:
    """One answer's place."""

    note: str
    intercept: float
    factor: float
    num_ratings: int
    status: Status


@dataclass(slots=True)
class _Fit:
    mu: float
    user: Array
    """Columns: intercept, factor."""
    note: Array
    cost: float


def rate(ratings: Sequence[Rating], *, seed: int = 0) -> list[Rated]:
    """Every rated answer, by name; the same ratings give the same result."""
    if not ratings:
        return []
    users = {name: at for at, name in enumerate(sorted({r.user for r in ratings}))}
    notes = {name: at for at, name in enumerate(sorted({r.note for r in ratings}))}
    user_of = np.array([users[r.user] for r in ratings])
    note_of = np.array([notes[r.note] for r in ratings])
    values = np.array([r.value for r in ratings])
    fits = [
        _fit(values, user_of, note_of, sizes=(len(users), len(notes)), seed=seed + at)
        for at in range(_STARTS)
    ]
    best = min(fits, key=lambda fit: fit.cost)
    counts = np.bincount(note_of, minlength=len(notes))
    return [_rated(name, best.note[at], num_ratings=int(counts[at])) for name, at in notes.items()]


def _rated(name: str, row: Array, *, num_ratings: int) -> Rated:
    intercept, factor = float(row[0]), float(row[1])
    status = Status.NEEDS_RATINGS
    if num_ratings >= LEAST_RATINGS and intercept >= HELPFUL_AT:
        status = Status.HELPFUL
    elif num_ratings >= LEAST_RATINGS and intercept < NOT_HELPFUL_BELOW - FACTOR_SLOPE * abs(
        factor
    ):
        status = Status.NOT_HELPFUL
    return Rated(name, intercept, factor, num_ratings, status)


def _fit(
    values: Array, user_of: Array, note_of: Array, *, sizes: tuple[int, int], seed: int
) -> _Fit:
    dice = np.random.default_rng(seed)
    fit = _Fit(0.0, np.zeros((sizes[0], 2)), np.zeros((sizes[1], 2)), np.inf)
    fit.user[:, 1] = dice.normal(scale=0.5, size=sizes[0])
    fit.note[:, 1] = dice.normal(scale=0.5, size=sizes[1])
    for _ in range(_NUM_ROUNDS):
        rest = values - _predicted(fit, user_of, note_of) + fit.mu
        fit.mu = float(rest.sum() / (len(values) + INTERCEPT_PENALTY))
        _solve(values - fit.mu, fit.user, fit.note, own=user_of, other=note_of)
        _solve(values - fit.mu, fit.note, fit.user, own=note_of, other=user_of)
        cost = _cost(values, fit, user_of, note_of)
        if fit.cost - cost < _TOLERANCE:
            break
        fit.cost = cost
    return fit


def _predicted(fit: _Fit, user_of: Array, note_of: Array) -> Array:
    user, note = fit.user[user_of], fit.note[note_of]
    predicted: Array = fit.mu + user[:, 0] + note[:, 0] + user[:, 1] * note[:, 1]
    return predicted


def _cost(values: Array, fit: _Fit, user_of: Array, note_of: Array) -> float:
    error = values - _predicted(fit, user_of, note_of)
    tables = (fit.user, fit.note)
    intercepts = fit.mu**2 + sum(float((t[:, 0] ** 2).sum()) for t in tables)
    factors = sum(float((t[:, 1] ** 2).sum()) for t in tables)
    return float((error**2).sum()) + INTERCEPT_PENALTY * intercepts + FACTOR_PENALTY * factors


def _solve(left: Array, table: Array, others: Array, *, own: Array, other: Array) -> None:
    """The exact intercept and factor of every row, all others held: a ridge of two unknowns."""
    target = left - others[other, 0]
    slope = others[other, 1]
    size = len(table)
    count = np.bincount(own, minlength=size) + INTERCEPT_PENALTY
    along = np.bincount(own, weights=slope, minlength=size)
    square = np.bincount(own, weights=slope**2, minlength=size) + FACTOR_PENALTY
    level = np.bincount(own, weights=target, minlength=size)
    cross = np.bincount(own, weights=target * slope, minlength=size)
    determinant = count * square - along**2
    table[:, 0] = (level * square - cross * along) / determinant
    table[:, 1] = (cross * count - level * along) / determinant
