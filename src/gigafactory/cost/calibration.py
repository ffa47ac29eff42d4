"""The constants of the equations, read from ``calibration.yaml`` beside this file.

Each stands there once with its range, source and date. A ``Calibration`` holds the values alone;
``read_constants`` gives the whole entries, for `giga calibrate` and the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from ruamel.yaml import YAML

from gigafactory.describe.errors import InputError


@dataclass(frozen=True)
class Constant:
    """One entry: ``low`` and ``high`` bound what is physically plausible."""

    value: float
    low: float
    high: float
    source: str
    date: str
    meaning: str


@dataclass(frozen=True)
class Calibration:
    """The values; what each means stands in calibration.yaml, in the same order."""

    multiply_add_flops: float
    sixteen_bit_bytes: float
    eight_bit_bytes: float
    thirty_two_bit_bytes: float
    gradient_bytes: float
    optimizer_bytes: float
    sustained: float
    sustained_eight_bit: float
    sustained_block: float
    sustained_four_bit: float
    grouped_fraction: float
    expert_rows: float
    attention_sustained: float
    attention_backward_share: float
    attention_portable: float
    gemm_fraction: float
    gemm_fraction_eight_bit: float
    gemm_fraction_four_bit: float
    dense_power_exponent: float
    power_reference_flops_per_j: float
    wave_tail: float
    small_k: float
    attention_fraction: float
    attention_backward_fraction: float
    attention_half_seq: float
    attention_half_head: float
    score_passes: float
    bandwidth_fraction: float
    eager_passes: float
    cast_share: float
    kernel_gap_s: float
    host_kernel_s: float
    launch_exponent: float
    run_ahead_exponent: float
    fused_kernels: float
    eager_kernels: float
    expert_kernels: float
    layer_launches: float
    overlap_launches: float
    scaleup_fraction: float
    scaleup_latency_s: float
    host_network_latency_s: float
    all_to_all_fraction: float
    all_to_all_net_fraction: float
    tree_fraction: float
    hidden_tp: float
    hidden_ep: float
    hidden_pp: float
    overlap_contention: float
    overlap_window: float
    expert_kernel_passes: float
    expert_imbalance: float
    generation_gain_per_year: float
    generation_reference_year: float
    ripening: float
    ripening_years: float
    jitter_per_doubling: float
    spread_any: float
    spread_compute: float
    spread_memory: float
    spread_host: float
    spread_network: float
    spread_experts: float
    spread_idle: float
    spread_with_experts: float
    interval_quantile: float
    runtime_fraction: float
    fragmentation: float
    usable_memory: float
    weight_gradient_copies: float
    bucket_numbers: float
    fragmentation_early: float
    runtime_most_bytes: float


def read_constants(
    text: str, *, name: str = "calibration.yaml", kind: type[Any] = Calibration
) -> dict[str, Constant]:
    """The entries of a calibration file; InputError names what is missing, unknown or off range.

    ``kind``: the dataclass whose fields the file must hold.
    """
    entries = YAML(typ="safe", pure=True).load(text)
    wanted = {field.name for field in fields(kind)}
    if not isinstance(entries, dict) or entries.keys() != wanted:
        differing = sorted(set(entries or ()) ^ wanted)
        raise InputError(f"{name}: constants missing or unknown: {', '.join(differing)}")
    return {key: _constant(entries[key], where=f"{name}: {key}") for key in entries}


def _constant(entry: Mapping[str, Any], *, where: str) -> Constant:
    try:
        constant = Constant(**{**entry, "date": str(entry["date"])})
    except (TypeError, KeyError):
        keys = ", ".join(field.name for field in fields(Constant))
        raise InputError(f"{where}: needs exactly the keys {keys}") from None
    if not constant.low <= constant.value <= constant.high:
        raise InputError(
            f"{where}: {constant.value} lies outside its range {constant.low} to {constant.high}"
        )
    return constant


@cache
def published_constants() -> dict[str, Constant]:
    """The entries that ship with the program."""
    file = resources.files("gigafactory.cost").joinpath("calibration.yaml")
    return read_constants(file.read_text(encoding="utf-8"))


@cache
def published() -> Calibration:
    """The values that ship with the program."""
    return Calibration(**{k: float(c.value) for k, c in published_constants().items()})
