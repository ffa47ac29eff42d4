"""Laws of the single host: how much more often it fails than others, how long it stays away.

Legend
    z_h     frailty of host h: its rate over the fleet's mean; gamma with mean 1 and shape k
    n_h     faults of host h so far
    q       repeat factor: a host with n faults fails q^min(n, 6) as often as at first

Which host a fault strikes is drawn in proportion to z_h q^n_h, while the fleet's rate stays as
stated: published rates are means of fleets with a history. The cap keeps a host that failed often
from drawing all faults in the end; 1.3^6 = 4.8 is what SuperBench measured (ATC 2024: 719 h
between incidents at first, 152 h at the twentieth). The points of a Poisson process that fall on
a host already away strike nothing, which leaves the others exactly their rates, but they do count
in n_h; a host away 2.3 % of the time gains that much too many.

A host that quarantine exchanges has the rate of its newly drawn successor: points that fall on
its place are kept with probability (successor's rate) / (rate of the host had it stayed), which
thins the stream exactly and lets the fleet's rate fall by what the lemons had brought.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from gigafactory.cost.reliability import lognormal_shape
from gigafactory.describe.faults import Faults, Repair
from gigafactory.simulate.rng import stream

Floats = NDArray[np.float64]
#: Faults after which a host fails no more often still.
MAX_REPEATS = 6
#: Stays of one season: a month of the StepFun fleet's 1.67 a day.
SEASON_STAYS = 50
_BLOCK = 1024


def frailties(faults: Faults, *, num_hosts: int, seed: int) -> Floats:
    """Rate of each host over the fleet's mean; mean exactly 1."""
    weight = np.ones(num_hosts)
    if faults.frailty_shape is not None:
        dice = stream("faults.frailty", seed=seed)
        # a gamma of tiny shape is 0 almost everywhere; no host is immortal
        weight = np.maximum(dice.gamma(faults.frailty_shape, size=num_hosts), 1e-9)
    lemons = round(faults.lemon_share * num_hosts)
    dice = stream("lemons", seed=seed)
    weight[dice.choice(num_hosts, size=lemons, replace=False)] *= faults.lemon_factor
    mean: float = weight.mean()
    return weight / mean


class Places:
    """Draws the host that a fault strikes, and remembers who was struck."""

    def __init__(self, faults: Faults, *, num_hosts: int, seed: int):
        self._weight = frailties(faults, num_hosts=num_hosts, seed=seed)
        self._cumulated = np.cumsum(self._weight)
        self._repeat = faults.repeat_factor
        self._quarantine = faults.quarantine_faults
        self._window_s = faults.quarantine_window_s
        self._dice = stream("faults.successor", seed=seed)
        self._shape = faults.frailty_shape
        remembers = self._repeat > 1 or self._quarantine is not None
        self._tree = _Tree(self._weight.tolist()) if remembers else None
        self._times: dict[int, deque[float]] = defaultdict(deque)
        self._num: dict[int, int] = defaultdict(int)
        self._kept: dict[int, float] = {}

    def draw(self, at_s: Sequence[float], *, dice: Floats) -> list[int]:
        """Hosts struck at these rising times, one for each of ``dice`` in [0, 1); -1 for nobody."""
        if self._tree is None:
            found = np.searchsorted(self._cumulated, dice * self._cumulated[-1], side="right")
            hosts: list[int] = np.minimum(found, len(self._cumulated) - 1).tolist()
            return hosts
        return [self._next(when_s, die) for when_s, die in zip(at_s, dice.tolist(), strict=True)]

    def _next(self, at_s: float, die: float) -> int:
        assert self._tree is not None
        host, rest = self._tree.find(die)
        kept = self._kept.get(host)
        if kept is not None and rest >= kept:
            return -1
        self._num[host] += 1
        if self._num[host] <= MAX_REPEATS and kept is None:
            self._tree.multiply(host, self._repeat)
        elif self._num[host] <= MAX_REPEATS and kept is not None:
            self._kept[host] = min(1.0, kept * self._repeat)
        if self._quarantine is not None:
            self._count(host, at_s=at_s, most=self._quarantine)
        return host

    def _count(self, host: int, *, at_s: float, most: int) -> None:
        """One more fault within the window; with the last one the host goes for good."""
        times = self._times[host]
        times.append(at_s)
        while times[0] < at_s - self._window_s:
            times.popleft()
        if len(times) >= most:
            times.clear()
            self._num[host] = 0
            self._kept[host] = min(1.0, self._frailty() / self._tree_weight(host))

    def _frailty(self) -> float:
        shape = self._shape
        return 1.0 if shape is None else float(self._dice.gamma(shape)) / shape

    def _tree_weight(self, host: int) -> float:
        assert self._tree is not None
        return self._tree.weight[host]


