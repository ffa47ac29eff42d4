"""Good and bad days: the factor by which all hardware fails more often than on the mean day.

Legend
    F1, F30     variance over mean of the hosts lost in a day, in 30 days (Fano factors)
    f           what batches alone give: E[size^2] / E[size]
    L           hosts lost a day in the mean
    u, v        variances of the factor of a block of 30 days and of a day; both gammas of mean 1

    F1  = f + L (u + v + u v)            F30 = f + 30 L (u + (1 + u) v / 30)

solved for u and v, which are 0 where the stated factors are below what the other gives. A day of
mean L so has a negative binomial number of faults. The Fano factor is that of the whole fleet
described, whatever its size: halls of a few hundred hosts with days of their own keep the factor of
the sum. StepFun trace (400 hosts, 348 days): F1 = 3.4, F30 = 15.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigafactory.simulate.rng import stream
from gigafactory.units import DAY_S

Floats = NDArray[np.float64]
_MONTH = 30
#: After so many months every day is the mean day; a rare cause looks centuries ahead.
_MAX_MONTHS = 240


def spreads(
    *, fano: float, month_fano: float, batch_fano: float, per_day: float
) -> tuple[float, float]:
    """(u, v) for the legend's F1, F30, f and L."""
    if per_day <= 0:
        return 0.0, 0.0
    both = max(0.0, (fano - batch_fano) / per_day)
    month = max(0.0, (month_fano - batch_fano) / (_MONTH * per_day))
    u = min(both, max(0.0, (month - both / _MONTH) / (1.0 - 1.0 / _MONTH)))
    return u, (both - u) / (1.0 + u)


class Weather:
    """The integral of the factor over time, and its inverse; days are drawn as they come."""

    def __init__(self, *, month_spread: float, day_spread: float, seed: int):
        self._spreads = month_spread, day_spread
        self._dice = stream("faults.days", seed=seed)
        self._end = np.zeros(1)

    @property
    def is_steady(self) -> bool:
        """True where every day is the mean day."""
        return self._spreads == (0.0, 0.0)

    def times_s(self, operational_s: Floats) -> Floats:
        """When the integral of the factor reaches these rising values."""
        if self.is_steady:
            return operational_s
        while self._end[-1] <= operational_s[-1] and len(self._end) < _MAX_MONTHS * _MONTH:
            self._draw_month()
        known_s, end_s = (len(self._end) - 1) * DAY_S, self._end[-1]
        within = np.interp(operational_s, self._end, DAY_S * np.arange(len(self._end)))
        beyond = known_s + (operational_s - end_s)
        return np.asarray(np.where(operational_s <= end_s, within, beyond))

    def _draw_month(self) -> None:
        u, v = self._spreads
        month = self._gamma(u, num=1)
        factor = month * self._gamma(v, num=_MONTH)
        more = np.cumsum(np.maximum(factor, 1e-9) * DAY_S)
        self._end = np.concatenate([self._end, self._end[-1] + more])

    def _gamma(self, spread: float, *, num: int) -> Floats:
        if spread <= 0:
            return np.ones(num)
        return self._dice.gamma(1.0 / spread, spread, size=num)
