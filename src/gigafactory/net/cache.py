"""The key/value cache of generation: one pair of arrays a layer, filled from the left."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gigafactory.describe.model import Model


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one layer, (B, g, capacity, d); the first ``length`` are filled."""

    keys: Tensor
    values: Tensor
    length: int = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, g, T, d) and return all that is held, (B, g, length, d).

        ValueError where the capacity does not suffice.
        """
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"the cache holds {self.keys.shape[2]} positions, {end} are needed")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


@dataclass(slots=True)
class Cache:
    """The caches of all layers."""

    layers: list[LayerCache]

    @property
    def length(self) -> int:
        """Positions held."""
        return self.layers[0].length


def empty_cache(
    model: Model,
    *,
    batch: int = 1,
    capacity: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Cache:
    """Room for ``capacity`` positions (default: the model's context) of ``batch`` sequences."""
    shape = (batch, model.num_kv_heads, capacity or model.context, model.head_dim)

    def fresh() -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    return Cache([LayerCache(fresh(), fresh()) for _ in range(model.num_layers)])
