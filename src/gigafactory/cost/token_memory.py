"""What a replica holds: weights, and how many tokens of keys and values beside them.

Legend
    kv bytes a token: layers * 2 * n_kv * d * bytes (GQA), layers * (r_kv + d_rope) * bytes (MLA)
    capacity = (ranks * memory * share - weights) / kv bytes a token on those ranks

Paged caches waste almost nothing (arXiv:2309.06180 section 3), so capacity is counted in tokens.
With tp above the number of KV heads (or with MLA, above 1) ranks hold copies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gigafactory.cost.columns import Floats
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.token_constants import ServingCalibration
from gigafactory.cost.token_kernels import number_bytes
from gigafactory.describe.cluster import Gpu, Precision
from gigafactory.describe.model import Model
from gigafactory.describe.serving import Replica, Traffic


def attention_is_quantised(model: Model, precision: Precision) -> bool:
    """Latent attention is left in 16 bits where experts go to 4."""
    return not (model.mla is not None and precision is Precision.NVFP4)


def weight_bytes(model: Model, replica: Replica, *, constants: ServingCalibration) -> float:
    """Weights on all ranks of the replica together, copies counted."""
    p = count_parameters(model)
    width = number_bytes(replica.precision, constants=constants)
    attention = p.attention * model.num_layers
    narrow = (
        width if attention_is_quantised(model, replica.precision) else constants.sixteen_bit_bytes
    )
    tables = p.embedding + p.head
    rest = p.dense_total - attention - tables
    shared = attention * narrow + rest * width + tables * constants.sixteen_bit_bytes
    return replica.dp * shared + p.expert_total * width


def kv_copies(model: Model, replica: Replica) -> float:
    """How often the ranks of one dp group hold the same key."""
    heads = 1 if model.mla is not None else model.num_kv_heads
    return max(replica.tp / heads, 1.0)


def kv_numbers_per_token(model: Model) -> float:
    """Numbers that one layer keeps of one token."""
    if model.mla is not None:
        return model.mla.kv_lora_rank + model.mla.qk_rope_head_dim
    return 2.0 * model.num_kv_heads * model.head_dim


def kept_bytes(
    model: Model, replica: Replica, *, tokens: ArrayLike, constants: ServingCalibration
) -> Floats:
    """KV cache of one request of ``tokens``, on all ranks that hold it; windows forget."""
    width = number_bytes(replica.kv_precision, constants=constants)
    length = np.asarray(tokens, np.float64)
    seen = np.minimum(length, model.window or np.inf)
    layers = model.num_layers * (model.window_share * seen + (1 - model.window_share) * length)
    return np.asarray(layers * kv_numbers_per_token(model) * width * kv_copies(model, replica))


def kv_room_bytes(
    model: Model, gpu: Gpu, replica: Replica, *, constants: ServingCalibration
) -> float:
    """Memory left for keys and values on all ranks; ValueError where the weights do not fit."""
    held = weight_bytes(model, replica, constants=constants)
    room = replica.num_gpus * gpu.memory_bytes - held
    if room <= 0:
        raise ValueError(
            f"{held / 1e9:.0f} GB of weights do not fit {replica.num_gpus} x {gpu.name}"
        )
    return room * constants.kv_memory_share


def most_requests(
    model: Model,
    gpu: Gpu,
    replica: Replica,
    traffic: Traffic,
    *,
    constants: ServingCalibration,
) -> float:
    """Requests that fit at once: by the cache, and by max_batch; ValueError if not even one."""
    kept = traffic.input_tokens + constants.reserved_output * traffic.output_tokens
    one = float(kept_bytes(model, replica, tokens=kept, constants=constants))
    room = kv_room_bytes(model, gpu, replica, constants=constants)
    if room < one:
        raise ValueError(f"no room in {gpu.name} for the cache of a single request")
    # a full cache is a mean: a whole number of requests at a time, between floor and ceiling
    return min(room / one, float(replica.max_batch * replica.dp * replica.pp))
