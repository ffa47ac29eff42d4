"""How many people ask, by the clock: a daily curve, weekends, slow noise, and bursts of news.

    rate(t) = peak (m + (1 - m) cos(2 pi (t - t_peak) / day)) weekend(t) exp(x(t)) burst(t)

with m = (1 + trough) / 2 of the peak, x an Ornstein-Uhlenbeck process of mean -var/2 (so that the
mean of the demand stays as stated), and bursts that come as a Poisson process and fade. The curve
is the same for every seed; noise and bursts have a stream of dice each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigafactory.describe.pool import Demand
from gigafactory.simulate.rng import stream
from gigafactory.units import DAY_S

Floats = NDArray[np.float64]
_SATURDAY = 5
#: After so many fading times nothing of a burst is left.
_FADED = 20.0


@dataclass(frozen=True, slots=True)
class Series:
    """The demand over time; columns of one length."""

    at_s: Floats
    requests_per_s: Floats

    @property
    def every_s(self) -> float:
        """Between two points."""
        return float(self.at_s[1] - self.at_s[0]) if len(self.at_s) > 1 else math.inf


def curve_per_s(demand: Demand, *, at_s: Floats) -> Floats:
    """Requests a second without noise and bursts; the campaign begins on a Monday at midnight."""
    low = demand.trough_share
    wave = np.cos(2 * np.pi * (at_s - demand.peak_at_s) / DAY_S)
    day = (1 + low) / 2 + (1 - low) / 2 * wave
    is_weekend = (at_s // DAY_S) % 7 >= _SATURDAY
    return np.asarray(demand.peak_per_s * day * np.where(is_weekend, demand.weekend_factor, 1.0))


def demand_series(demand: Demand, *, duration_s: float, every_s: float, seed: int) -> Series:
    """Demand at 0, ``every_s``, ... up to ``duration_s``; each point holds until the next."""
    at_s = np.arange(0.0, duration_s, every_s)
    noise = _noise(demand, num=len(at_s), every_s=every_s, seed=seed)
    bursts = _bursts(demand, at_s=at_s, duration_s=duration_s, seed=seed)
    return Series(at_s, curve_per_s(demand, at_s=at_s) * noise * bursts)


def _noise(demand: Demand, *, num: int, every_s: float, seed: int) -> Floats:
    sigma = math.sqrt(math.log1p(demand.noise_share**2))
    kept = math.exp(-every_s / demand.noise_memory_s)
    draws = stream("traffic.noise", seed=seed).standard_normal(num) * sigma
    x, deviations = 0.0, []
    fresh = math.sqrt(1.0 - kept * kept)
    for number, draw in enumerate(draws.tolist()):
        x = draw if number == 0 else kept * x + fresh * draw
        deviations.append(x)
    return np.exp(np.asarray(deviations) - sigma**2 / 2)


def _bursts(demand: Demand, *, at_s: Floats, duration_s: float, seed: int) -> Floats:
    """Factors of at least 1; a burst within another adds to it."""
    dice = stream("traffic.burst", seed=seed)
    starts = dice.uniform(0.0, duration_s, size=dice.poisson(demand.bursts_per_s * duration_s))
    factor = np.ones_like(at_s)
    for start_s in np.sort(starts).tolist():
        first = int(np.searchsorted(at_s, start_s))
        last = int(np.searchsorted(at_s, start_s + _FADED * demand.burst_lasts_s))
        age_s = at_s[first:last] - start_s
        factor[first:last] += (demand.burst_factor - 1) * np.exp(-age_s / demand.burst_lasts_s)
    return factor
