"""Optimizer state and step on the host: what PCIe and DRAM make of them.

Legend: n parameters whose state a rank owns; g accelerators of a host, which share its DRAM.

Gradients go down and updated 16-bit parameters come up over the rank's own PCIe link; between the
two the host reads and writes the state (ZeRO-Offload, arXiv:2101.06840 section 4). Nothing of it is
hidden here: the next forward needs the parameters.
"""

from __future__ import annotations

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.columns import Floats
from gigafactory.describe.cluster import Host


def offload_s(own_parameters: Floats, *, host: Host, constants: Calibration) -> Floats:
    """Seconds of the optimizer step on the host; shape (num_layouts,)."""
    c = constants
    link = own_parameters * (c.gradient_bytes + c.sixteen_bit_bytes)
    state = own_parameters * (2 * c.optimizer_bytes + c.gradient_bytes + c.sixteen_bit_bytes)
    share = host.dram_bandwidth_bytes_per_s / host.num_gpus
    return link / host.host_link_bandwidth_bytes_per_s + state / share


def offloaded_bytes(own_parameters: Floats, *, host: Host, constants: Calibration) -> Floats:
    """DRAM of one host that the state and the gradients of its ranks take."""
    held = constants.optimizer_bytes + constants.gradient_bytes
    return own_parameters * held * host.num_gpus
