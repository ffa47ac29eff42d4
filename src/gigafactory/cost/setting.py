"""Everything about one study that does not depend on the layout."""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.collectives import Network
from gigafactory.cost.engine import Engine
from gigafactory.cost.kernels import Device
from gigafactory.describe.model import Model


@dataclass(frozen=True)
class Setting:
    """Model, rates, network, program and constants of a prediction."""

    model: Model
    seq_len: int
    dev: Device
    net: Network
    engine: Engine
    constants: Calibration

    @property
    def dense_share(self) -> float:
        """Layers without experts over all layers."""
        return 1 - self.expert_share

    @property
    def expert_share(self) -> float:
        """Layers with experts over all layers."""
        return self.model.num_moe_layers / self.model.num_layers
