"""How many servers keep waiting short, and what one serving replica holds under its limits.

Legend
    r       requests per second                  S    seconds that a request holds its slot
    a       offered load r S, in erlangs         c    slots, all replicas together
    C(c,a)  share of requests that must wait     W    waiting time for a slot
    t, e    at most the share e may wait longer than t
    beta    (c - a) / sqrt(a), the slots beyond the load in units of its spread
    phi, Phi   density and distribution of the standard normal law

M/M/c, first come first served: P(W > t) = C(c, a) exp(-(c - a) t / S). A replica with continuous
batching is k slots: under a limit on TPOT it holds k requests at once, further ones wait.

Sources
    [Erlang17]  A. K. Erlang, "Solution of some problems in the theory of probabilities of
                significance in automatic telephone exchanges", 1917: C(c, a).
    [HW81]      S. Halfin, W. Whitt, "Heavy-traffic limits for queues with many exponential
                servers", Operations Research 29(3), 1981: C -> 1 / (1 + beta Phi / phi), the law
                of square-root staffing. It asks for up to 4 % fewer slots than Erlang's formula
                at 50 slots, less than 1 % fewer from 200 on.

Arguments may be arrays; results broadcast. Arrivals are taken as Poisson; bursts are demand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.columns import Floats
from gigafactory.cost.token import best_point
from gigafactory.cost.token_constants import ServingCalibration, published_serving
from gigafactory.describe.cluster import Gpu
from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Slo, Traffic

_HALVINGS = 60
#: Beyond this nobody waits, and exp() would overflow.
_MOST_BETA = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCapacity:
    """The most that one replica serves within its limits."""

    num_gpus: int
    requests_per_s: float
    concurrency: float
    """Requests inside at that rate (Little's law)."""

    @property
    def service_s(self) -> float:
        """Seconds that a request holds its slot."""
        return self.concurrency / self.requests_per_s


def replica_capacity(
    model: Model,
    *,
    gpu: Gpu,
    replica: Replica,
    traffic: Traffic,
    slo: Slo,
    constants: ServingCalibration | None = None,
) -> ReplicaCapacity | None:
    """What the equations of serving give for one replica under ``slo``; None where no load does."""
    c = constants or published_serving()
    found = best_point(model, gpu=gpu, replica=replica, traffic=traffic, slo=slo, constants=c)
    if found is None:
        return None
    return ReplicaCapacity(
        num_gpus=replica.num_gpus,
        requests_per_s=float(found.requests_per_s[0]),
        concurrency=float(found.concurrency[0]),
    )


def erlang_c(slots: int, *, load: float) -> float:
    """C(c, a) exactly; 1 where the load is as large as the slots ([Erlang17]).

    By the recursion of Erlang's loss formula, so the time grows with ``slots``.
    """
    if load >= slots:
        return 1.0
    if load <= 0:
        return 0.0
    inverse_loss = 1.0
    for c in range(1, slots + 1):
        inverse_loss = 1.0 + inverse_loss * c / load
        if inverse_loss > 1e300:
            return 0.0
    share = load / slots
    return 1.0 / (inverse_loss * (1.0 - share) + share)


def waiting_share(slots: ArrayLike, *, load: ArrayLike) -> Floats:
    """C(c, a) by [HW81], for many slots; 1 where the load is as large as the slots."""
    c, a = np.broadcast_arrays(_floats(slots), _floats(load))
    spread = np.sqrt(np.maximum(a, 1e-12))
    beta = np.clip((c - a) / spread, 0.0, _MOST_BETA)
    density = np.exp(-(beta**2) / 2) / math.sqrt(2 * math.pi)
    distribution = 0.5 * (1 + _ERF(beta / math.sqrt(2)))
    return np.asarray(1.0 / (1.0 + beta * distribution / density))


def late_share(slots: ArrayLike, *, load: ArrayLike, service_s: float, wait_s: float) -> Floats:
    """P(W > t): share of the requests that wait longer than ``wait_s``; 1 when overloaded."""
    c, a = _floats(slots), _floats(load)
    decay = np.exp(-np.maximum(c - a, 0.0) * wait_s / service_s)
    return np.asarray(np.where(a >= c, 1.0, waiting_share(c, load=a) * decay))


def rate_kept_per_s(
    num_replicas: ArrayLike,
    *,
    capacity: ReplicaCapacity,
    wait_s: float,
    late: float,
) -> Floats:
    """The most requests a second at which at most ``late`` of them wait longer than ``wait_s``."""
    slots = _floats(num_replicas) * capacity.concurrency
    low, high = np.zeros_like(slots), slots.copy()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        kept = late_share(slots, load=middle, service_s=capacity.service_s, wait_s=wait_s) <= late
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    return np.asarray(low / capacity.service_s)


def replicas_needed(
    requests_per_s: ArrayLike,
    *,
    capacity: ReplicaCapacity,
    wait_s: float,
    late: float,
) -> Floats:
    """The fewest replicas that keep the limit at this rate (square-root staffing, inverted)."""
    rate = _floats(requests_per_s)
    load = rate * capacity.service_s
    # at beta = 30 nobody waits, so this many are always enough
    most = np.ceil((load + _MOST_BETA * np.sqrt(load)) / capacity.concurrency) + 1.0
    low, high = np.zeros_like(most), most
    while np.any(high - low > 1):
        middle = np.floor((low + high) / 2)
        kept = rate_kept_per_s(middle, capacity=capacity, wait_s=wait_s, late=late) >= rate
        done = high - low <= 1
        low, high = np.where(kept | done, low, middle), np.where(kept & ~done, middle, high)
    return np.asarray(np.where(rate <= 0, 0.0, high))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)


_ERF = np.vectorize(math.erf, otypes=[np.float64])
