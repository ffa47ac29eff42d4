"""How a training program keeps its numbers in memory: what a layout does not say.

Defaults are those of a Megatron-class engine: Adam in fp32, gradients summed in fp32, weight
gradients accumulated by the matrix multiplication itself, fp8 weights beside the 16-bit ones.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """Activations that selective recomputation can throw away."""

    NORMS = "norms"
    """Outputs of the two norms of a layer."""
    ACTIVATION = "activation"
    """Output of the (gated) activation function, in dense layers and experts."""
    SCORES = "scores"
    """The score matrix of an attention that writes it."""
    LATENT = "latent"
    """Queries, keys and values projected up from latent vectors (MLA)."""
    CONTEXT = "context"
    """Output of attention, made again from queries, keys and values."""
    FFN = "ffn"
    """Everything inside a dense feed-forward."""


#: What recompute = selective drops unless it is said otherwise.
SELECTIVE = frozenset({Part.NORMS, Part.ACTIVATION, Part.SCORES})


@dataclass(frozen=True)
class Keeping:
    """Habits of an engine that decide about bytes."""

    gradients_in_16_bits: bool = False
    """Gradients are kept and reduced in 16 bits instead of fp32."""
    gradient_buffer: bool = True
    """One buffer for all gradients exists throughout; else they come and go with backward."""
    gradient_buckets: bool = False
    """Gradients lie in the buckets of the reduction as well as in the accumulator."""
    fused_weight_gradients: bool = True
    """The GEMM adds into the gradient buffer; else a whole gradient lies beside it for a while."""
    eight_bit_weights_only: bool = False
    """fp8 and fp4 training gathers parameters in 8 bits and keeps no 16-bit copy."""
    sharded_master: bool = False
    """Under FSDP the sharded parameters are the fp32 master copy; 16 bits exist once gathered."""
    selective: Set[Part] = SELECTIVE
    """What recompute = selective drops."""
    loose_pointwise: bool = False
    """Pointwise kernels are not fused, and keep what lies between them."""
    fused_loss: bool = False
    """Output projection and loss run over chunks of tokens: the logits never exist at once."""
    gathered_inputs: bool = False
    """Inputs gathered over tp are kept for backward instead of being gathered again."""
    stages_by_cost: bool = False
    """Stages are cut by cost, the output projection counted, instead of by layers."""
    optimizer_on_host: bool = False
    """Master copy and moments lie in the memory of the host."""
    activations_on_host: float = 0.0
    """Share of a rank's layers whose activations wait in the memory of the host."""
    moments_in_16_bits: bool = False
    """Adam's moments are kept in 16 bits."""
    flat_buckets: bool = False
    """Reduction and gathering go through flat buckets of their own (DeepSpeed)."""
    step_gradient: bool = False
    """The step turns the rank's share of 16-bit gradients into fp32 all at once."""
    early_allocator: bool = False
    """The allocator cannot grow its segments (PyTorch before 2.1) and loses more between them."""


USUAL = Keeping()
