"""What a job that computes in step does to its power: swings, dips, ramps, and a cap on it.

Legend
    W       mean draw of the gang's hosts while training
    D       depth of a dip: gang training less gang idle, at checkpoints and restarts
    r       fastest change of draw that the site may show the grid, W/s
    P, E    power and energy of the battery
    p       share of its dynamic power (training less idle) that a host may draw under a cap

    a step swings the gang between 0.885 W and 1.045 W
    a dip of d seconds leaves   D - min(P, E / d)
    a ramp over D at r asks     power D and energy D^2 / (2 r) of the battery
    a cap slows the step        p^(-1/2) times

All hosts of a synchronous job swing together, so the shares of 64 hosts hold for larger gangs.
The constants are shares of the mean of a power log: 64 immersion-cooled nodes of 8 H100, GPT-3 of
MLPerf Training v4.0, one sample in 2 s over 57 minutes: mean 438 kW, median 450 kW. The steps show
as dips every 10.5 s; shorter ones than 2 s the log does not show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigafactory.cost.energy import site_power_w
from gigafactory.cost.watts import power_of
from gigafactory.describe.cluster import Battery, Cluster
from gigafactory.describe.errors import InputError
from gigafactory.units import show

Floats = NDArray[np.float64]
#: 99 % and 1 % of the samples over their mean: 457.8 and 387.5 of 438 kW.
STEP_HIGH, STEP_LOW = 1.045, 0.885
#: Evaluation over the mean: 408 of 438 kW, flat.
EVALUATION = 0.93
#: The largest change from one sample to the next: -87 and +117 of 438 kW within 2 s.
FALL_2S, RISE_2S = 0.199, 0.268
#: Speed over share of dynamic power: power grows with clock times voltage squared (cubic) where
#: the voltage can follow, linearly where it cannot; taken between, and for all of the step
#: (assumption).
_SPEED_EXPONENT = 0.5


def step_band_w(gang_w: ArrayLike) -> tuple[Floats, Floats]:
    """(low, high) between which the steps swing a gang whose hosts draw ``gang_w`` in the mean."""
    mean_w = np.asarray(gang_w, dtype=np.float64)
    return STEP_LOW * mean_w, STEP_HIGH * mean_w


def dip_left_w(depth_w: ArrayLike, *, lasts_s: ArrayLike, battery: Battery | None) -> Floats:
    """Depth of a dip (or height of a peak) of ``lasts_s`` that the grid still sees."""
    depth = np.asarray(depth_w, dtype=np.float64)
    if battery is None:
        return depth + np.zeros_like(np.asarray(lasts_s, dtype=np.float64))
    lasts = np.maximum(np.asarray(lasts_s, dtype=np.float64), 1e-3)
    return np.maximum(0.0, depth - np.minimum(battery.power_w, battery.energy_j / lasts))


def ramp_energy_j(depth_w: ArrayLike, *, ramp_w_per_s: float) -> Floats:
    """What a battery must take in while the grid's draw falls by ``depth_w`` at the ramp.

    The triangle between the step of the load and the ramp; a rise gives as much back.
    """
    return np.asarray(depth_w, dtype=np.float64) ** 2 / (2.0 * ramp_w_per_s)


def power_share(cluster: Cluster, *, num_training_hosts: ArrayLike) -> Floats:
    """Share of their dynamic power that training hosts may draw, so that the site stays within its
    capacity; 1 where it does anyway.

    The mean counts: swings within a step are the battery's or the feed's margin. InputError where
    the site cannot even carry its hosts idle.
    """
    hosts = np.asarray(num_training_hosts, dtype=np.float64)
    cap_w, power = cluster.site.capacity_w, power_of(cluster)
    more_w = site_power_w(hosts * (cluster.host.training_w - cluster.host.idle_w), pue=power.pue)
    idle_w = power.site_w(power.idle_hosts_w)
    if cap_w is None or not (idle_w + more_w > cap_w).any():
        return np.ones_like(hosts)
    if cap_w <= idle_w:
        raise InputError(
            f"site {cluster.site.name} may draw {show(cap_w, 'W')}, and {cluster.name} draws "
            f"{show(idle_w, 'W')} while idle; raise site.capacity or take fewer hosts"
        )
    return np.minimum(1.0, (cap_w - idle_w) / np.maximum(more_w, 1e-300))


def power_slowdown(cluster: Cluster, *, num_training_hosts: ArrayLike) -> Floats:
    """Times the usual step, so that the site stays within its capacity; see `power_share`."""
    share = power_share(cluster, num_training_hosts=num_training_hosts)
    return np.asarray(share**-_SPEED_EXPONENT)
