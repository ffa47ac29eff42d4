"""What the training software can do: the generation of the program, not of the hardware.

The same layout on the same 512 H100 went from 21.0 s to 15.9 s a step within a year of framework
releases, so a cost model that does not ask which software runs cannot be right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


class Graphs(Enum):
    """What the host launches as a recorded graph instead of kernel by kernel."""

    NONE = auto()
    OUTSIDE_EXPERTS = auto()
    """Attention, router and the preparation of the dispatch; expert layers are launched singly."""
    WHOLE = auto()
    """The whole iteration: the host plays no part."""


@dataclass(frozen=True)
class Repeats:
    """What selective recompute computes again in backward: a share of forward, part by part."""

    pointwise: float = 1.0
    """Norms, rotary embedding, activation function."""
    core_attention: float = 0.0
    """Scores, softmax and their product with the values."""
    attention_gemms: float = 0.0
    latent_gemms: float = 0.0
    """Of latent attention, the projections up from the latent vectors."""
    ffn_in: float = 0.0
    """First products of dense feed-forwards and shared experts."""
    ffn_out: float = 0.0


@dataclass(frozen=True)
class Engine:
    """Abilities of the training program; the default is a Megatron-class engine of 2026."""

    sequence_parallel: bool = True
    """Norms and residuals are split over tp as well (arXiv:2205.05198)."""
    flash_attention: bool = True
    """Attention never writes the score matrix (arXiv:2205.14135)."""
    native_attention: bool = True
    """The attention kernel was made for this generation of GPU."""
    fused_kernels: bool = True
    """Pointwise kernels fused by hand or by a compiler."""
    overlap_tp: bool = True
    overlap_dp: bool = True
    overlap_pp: bool = True
    overlap_ep: bool = False
    """Expert all_to_all runs beside the computation of another microbatch."""
    sparse_dispatch: bool = True
    """A token crosses to a host once, however many of its experts live there (DeepEP)."""
    graphs: Graphs = Graphs.NONE
    dropless: bool = True
    """Experts take every token sent to them, so the host must know how many before it goes on."""
    block_scaling: bool = False
    """fp8 with a scale for each block of numbers, not for each tensor."""
    repeats: Repeats = field(default_factory=Repeats)
    year: float = 2026.0
    """When the software was released, as a decimal year."""


MODERN = Engine()
