"""The site's power hour by hour, from a book of the twin or of a real run.

Legend
    L(t)    IT draw by the book: PowerFrom where it says it, else the draws of its Opened
    G       the gang's hosts while training; D their depth to idle (0 while the gang stands)
    M       mean of L over the hour
    C       what the site may draw; under such a cap G and D are what is left of them

    lowest  L - 0.115 G in steps; L - D at a checkpoint; L while the gang stands
    highest L + 0.045 G in steps
    site    IT + (PUE - 1) M: cooling follows the hour, not the step

A checkpoint into the store or onto the hosts' disks stops the gang, a copy in a peer's memory does
not. One whose time the book does not tell (one entry for several) dips in each hour since the one
before. The battery fills dips from the level of training down, and cuts the peaks of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigafactory.control.actions import Tier
from gigafactory.cost.swings import (
    STEP_HIGH,
    STEP_LOW,
    dip_left_w,
    ramp_energy_j,
    step_band_w,
)
from gigafactory.describe.cluster import Battery, Site
from gigafactory.ledger.entries import (
    WORKING,
    BucketFrom,
    CheckpointKept,
    Closed,
    Entry,
    Opened,
    PaceFrom,
    PowerFrom,
)
from gigafactory.units import HOUR_S

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerHours:
    """One row an hour, in watts at the site; the last hour may be shorter."""

    min_w: Floats
    mean_w: Floats
    max_w: Floats
    grid_min_w: Floats
    """With the battery; the same as ``min_w`` without."""
    grid_max_w: Floats
    num_dips: int
    """Times the gang stopped, checkpoints included."""
    deepest_dip_w: float
    num_beyond_battery: int
    """Of the dips those whose ramp asks more power or energy than the battery has; 0 where the
    site has no limit."""
    step_low_w: float
    step_high_w: float
    """Between which the steps swing the site while the whole gang computes; 0 where none did."""
    num_hours_at_capacity: int
    """Hours in which training was held to what the site may draw."""
    capacity_w: float | None
    battery: Battery | None
    ramp_w_per_s: float | None
    ramp_energy_j: float
    """What the ramp of the deepest dip asks of a battery; 0 where the site has no limit."""

    @property
    def p99_w(self) -> float:
        """Of the hourly means: one hour in a hundred draws more."""
        return float(np.quantile(self.mean_w, 0.99)) if len(self.mean_w) else 0.0

    @property
    def peak_hour(self) -> int:
        """The hour of the highest mean, counted from 0."""
        return int(self.mean_w.argmax()) if len(self.mean_w) else 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; one number an hour in each series."""
        battery = self.battery
        return {
            "p99_w": self.p99_w,
            "peak_hour": self.peak_hour,
            "peak_hour_w": float(self.mean_w[self.peak_hour]) if len(self.mean_w) else 0.0,
            "capacity_w": self.capacity_w,
            "num_hours_at_capacity": self.num_hours_at_capacity,
            "step_low_w": self.step_low_w,
            "step_high_w": self.step_high_w,
            "num_dips": self.num_dips,
            "deepest_dip_w": self.deepest_dip_w,
            "battery_w": battery.power_w if battery else 0.0,
            "battery_j": battery.energy_j if battery else 0.0,
            "ramp_w_per_s": self.ramp_w_per_s,
            "ramp_energy_j": self.ramp_energy_j,
            "num_beyond_battery": self.num_beyond_battery,
            "min_w": self.min_w.tolist(),
            "mean_w": self.mean_w.tolist(),
            "max_w": self.max_w.tolist(),
            "grid_min_w": self.grid_min_w.tolist(),
            "grid_max_w": self.grid_max_w.tolist(),
        }


def power_limits(site: Site) -> dict[str, Any]:
    """The fields of `Opened` that say what `site_of` reads."""
    battery = site.battery
    return {
        "pue": site.pue,
        "carbon_kg_per_j": site.carbon_kg_per_j,
        "capacity_w": site.capacity_w,
        "battery_w": battery.power_w if battery else 0.0,
        "battery_j": battery.energy_j if battery else 0.0,
        "ramp_w_per_s": site.ramp_w_per_s,
    }


def site_of(opened: Opened) -> Site:
    """What a book says of its site."""
    battery = None
    if opened.battery_w > 0 and opened.battery_j > 0:
        battery = Battery(power_w=opened.battery_w, energy_j=opened.battery_j)
    return Site(
        name=opened.study,
        pue=opened.pue,
        capacity_w=opened.capacity_w,
        battery=battery,
        ramp_w_per_s=opened.ramp_w_per_s,
        electricity_usd_per_j=opened.electricity_usd_per_j,
        carbon_kg_per_j=opened.carbon_kg_per_j,
        source="the first entry of the ledger",
    )


@dataclass(frozen=True, slots=True)
class _Course:
    """The book as staircases: level i holds from ``at_s[i]`` to ``at_s[i + 1]``."""

    at_s: Floats
    it_w: Floats
    gang_w: Floats
    """Of the gang's hosts while it computes, else 0."""
    dip_w: Floats
    """From training to idle, of the gang that computes or last computed; 0 before."""
    checkpoints: tuple[tuple[float, float, int], ...]
    """(since, until, number)."""
    step_s: float


