"""What sets the blocks apart beyond their shapes: norms, caps, multipliers, rotary base.

Sources: github.com/xai-org/grok-1; xAI's public configuration of Grok-2 and how SGLang's
``Grok1ForCausalLM`` reads it; the public configurations of Qwen3-MoE. Grok-2's file calls its
rotary scaling "original", which one reader takes as none and another as YaRN; here it is YaRN
(arXiv:2309.00071), without which its 131,072 positions would lie far outside of what was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Block, Model


class Gate(StrEnum):
    """The curve of the gated feed-forward: down(curve(gate x) * up x)."""

    GELU_TANH = "gelu_tanh"
    SILU = "silu"


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """YaRN: slow pairs are turned ``factor`` times more slowly, fast ones as before."""

    factor: float
    original_context: int
    beta_fast: float
    """Pairs with more turns than this within ``original_context`` stay as they are."""
    beta_slow: float
    """Pairs with fewer turns than this are slowed down in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One family of blocks. A cap c bounds logits x to c * tanh(x / c); None: no cap."""

    gate: Gate
    norm_eps: float
    norms_outputs: bool
    """A second norm behind attention and behind the feed-forward."""
    norms_heads: bool
    """Queries and keys are normed head by head (QK-norm)."""
    renormalises: bool
    """The weights of the chosen experts add up to 1."""
    rope_theta: float
    rope_scaling: RopeScaling | None = None
    attention_cap: float | None = None
    temperature_len: int = 0
    """Attention logits of a query at position p beyond this are multiplied by
    log(p) / log(temperature_len); 0: never."""
    router_cap: float | None = None
    final_cap: float | None = None
    scales_embedding: bool = False
    """Embeddings are multiplied by sqrt(hidden)."""
    output_multiplier: float = 1.0


_GROK1 = Recipe(
    gate=Gate.GELU_TANH,
    norm_eps=1e-5,
    norms_outputs=True,
    norms_heads=False,
    renormalises=False,
    rope_theta=1e4,
    attention_cap=30.0,
    scales_embedding=True,
    output_multiplier=3.0**-0.5,
)
_GROK2 = Recipe(
    gate=Gate.GELU_TANH,
    norm_eps=1e-5,
    norms_outputs=True,
    norms_heads=False,
    renormalises=False,
    rope_theta=208_533_496.0,
    rope_scaling=RopeScaling(16.0, 8192, 8.0, 1.0),
    attention_cap=30.0,
    temperature_len=1024,
    router_cap=30.0,
    final_cap=50.0,
    scales_embedding=True,
    output_multiplier=0.5,
)
_QWEN3_MOE = Recipe(
    gate=Gate.SILU,
    norm_eps=1e-6,
    norms_outputs=False,
    norms_heads=True,
    renormalises=True,
    rope_theta=1e6,
)
RECIPES: Mapping[Block, Recipe] = MappingProxyType(
    {Block.GROK1: _GROK1, Block.GROK2: _GROK2, Block.QWEN3_MOE: _QWEN3_MOE}
)


def recipe_of(model: Model) -> Recipe:
    """The recipe of the model's block; InputError with everything that cannot be built."""
    wrong = cannot_build(model)
    if wrong:
        raise InputError(f"model {model.name!r} cannot be built here: {'; '.join(wrong)}")
    return RECIPES[model.block]


def cannot_build(model: Model) -> list[str]:
    """What the network here has no code for, each with what would be right; empty: nothing."""
    known = ", ".join(RECIPES)
    tests = (
        (model.block not in RECIPES, f"block {model.block}; it can be {known}"),
        (model.num_shared_experts > 0, "shared experts"),
        (model.dense_residual and not model.num_experts,
         "dense_residual without experts; leave it out"),
        (model.dense_residual and model.block is Block.QWEN3_MOE,
         "dense_residual in a qwen3-moe block; only grok-1 and grok-2 can have it"),
        (model.dense_residual and not model.ffn, "dense_residual needs ffn above 0"),
        (0 < model.num_dense_layers < model.num_layers and not model.ffn,
         "num_dense_layers needs ffn above 0"),
        (model.mla is not None, "latent attention (mla)"),
        (model.window > 0, "a sliding window"),
        (not model.gated_ffn, "an ungated FFN"),
        (model.head_dim % 2 == 1, f"the odd head_dim {model.head_dim}"),
    )  # fmt: skip
    return [text for is_wrong, text in tests if is_wrong]
