"""The constants of the serving equations, read from ``calibration_serving.yaml`` beside this file.

Each stands there once with its range, source, date and meaning, as those of the training
equations do in ``calibration.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from gigafactory.cost.calibration import Constant, read_constants

FILE = "calibration_serving.yaml"


@dataclass(frozen=True)
class ServingCalibration:
    """The values; what each means stands in calibration_serving.yaml, in the same order."""

    multiply_add_flops: float
    eight_bit_bytes: float
    sixteen_bit_bytes: float
    thirty_two_bit_bytes: float
    four_bit_bytes: float
    serving_gemm_sixteen_bit: float
    serving_gemm_eight_bit: float
    serving_gemm_four_bit: float
    weight_stream_fraction: float
    kv_stream_fraction: float
    prefill_attention_fraction: float
    roofline_sharpness: float
    expert_rows: float
    portable_expert_slowdown: float
    layer_latency_s: float
    expert_latency_s: float
    serving_pointwise_passes: float
    four_bit_passes: float
    expert_passes: float
    all_reduce_latency_s: float
    serving_scaleup_fraction: float
    host_step_s: float
    host_request_native_s: float
    host_request_tuned_s: float
    host_request_portable_s: float
    host_layer_s: float
    arm_host_slowdown: float
    exposed_host: float
    serving_gain_per_year: float
    kv_memory_share: float
    reserved_output: float
    batch_fill: float
    dp_stall: float
    server_fraction: float
    ttft_tail: float
    tpot_tail: float
    queue_burst: float
    host_first_token_s: float
    dp_wait_steps: float
    first_round_share: float
    throughput_spread: float
    ttft_spread: float
    ttft_tail_spread: float
    tpot_spread: float
    tpot_tail_spread: float
    latency_spread: float


@cache
def published_serving_constants() -> dict[str, Constant]:
    """The entries that ship with the program."""
    file = resources.files("gigafactory.cost").joinpath(FILE)
    text = file.read_text(encoding="utf-8")
    return read_constants(text, name=FILE, kind=ServingCalibration)


@cache
def published_serving() -> ServingCalibration:
    """The values that ship with the program."""
    found = published_serving_constants()
    return ServingCalibration(**{name: float(entry.value) for name, entry in found.items()})