def power_hours(entries: Iterable[Entry], *, site: Site) -> PowerHours:
    """The table of a book at ``site``; a book without time gives no rows."""
    course = _course(entries)
    depths_w, numbers = _dips(course)
    deepest_w = float(depths_w.max(initial=0.0))
    low_w, mean_w, high_w, grid_low_w, grid_high_w, held = _rows(course, site=site)
    step_low_w, step_high_w = _step_band_w(course, pue=site.pue)
    ramp = site.ramp_w_per_s
    return PowerHours(
        min_w=low_w,
        mean_w=mean_w,
        max_w=high_w,
        grid_min_w=grid_low_w,
        grid_max_w=grid_high_w,
        num_dips=int(numbers.sum()),
        deepest_dip_w=deepest_w,
        num_beyond_battery=int(numbers[_is_beyond(depths_w, site=site)].sum()),
        step_low_w=step_low_w,
        step_high_w=step_high_w,
        num_hours_at_capacity=int(held.sum()),
        capacity_w=site.capacity_w,
        battery=site.battery,
        ramp_w_per_s=ramp,
        ramp_energy_j=float(ramp_energy_j(deepest_w, ramp_w_per_s=ramp)) if ramp else 0.0,
    )


def _step_band_w(course: _Course, *, pue: float) -> tuple[float, float]:
    """(low, high) of the site in the steps of the largest gang; cooling follows their mean."""
    if not course.gang_w.max(initial=0.0):
        return 0.0, 0.0
    level = int(course.gang_w.argmax())
    gang_w = course.gang_w[level]
    low_w, high_w = step_band_w(gang_w)
    site_w = pue * course.it_w[level]
    return float(site_w - gang_w + low_w), float(site_w - gang_w + high_w)


def _rows(course: _Course, *, site: Site) -> tuple[Floats, ...]:
    """(lowest, mean, highest, lowest and highest with the battery, is held) of each hour."""
    end_s = float(course.at_s[-1]) if len(course.at_s) else 0.0
    if end_s <= 0:
        return (np.empty(0),) * 6
    edges_s = np.append(np.arange(0.0, end_s, HOUR_S), end_s)
    at_s = np.union1d(course.at_s, edges_s)
    level = np.searchsorted(course.at_s, at_s[:-1], side="right") - 1
    first = np.searchsorted(at_s, edges_s[:-1])
    it_w = course.it_w[level]
    mean_w = np.add.reduceat(it_w * np.diff(at_s), first) / np.diff(edges_s)
    saves = _saving(course, at_s[:-1], at_s[1:])
    low_w, high_w, grid_low_w, grid_high_w = _band(course, level, saves=saves, site=site)
    cooling_w = (site.pue - 1.0) * mean_w
    held = (course.gang_w[level] > 0) & (site.pue * it_w >= _capacity_w(site))
    return (
        np.minimum.reduceat(low_w, first) + cooling_w,
        mean_w + cooling_w,
        np.maximum.reduceat(high_w, first) + cooling_w,
        np.minimum.reduceat(grid_low_w, first) + cooling_w,
        np.maximum.reduceat(grid_high_w, first) + cooling_w,
        np.maximum.reduceat(held.astype(np.float64), first),
    )


def _capacity_w(site: Site) -> float:
    """A hair below what the site may draw: the twin holds training to exactly that."""
    return math.inf if site.capacity_w is None else (1.0 - 1e-9) * site.capacity_w


def _band(
    course: _Course, level: NDArray[np.int64], *, saves: NDArray[np.bool_], site: Site
) -> tuple[Floats, Floats, Floats, Floats]:
    """(lowest, highest, both with the battery) IT draw of each span, which has a level."""
    it_w, gang_w, dip_w = course.it_w[level], course.gang_w[level], course.dip_w[level]
    works = gang_w > 0
    bottom_w = np.where(saves & works, dip_w, (1.0 - STEP_LOW) * gang_w)
    top_w = (STEP_HIGH - 1.0) * gang_w
    # a gang that stands is a dip below the level of training, as long as it stands
    stands_s = np.diff(course.at_s, append=course.at_s[-1:])[level]
    level_w = np.where(works, it_w, it_w + dip_w)
    left_w = dip_left_w(
        np.where(works, bottom_w, dip_w),
        lasts_s=np.where(works, course.step_s, stands_s),
        battery=site.battery,
    )
    peak_w = dip_left_w(top_w, lasts_s=course.step_s, battery=site.battery)
    grid_low_w = level_w - left_w
    return it_w - bottom_w, it_w + top_w, grid_low_w, np.maximum(it_w, grid_low_w) + peak_w


