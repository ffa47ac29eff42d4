"""What a row of a table of runs says about memory: the engine's habits, and the leanest reading.

The usual reading takes what a row leaves open as engines of its kind and year do it. The leanest
reading takes it as the choice that needs least memory among those that engine offers; a run that
happened is impossible only if even that does not fit. What is stated is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from gigafactory.cost.memory_keeping import SELECTIVE, Keeping, Part
from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Layout, Recompute, Sharding

Row = Mapping[str, str]

#: First year in which PyTorch's allocator could grow its segments (2.1, expandable_segments).
_EXPANDABLE_YEAR = 2023.7
#: Words of a table for what selective recomputation drops.
_PARTS = {
    "layernorm": Part.NORMS,
    "moe_act": Part.ACTIVATION,
    "mla_up_proj": Part.LATENT,
    "core_attn": Part.SCORES,
    "mlp": Part.FFN,
}


class Counted(StrEnum):
    """What a measured number of bytes counts."""

    ALLOCATED = "allocated"
    """Tensors of the program at their peak."""
    RESERVED = "reserved"
    """What the program's allocator holds."""
    DEVICE = "device"
    """Everything on the GPU, as the driver tells it."""


def counted_of(row: Row) -> Counted:
    """Where the notes are silent: the tool that engines of its kind print."""
    notes = row.get("notes", "").lower()
    for kind in (Counted.ALLOCATED, Counted.RESERVED):
        if f"max {kind.value}" in notes:
            return kind
    # DeepSpeed users read nvidia-smi; frameworks with a log of their own print the allocator's peak
    return Counted.DEVICE if _says(row, "deepspeed") else Counted.ALLOCATED


def keeping_of(row: Row, *, precision: Precision, year: float) -> Keeping:
    """The engine's habits, from framework, flags and year."""
    deepspeed, compiled = _says(row, "deepspeed|neox"), _says(row, "jax|maxtext|paxml")
    tuned = _says(row, "nemo|megatron-bridge")
    megatron = tuned or _says(row, "megatron|megascale|internevo|primus")
    bare = not (megatron or deepspeed or compiled or _says(row, "torchtitan|composer"))
    wide = deepspeed and precision is Precision.FP16
    return Keeping(
        gradients_in_16_bits=wide or tuned,
        gradient_buffer=not bare and not compiled,
        gradient_buckets=bare,
        # the product adds in place where the engine brings the kernel for it, or nothing to add to
        fused_weight_gradients=tuned or bare or compiled or wide,
        eight_bit_weights_only=tuned,
        sharded_master=compiled or _says(row, "torchtitan|composer|fsdp"),
        selective=_parts(row),
        loose_pointwise=bare,
        fused_loss=_says(row, "liger"),
        gathered_inputs=bare,
        stages_by_cost=bare,
        optimizer_on_host="optimizer offload" in row.get("dp_sharding", "").lower(),
        activations_on_host=_offloaded(row),
        flat_buckets=deepspeed,
        step_gradient=deepspeed,
        early_allocator=year < _EXPANDABLE_YEAR and not compiled,
    )


@dataclass(frozen=True)
class Reading:
    """One way to read a row."""

    layout: Layout
    keeping: Keeping
    assumed: tuple[str, ...]
    """What the row does not say and this reading supposes."""


def leanest(row: Row, *, layout: Layout, keeping: Keeping) -> Reading:
    """The reading with the least memory among those that the row permits."""
    assumed = ["gradients in 16 bits", "fused loss", "weight gradients added in place"]
    changes: dict[str, object] = {}
    if not states_recompute(row):
        changes["recompute"] = Recompute.FULL
        assumed.append("full recompute")
    if not row.get("dp_sharding", "").strip():
        changes["sharding"] = Sharding.FSDP if layout.pp == 1 else Sharding.ZERO1
        assumed.append(f"sharding {changes['sharding']}")
    if layout.precision in (Precision.FP8, Precision.NVFP4):
        assumed.append("weights in 8 bits only")
    lean = replace(
        keeping,
        gradients_in_16_bits=True,
        gradient_buckets=False,
        fused_weight_gradients=True,
        fused_loss=True,
        eight_bit_weights_only=True,
        loose_pointwise=False,
        gathered_inputs=False,
        step_gradient=False,
        early_allocator=False,
    )
    return Reading(layout.model_copy(update=changes), lean, tuple(assumed))


def states_recompute(row: Row) -> bool:
    """Whether the row itself says what is recomputed; a preset that lists nothing does not."""
    text = row.get("act_recompute", "").lower()
    return bool(text) and not any(word in text for word in ("listed", "custom", "not restated"))


def _says(row: Row, words: str) -> bool:
    return bool(re.search(words, row.get("framework", "").lower()))


def _parts(row: Row) -> frozenset[Part]:
    """What is named; norms, activation functions and scores where nothing is."""
    text = row.get("act_recompute", "").lower()
    if "qkv_out_proj" in text:
        return frozenset({Part.NORMS, Part.SCORES, Part.CONTEXT, Part.FFN})
    # every second product is kept; what goes into the activation function is not
    if "mlp(wi)" in text or "(op)" in text:
        return frozenset({Part.NORMS, Part.SCORES, Part.FFN})
    named = frozenset(part for word, part in _PARTS.items() if word in text)
    return named or SELECTIVE


def _offloaded(row: Row) -> float:
    """Share of a stage's layers whose activations the flags send to the host."""
    match = re.search(r"cpu_offloading_num_layers=(\d+)", row.get("other_flags", ""))
    layers, stages = row.get("layers", ""), row.get("PP", "") or "1"
    if not match or not layers:
        return 0.0
    return min(int(match[1]) * float(stages) / float(layers), 1.0)
