"""Renting, owning, and a lump sum, for the same machine over the same time.

Legend
    P     purchase, written off in a straight line to nothing over its life L
    B     building, likewise over its own life
    o     upkeep a year as a share of P (staff, parts), electricity apart
    e     electricity, dollars a second
    H     horizon
    own(H) = P H/L + B H/L_B + (o P / year + e) H
Source: straight-line depreciation and total cost of ownership as in SemiAnalysis, AI Neocloud
Playbook (2024-10-03). No interest, no tax, no inflation.

Every argument may be an array; results broadcast. Dollars and seconds; a year has 365 days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigafactory.units import YEAR_S

Floats = NDArray[np.float64]


def rent_usd(price_usd_per_s: ArrayLike, *, num_gpus: ArrayLike, duration_s: ArrayLike) -> Floats:
    """Rent of ``num_gpus`` at a price per GPU, whether they are busy or not."""
    return _floats(price_usd_per_s) * _floats(num_gpus) * _floats(duration_s)


def written_off_usd(purchase_usd: ArrayLike, *, life_s: ArrayLike, duration_s: ArrayLike) -> Floats:
    """Straight-line loss of value: the share of the life that passed (replaced when it is over)."""
    return _floats(purchase_usd) * _floats(duration_s) / _floats(life_s)


def upkeep_usd(
    purchase_usd: ArrayLike, *, opex_share_per_year: ArrayLike, duration_s: ArrayLike
) -> Floats:
    """Staff, spare parts and maintenance, as a yearly share of the purchase."""
    years = _floats(duration_s) / YEAR_S
    return _floats(purchase_usd) * _floats(opex_share_per_year) * years


def owned_usd(
    purchase_usd: ArrayLike,
    *,
    life_s: ArrayLike,
    opex_share_per_year: ArrayLike,
    energy_usd_per_s: ArrayLike,
    duration_s: ArrayLike,
    build_usd: ArrayLike = 0.0,
    build_life_s: ArrayLike = YEAR_S,
) -> Floats:
    """Cost of having owned for ``duration_s``: write-off, building, upkeep, electricity."""
    return (
        written_off_usd(purchase_usd, life_s=life_s, duration_s=duration_s)
        + written_off_usd(build_usd, life_s=build_life_s, duration_s=duration_s)
        + upkeep_usd(
            purchase_usd, opex_share_per_year=opex_share_per_year, duration_s=duration_s
        )
        + _floats(energy_usd_per_s) * _floats(duration_s)
    )  # fmt: skip


def price_usd_per_s(total_usd: ArrayLike, *, num_gpus: ArrayLike, duration_s: ArrayLike) -> Floats:
    """What a total comes to per GPU and second; the rent at which both cost the same."""
    return _floats(total_usd) / (_floats(num_gpus) * _floats(duration_s))


def break_even_s(
    purchase_usd: ArrayLike, *, rent_usd_per_s: ArrayLike, running_usd_per_s: ArrayLike
) -> Floats:
    """Time after which rent has cost as much as purchase and running; inf where it never does.

    The purchase is paid at once and its remaining value is not counted.
    """
    saved_usd_per_s = _floats(rent_usd_per_s) - _floats(running_usd_per_s)
    with np.errstate(divide="ignore"):
        return np.where(
            saved_usd_per_s > 0, _floats(purchase_usd) / np.maximum(saved_usd_per_s, 0.0), np.inf
        )


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)