def _course(entries: Iterable[Entry]) -> _Course:
    walk = _Walk()
    at_s = 0.0
    for entry in entries:
        at_s = entry.at_s
        # most entries are turns of the controller
        if type(entry.content) in _TELLS_POWER:
            walk.take(entry)
    if walk.rows:
        walk.hold(at_s)
    columns = np.array(walk.rows, dtype=np.float64).reshape(-1, 4).T
    return _Course(
        at_s=columns[0],
        it_w=columns[1],
        gang_w=columns[2],
        dip_w=columns[3],
        checkpoints=tuple(walk.checkpoints),
        step_s=walk.step_s,
    )


_TELLS_POWER = frozenset({Opened, BucketFrom, PaceFrom, PowerFrom, CheckpointKept, Closed})


class _Walk:
    """Where the book stands while it is read."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float, float]] = []
        self.checkpoints: list[tuple[float, float, int]] = []
        self.step_s = 1.0
        self._opened: Opened | None = None
        self._works = False
        self._num_gpus = 0
        self._metered_w: float | None = None
        self._standing_w = 0.0
        """Metered the last time that the gang stood."""
        self._dip_w = 0.0
        self._saved_s: dict[Tier, float] = {}

    def take(self, entry: Entry) -> None:
        """One entry of the book, in its order."""
        match entry.content:
            case Opened() as opened:
                self._opened, self._num_gpus, self.step_s = opened, opened.num_gpus, opened.step_s
            case BucketFrom(bucket=bucket):
                # a stall for a checkpoint is too short for the meter: its entry tells of the dip
                self._works = bucket in WORKING
            case PaceFrom(num_gpus=num_gpus):
                self._num_gpus = num_gpus
            case PowerFrom(draw_w=draw_w):
                self._metered_w = draw_w
            case CheckpointKept(tier=tier, num=num):
                if tier is not Tier.PEER:  # a copy in another's memory stops nobody
                    since_s = self._saved_s.get(tier, 0.0) if num > 1 else entry.at_s
                    self.checkpoints.append((since_s, entry.at_s, num))
                    self._saved_s[tier] = entry.at_s
                return
            case Closed():
                self._works = False
            case _:
                return
        self.hold(entry.at_s)

    def hold(self, at_s: float) -> None:
        """What is known now holds from ``at_s`` on."""
        opened = self._opened
        assert opened is not None, "a book begins with its opened entry"
        gang_w = 0.0
        if self._works:
            self._dip_w = self._depth_w(opened)
            gang_w = self._num_gpus * opened.idle_w_per_gpu + self._dip_w
        elif self._metered_w is not None:
            self._standing_w = self._metered_w
        idle_w = opened.idle_w_per_gpu * (opened.num_gpus + opened.num_spare_gpus)
        it_w = idle_w + (self._dip_w if self._works else 0.0)
        row = (at_s, it_w if self._metered_w is None else self._metered_w, gang_w, self._dip_w)
        if self.rows and self.rows[-1][0] == at_s:
            self.rows.pop()
        self.rows.append(row)

    def _depth_w(self, opened: Opened) -> float:
        """Of the gang that computes, down to idle; a site that holds training leaves less."""
        depth_w = self._num_gpus * (opened.training_w_per_gpu - opened.idle_w_per_gpu)
        if self._metered_w is None or not self._standing_w:
            return depth_w
        more_w = self._metered_w - self._standing_w
        return min(depth_w, more_w if more_w > 0 else self._dip_w or depth_w)


def _saving(course: _Course, since_s: Floats, until_s: Floats) -> NDArray[np.bool_]:
    """Which of the spans hold a checkpoint, or may hold one."""
    if not course.checkpoints:
        return np.zeros(len(since_s), dtype=bool)
    # by value, for tiers overlap
    begin_s, end_s, _ = np.sort(np.array(course.checkpoints).T)
    begun = np.searchsorted(begin_s, until_s, side="left")
    ended = np.searchsorted(end_s, since_s, side="left")
    return np.asarray(begun > ended)


def _dips(course: _Course) -> tuple[Floats, NDArray[np.int64]]:
    """(depth, how often): stops of the gang, and checkpoints."""
    works = course.gang_w > 0
    stops = np.flatnonzero(works[:-1] & ~works[1:]) + 1
    saved_s = np.array([until_s for _, until_s, _ in course.checkpoints])
    at = np.maximum(np.searchsorted(course.at_s, saved_s, side="right") - 1, 0)
    depths_w = np.concatenate([course.dip_w[stops], course.dip_w[at]])
    num = [1] * len(stops) + [number for _, _, number in course.checkpoints]
    return depths_w, np.array(num, dtype=np.int64)


def _is_beyond(depths_w: Floats, *, site: Site) -> NDArray[np.bool_]:
    if site.ramp_w_per_s is None:
        return np.zeros(len(depths_w), dtype=bool)
    power_w, energy_j = (0.0, 0.0) if site.battery is None else (
        site.battery.power_w, site.battery.energy_j,
    )  # fmt: skip
    asked_j = ramp_energy_j(depths_w, ramp_w_per_s=site.ramp_w_per_s)
    return np.asarray((depths_w > power_w) | (asked_j > energy_j))