class _Tree:
    """Weights and their sums in a Fenwick tree: find and change in log2(n) steps."""

    def __init__(self, weight: list[float]):
        self.weight = weight
        self._size = len(weight)
        self._top = 1 << (self._size.bit_length() - 1)
        self._sum = [0.0, *weight]
        for i in range(1, self._size + 1):
            parent = i + (i & -i)
            if parent <= self._size:
                self._sum[parent] += self._sum[i]
        self._total = math.fsum(weight)

    def find(self, die: float) -> tuple[int, float]:
        """The place at share ``die`` of the total, and how far into its own weight that is."""
        left, at, step, sums, size = die * self._total, 0, self._top, self._sum, self._size
        while step:
            further = at + step
            if further <= size and sums[further] <= left:
                at, left = further, left - sums[further]
            step >>= 1
        at = min(at, size - 1)  # rounding may carry a die just below 1 past the end
        return at, min(left / self.weight[at], 1.0)

    def multiply(self, place: int, factor: float) -> None:
        """Change one weight."""
        more = self.weight[place] * (factor - 1.0)
        self.weight[place] += more
        self._total += more
        i = place + 1
        while i <= self._size:
            self._sum[i] += more
            i += i & -i


def repair_times_s(repair: Repair, *, seed: int, name: str = "repair") -> Iterator[float]:
    """Stays in repair, one after the other, from the dice of ``name``."""
    dice = stream(name, seed=seed)
    while True:
        yield from durations_s(repair, dice=dice, num=_BLOCK).tolist()


class Stays:
    """Stays in repair by what took the hosts there; each law has dice of its own."""

    def __init__(self, faults: Faults, *, seed: int) -> None:
        self._usual_s = repair_times_s(faults.repair, seed=seed)
        self._own_s = {
            cause.name: repair_times_s(cause.repair, seed=seed, name=f"repair.{cause.name}")
            for cause in faults.causes
            if cause.repair is not None
        }

    def next_s(self, cause: str | None) -> float:
        """How long the next host that ``cause`` took stays away; None: any other."""
        return next(self._own_s.get(cause, self._usual_s) if cause else self._usual_s)

    def hurry(self, stay_s: float) -> None:
        """From now on every stay takes ``stay_s``."""
        self._usual_s, self._own_s = repeat(stay_s), {}


def durations_s(repair: Repair, *, dice: np.random.Generator, num: int) -> Floats:
    """``num`` draws of a lognormal or a mixture of them."""
    normal = dice.standard_normal(num)
    if not repair.modes:
        mu, sigma = lognormal_shape(repair.median_s, mean_s=repair.mean_s)
        return np.asarray(np.exp(mu + sigma * normal))
    which = _modes(repair, dice=dice, num=num)
    shapes = [lognormal_shape(mode.median_s, mean_s=mode.mean_s) for mode in repair.modes]
    mus, sigmas = (np.array(column)[which] for column in zip(*shapes, strict=True))
    return np.asarray(np.exp(mus + sigmas * normal))


def _modes(repair: Repair, *, dice: np.random.Generator, num: int) -> NDArray[np.int64]:
    """Which mode each of ``num`` stays is of; the shares hold in the mean of the seasons.

    The shares of a season are Dirichlet with concentration (1 - r) / r: so two stays of one season
    have the correlation r in being of a mode.
    """
    shares = np.array([mode.share for mode in repair.modes])
    correlation = repair.season_correlation
    if correlation > 0:
        concentration = (1.0 - correlation) / correlation
        seasons = dice.dirichlet(concentration * shares, size=-(-num // SEASON_STAYS))
        shares = np.repeat(seasons, SEASON_STAYS, axis=0)[:num]
    upto = np.cumsum(shares, axis=-1)[..., :-1]
    return np.asarray((dice.random(num)[:, None] >= upto).sum(axis=1))
