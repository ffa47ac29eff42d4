"""How far a predicted step may be off, and what lies outside of anything that was measured.

Legend
    x_i   share of part i in the step;  r_i  relative spread of that part (calibration.yaml)
    s     spread of the whole, s^2 = r_0^2 + r_e^2 + sum (r_i x_i)^2, natural logarithm;
          r_e is there where the model has experts: routing and grouped kernels differ by program
    z     quantile that makes the interval hold four of five

The parts of a step are not known equally well: a large multiplication to a few per cent, what the
host or an exchange of experts takes far less. A step made of the latter gets a wider interval. The
r_i were fitted to the errors of sources that the equations had not seen
(benchmarks/fit_step_constants.py), so the interval holds what a new source brings.
"""

from __future__ import annotations

import numpy as np

from gigafactory.cost.calibration import Calibration, published
from gigafactory.cost.columns import Floats
from gigafactory.cost.step import Breakdown

#: Parts that err together, and the constant that says by how much.
GROUPS = {
    "spread_compute": ("gemm_s", "attention_s", "head_s", "recompute_s"),
    "spread_memory": ("kernels_s", "optimizer_s"),
    "spread_host": ("host_s",),
    "spread_network": ("tp_comm_s", "cp_comm_s", "pp_comm_s", "dp_comm_s"),
    "spread_experts": ("ep_comm_s",),
    "spread_idle": ("imbalance_s", "bubble_s", "jitter_s"),
}


def log_spread(
    parts: Breakdown, *, has_experts: bool = False, constants: Calibration | None = None
) -> Floats:
    """One standard deviation of the logarithm of the step; shape (num_layouts,)."""
    c = constants or published()
    told, step = parts.parts(), parts.step_s
    squares = c.spread_any**2 + (c.spread_with_experts**2 if has_experts else 0.0)
    for name, members in GROUPS.items():
        share = sum(told[m] for m in members) / step
        squares = squares + (getattr(c, name) * share) ** 2
    return np.asarray(np.sqrt(squares), dtype=np.float64)


def interval_s(
    parts: Breakdown, *, has_experts: bool = False, constants: Calibration | None = None
) -> tuple[Floats, Floats]:
    """(low, high) seconds between which four of five measured steps lie; shapes (num_layouts,)."""
    c = constants or published()
    factor = np.exp(c.interval_quantile * log_spread(parts, has_experts=has_experts, constants=c))
    return parts.step_s / factor, parts.step_s * factor
