"""What each engine can do, as data, and who else could run a plan that one of them cannot.

Finer rules (schedules, shardings, what falls evenly) are in plan/abilities.py; these here say what
is built at all. Sources: run/engines/possible.py, net/recipe.py; torchtitan 0.2 (models/,
ParallelDims); Megatron-Core (arguments.py); models and parallelism of vLLM (Grok was dropped after
0.24) and of SGLang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gigafactory.describe.aim import EngineKind
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.describe.model import Block
from gigafactory.describe.serving import Replica
from gigafactory.describe.study import Study
from gigafactory.plan.emit import emit
from gigafactory.run.engines import ours
from gigafactory.run.engines.program import Program


class ServingEngine(StrEnum):
    """Programs that serve a trained model."""

    VLLM = "vllm"
    SGLANG = "sglang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What one engine builds and runs."""

    axes: frozenset[str]
    """Axes of the mesh that may be above 1."""
    blocks: frozenset[Block]
    precisions: frozenset[Precision]
    recovers: bool
    """Whether a lost rank or host costs a new gang only, driven by our controller; else the job
    starts again as a whole."""


_MESH = frozenset({"tp", "pp", "vpp", "cp", "dp", "ep", "etp"})
_SERVING_PRECISIONS = frozenset({Precision.BF16, Precision.FP16, Precision.FP8})
_OPEN = frozenset({Block.LLAMA, Block.QWEN3_MOE, Block.DEEPSEEK, Block.MIXTRAL})

TRAINING: Mapping[EngineKind, Capability] = MappingProxyType({
    EngineKind.OURS: Capability(
        axes=frozenset({"tp", "dp", "ep"}),
        blocks=frozenset({Block.GROK1, Block.GROK2, Block.QWEN3_MOE}),
        precisions=frozenset({Precision.FP32, Precision.BF16, Precision.FP8}),
        recovers=True,
    ),
    EngineKind.TORCHTITAN: Capability(
        axes=_MESH,
        blocks=frozenset({Block.LLAMA, Block.QWEN3_MOE, Block.DEEPSEEK, Block.GROK1}),
        precisions=frozenset({Precision.FP32, Precision.BF16, Precision.FP8}),
        recovers=False,
    ),
    EngineKind.MEGATRON: Capability(
        axes=_MESH, blocks=frozenset(Block), precisions=frozenset(Precision), recovers=False
    ),
})  # fmt: skip

SERVING: Mapping[ServingEngine, Capability] = MappingProxyType({
    ServingEngine.VLLM: Capability(
        axes=frozenset({"tp", "pp", "dp", "ep"}), blocks=_OPEN, precisions=_SERVING_PRECISIONS,
        recovers=False,
    ),
    ServingEngine.SGLANG: Capability(
        axes=frozenset({"tp", "pp", "dp", "ep"}), blocks=_OPEN | {Block.GROK1, Block.GROK2},
        precisions=_SERVING_PRECISIONS, recovers=False,
    ),
})  # fmt: skip


def training_program(study: Study, layout: Layout, *, kind: EngineKind) -> Program:
    """What every host starts to train; InputError with the reasons, and who could instead."""
    from gigafactory.run.engines import megatron, torchtitan

    renderers: Mapping[EngineKind, Callable[[Study, Layout], Program]] = {
        EngineKind.OURS: ours_on_hosts,
        EngineKind.TORCHTITAN: torchtitan.program,
        EngineKind.MEGATRON: megatron.program,
    }
    check_training(study, layout, kind=kind)
    return renderers[kind](study, layout)


def ours_on_hosts(study: Study, layout: Layout) -> Program:
    """Our own engine where a scheduler starts one program a host; see run/host.py."""
    from gigafactory.run.engines import ours_hosts

    return ours_hosts.program(study, layout)


def check_training(study: Study, layout: Layout, *, kind: EngineKind) -> None:
    """InputError with everything that stands against it, and which engine could run the plan."""
    if kind not in TRAINING:
        raise InputError(f"engine {kind}: nothing starts it; write {', '.join(TRAINING)}")
    wrong = _reasons(study, layout, kind=kind)
    if not wrong:
        return
    able = [str(other) for other in TRAINING if not _reasons(study, layout, kind=other)]
    help_ = (
        f"{' or '.join(able)} could run this plan: --engine {able[0]}"
        if able
        else "no engine can run this plan; leave `layout` out, and one that can be run is chosen"
    )
    raise InputError(f"{kind} cannot run this plan:\n  " + "\n  ".join([*wrong, help_]))


def check_block(study: Study, *, kind: EngineKind) -> None:
    """InputError before any search where the engine does not build the study's model at all."""
    block = study.model.block
    wrong = unbuilt(TRAINING[kind], block, {}, study.job.precision)
    if wrong:
        able = [
            str(other)
            for other, capability in TRAINING.items()
            if not unbuilt(capability, block, {}, study.job.precision)
        ]
        help_ = [f"{' or '.join(able)} could: --engine {able[0]}"] if able else []
        raise InputError(f"{kind} cannot run this study:\n  " + "\n  ".join([*wrong, *help_]))


def _reasons(study: Study, layout: Layout, *, kind: EngineKind) -> list[str]:
    wrong = unbuilt(TRAINING[kind], study.model.block, _axes_of(layout), layout.precision)
    try:
        whole_hosts(layout.num_gpus, study.cluster.host.num_gpus)
        if kind is EngineKind.OURS:
            ours.check(study, layout)
        elif not wrong:
            emit(study, layout, kind=kind)
    except InputError as error:
        said = str(error).removeprefix(f"{kind} cannot run this plan: ")
        wrong += [line.strip() for line in said.splitlines()]
    return list(dict.fromkeys(wrong))


def check_serving(replica: Replica, *, block: Block, kind: ServingEngine) -> None:
    """InputError with what the engine does not serve, and which one could."""
    axes = {axis: getattr(replica, axis) for axis in ("tp", "pp", "dp", "ep")}

    def reasons(other: ServingEngine) -> list[str]:
        return unbuilt(SERVING[other], block, axes, replica.precision)

    wrong = reasons(kind)
    if wrong:
        able = [str(other) for other in SERVING if not reasons(other)]
        wrong += [f"{' or '.join(able)} could"] if able else []
        raise InputError(f"{kind} cannot serve this model:\n  " + "\n  ".join(wrong))


def unbuilt(
    capability: Capability, block: Block, axes: Mapping[str, int], precision: Precision
) -> list[str]:
    """What of a plan the engine does not build; empty where it builds everything."""
    wrong = [
        f"{axis} {size} is not possible; it has {', '.join(sorted(capability.axes))}"
        for axis, size in axes.items()
        if size > 1 and axis not in capability.axes
    ]
    if block not in capability.blocks:
        wrong.append(f"it builds {', '.join(sorted(capability.blocks))}, not {block}")
    if precision not in capability.precisions:
        wrong.append(f"it computes in {', '.join(sorted(capability.precisions))}, not {precision}")
    return wrong


def whole_hosts(num_gpus: int, gpus_per_host: int) -> tuple[int, int]:
    """(hosts, ranks on each); InputError where the last host would be filled in part."""
    if num_gpus <= gpus_per_host:
        return 1, num_gpus
    if num_gpus % gpus_per_host:
        raise InputError(
            f"the layout fills {num_gpus} GPUs, which are no whole hosts of {gpus_per_host}"
        )
    return num_gpus // gpus_per_host, gpus_per_host


def _axes_of(layout: Layout) -> dict[str, int]:
    return {axis: getattr(layout, axis) for axis in ("tp", "pp", "vpp", "cp", "dp", "ep", "etp")}
