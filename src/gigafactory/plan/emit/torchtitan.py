"""A job file of torchtitan (TOML), sections and keys as in its JobConfig of version 0.2.

Every key is also an argument of its command line, ``--section.key value``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout, Recompute, Schedule, Sharding
from gigafactory.describe.model import Block, Model
from gigafactory.describe.study import Study
from gigafactory.plan.emit import Emitted

Value = str | int | bool | list[str]
Sections = Mapping[str, Mapping[str, Value]]

#: The models that torchtitan builds, and ours, which our plug-in brings (run/engines).
NAMES = {
    Block.LLAMA: "llama3",
    Block.QWEN3_MOE: "qwen3",
    Block.DEEPSEEK: "deepseek_v3",
    Block.GROK1: "gigafactory",
}
_OURS = (Block.GROK1,)
_OTHER_AXES = ("tp", "pp", "cp", "ep", "etp")
_TYPES = {
    Precision.FP32: "float32",
    Precision.BF16: "bfloat16",
    # products in fp8, the rest in bf16
    Precision.FP8: "bfloat16",
}
_SCHEDULES = {
    Schedule.ZERO_BUBBLE: "InterleavedZeroBubble",
    Schedule.DUAL_V: "DualPipeV",
}


def torchtitan(study: Study, layout: Layout) -> Emitted:
    """The file of a legal layout; InputError where torchtitan has no such block or format."""
    model = study.model
    wide = any(getattr(layout, axis) > 1 for axis in _OTHER_AXES)
    if model.block not in NAMES or (model.block in _OURS and wide):
        known = ", ".join(block for block in NAMES if block not in _OURS)
        more = "; our plug-in adds that block, data-parallel only" if model.block in _OURS else ""
        raise InputError(
            f"torchtitan cannot run this plan: it builds {known}, not {model.block}{more}"
        )
    if layout.precision not in _TYPES:
        known = ", ".join(_TYPES)
        raise InputError(
            f"torchtitan cannot run this plan: it trains in {known}, not {layout.precision}"
        )
    sections: Sections = {
        "model": _model(model, layout),
        "training": _training(study, layout),
        "parallelism": dict(_parallelism(study, layout)),
        "activation_checkpoint": _checkpointing(layout),
        "compile": {"enable": True},
    }
    if layout.precision is Precision.FP8 and model.num_experts:
        sections = {**sections, "quantize.grouped_mm.float8": {"fqns": ["experts"]}}
    return Emitted(_toml(sections), tuple(_notes(study, layout)))


def _model(model: Model, layout: Layout) -> dict[str, Value]:
    told: dict[str, Value] = {"name": NAMES[model.block], "flavor": model.name}
    if layout.precision is Precision.FP8:
        grouped = ["quantize.grouped_mm.float8"] if model.num_experts else []
        told["converters"] = ["quantize.linear.float8", *grouped]
    return told


def _training(study: Study, layout: Layout) -> dict[str, Value]:
    job = study.job
    # under a pipeline one iteration takes all microbatches of a rank
    local = job.global_batch // layout.dp if layout.pp > 1 else layout.micro_batch
    return {
        "local_batch_size": local,
        "global_batch_size": job.global_batch,
        "seq_len": job.seq_len,
        "steps": job.num_steps,
        "mixed_precision_param": _TYPES[layout.precision],
        "mixed_precision_reduce": "float32",
    }


def _parallelism(study: Study, layout: Layout) -> Iterator[tuple[str, Value]]:
    replicas = layout.dp * layout.cp
    shard = layout.shard or replicas
    plain = layout.sharding is Sharding.NONE
    yield "data_parallel_replicate_degree", layout.dp if plain else replicas // shard
    yield "data_parallel_shard_degree", 1 if plain else shard // layout.cp
    if not plain:
        never = layout.sharding is Sharding.ZERO1
        yield "fsdp_reshard_after_forward", "never" if never else "always"
    yield "tensor_parallel_degree", layout.tp
    yield "context_parallel_degree", layout.cp
    yield "pipeline_parallel_degree", layout.pp
    if layout.pp > 1:
        yield from _pipeline(study.model, layout)
    if study.model.num_experts:
        yield "expert_parallel_degree", layout.ep
        yield "expert_tensor_parallel_degree", layout.etp


def _pipeline(model: Model, layout: Layout) -> Iterator[tuple[str, Value]]:
    stages = layout.pp * (2 if layout.schedule is Schedule.DUAL_V else layout.vpp)
    plain = "Interleaved1F1B" if layout.vpp > 1 else "1F1B"
    # where the layers alone do not fall evenly, the two tables count as a layer each
    tables = 1 if model.num_layers % stages else 0
    yield "pipeline_parallel_schedule", _SCHEDULES.get(layout.schedule, plain)
    yield "pipeline_parallel_microbatch_size", layout.micro_batch
    yield "pipeline_parallel_layers_per_stage", (model.num_layers + 2 * tables) // stages
    yield "pipeline_parallel_first_stage_less_layers", tables
    yield "pipeline_parallel_last_stage_less_layers", tables


def _checkpointing(layout: Layout) -> dict[str, Value]:
    if layout.recompute is Recompute.SELECTIVE:
        return {"mode": "selective", "selective_ac_option": "op"}
    return {"mode": str(layout.recompute)}


def _toml(sections: Sections) -> str:
    blocks = [
        "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in keys.items())])
        for name, keys in sections.items()
    ]
    return "\n\n".join(blocks)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _notes(study: Study, layout: Layout) -> Iterator[str]:
    model = study.model
    yield f"start {layout.num_gpus} ranks; tokenizer, data and learning rate are not part of a plan"
    yield (
        f"flavor {model.name} must be registered with {model.num_layers} layers of hidden size "
        f"{model.hidden}, {model.num_heads} heads, {model.num_kv_heads} kv heads"
    )
