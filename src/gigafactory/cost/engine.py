"""What the training software can do: the generation of the program, not of the hardware.

The same layout on the same 512 H100 went from 21.0 s to 15.9 s a step within a year of framework
releases, so a cost model that does not ask which software runs cannot be right.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """Abilities of the training program; the default is a Megatron-class engine of 2026."""

    sequence_parallel: bool = True
    """Norms and residuals are split over tp as well (arXiv:2205.05198)."""
    flash_attention: bool = True
    """Attention never writes the score matrix (arXiv:2205.14135)."""
    fused_kernels: bool = True
    """Pointwise kernels fused by hand or by a compiler."""
    overlap_tp: bool = True
    overlap_dp: bool = True
    overlap_pp: bool = True
    overlap_ep: bool = False
    """Expert all_to_all runs beside the computation of another microbatch."""
    sparse_dispatch: bool = True
    """A token crosses to a host once, however many of its experts live there (DeepEP)."""
    cuda_graphs: bool = False
    """The host launches a recorded graph instead of single kernels."""
    year: float = 2026.0
    """When the software was released, as a decimal year."""


MODERN = Engine()
