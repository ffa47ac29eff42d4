"""Prices: what renting costs, what owning costs, over which horizon."""

from __future__ import annotations

from pydantic import Field

from gigafactory.describe.spec import Spec
from gigafactory.units import Ratio, Seconds, Usd, UsdPerS


class Rent(Spec):
    """A price list entry for rented GPUs."""

    name: str
    price_usd_per_s: UsdPerS = Field(ge=0)
    """Per GPU."""
    date: str
    source: str


class Own(Spec):
    """A purchase: what one host costs all in, and what keeping it costs."""

    name: str
    host_price_usd: Usd = Field(gt=0)
    """Server alone."""
    host_all_in_usd: Usd = Field(gt=0)
    """Server with its share of network, storage, cabling, installation."""
    opex_share_per_year: Ratio = Field(default=0.03, ge=0)
    """Staff, spares and upkeep a year, as a share of the purchase; electricity apart."""
    life_s: Seconds = Field(gt=0)
    """Straight-line depreciation to nothing."""
    source: str


class Money(Spec):
    """Rent against ownership over ``horizon``."""

    rent: Rent
    own: Own
    horizon_s: Seconds = Field(gt=0)
    offer_usd: Usd | None = None
    """A lump sum for the whole cluster over the horizon (the Oracle question)."""
