"""Power and energy of a fleet, and the carbon behind them.

Legend
    IT power   what servers, switches and storage draw
    PUE        site power over IT power (The Green Grid, ISO/IEC 30134-2)

Every argument may be an array; results broadcast. Watts, joules, kilograms, dollars.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def hosts_power_w(
    num_hosts: ArrayLike, *, host_w: ArrayLike, other_it_w: ArrayLike = 0.0
) -> Floats:
    """IT power of ``num_hosts`` drawing ``host_w`` each, plus switches and storage."""
    return _floats(num_hosts) * _floats(host_w) + _floats(other_it_w)


def site_power_w(it_w: ArrayLike, *, pue: ArrayLike) -> Floats:
    """What the site draws for ``it_w`` of IT power: cooling and conversion included."""
    return _floats(it_w) * _floats(pue)


def energy_j(power_w: ArrayLike, *, duration_s: ArrayLike) -> Floats:
    """Energy of a constant power over a time, element by element."""
    return _floats(power_w) * _floats(duration_s)


def carbon_kg(energy_j: ArrayLike, *, carbon_kg_per_j: ArrayLike) -> Floats:
    """CO2 equivalent of ``energy_j`` from a grid of this intensity (operation only)."""
    return _floats(energy_j) * _floats(carbon_kg_per_j)


def electricity_usd(energy_j: ArrayLike, *, electricity_usd_per_j: ArrayLike) -> Floats:
    """The bill for ``energy_j`` at a flat tariff."""
    return _floats(energy_j) * _floats(electricity_usd_per_j)


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)
