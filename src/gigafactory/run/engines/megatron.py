"""Megatron-LM's pretrain_gpt.py as an engine: rendered arguments."""

from __future__ import annotations

from gigafactory.describe.aim import EngineKind
from gigafactory.describe.layout import Layout
from gigafactory.describe.study import Study
from gigafactory.plan.emit import emit
from gigafactory.run.engines.catalog import whole_hosts
from gigafactory.run.engines.program import FILES, OUTPUT, Program, torchrun

ARGUMENTS_FILE = "arguments.txt"
#: Where the image has Megatron-LM; a person may set another place.
SCRIPT = "${MEGATRON_PATH:-/opt/megatron-lm}/pretrain_gpt.py"
_SAVE_STEPS = 100


def program(study: Study, layout: Layout) -> Program:
    """One `torchrun` a host; tokenizer, data and learning rate are the person's to add."""
    hosts, each = whole_hosts(layout.num_gpus, study.cluster.host.num_gpus)
    told = emit(study, layout, kind=EngineKind.MEGATRON)
    keep = f'--save "${OUTPUT}/checkpoints" --load "${OUTPUT}/checkpoints"'
    rest = (
        f'$(cat "${FILES}/{ARGUMENTS_FILE}") --distributed-backend nccl {keep} '
        f"--save-interval {_SAVE_STEPS} ${{MEGATRON_ARGUMENTS:-}}"
    )
    return Program(
        engine=EngineKind.MEGATRON,
        num_hosts=hosts,
        gpus_per_host=each,
        command=torchrun(f'"{SCRIPT}"', num_hosts=hosts, gpus_per_host=each, rest=rest),
        # the order of kernels that overlapped tensor parallelism relies on
        environment={"CUDA_DEVICE_MAX_CONNECTIONS": "1"} if layout.tp > 1 else {},
        files={ARGUMENTS_FILE: told.text + "\n"},
        notes=(*told.notes, "say those in MEGATRON_ARGUMENTS, which is read on every host"),
    )
