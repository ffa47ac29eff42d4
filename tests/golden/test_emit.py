"""Arguments for other programs, byte for byte, and plans that they cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.aim import EngineKind
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.plan.emit import emit

HERE = Path(__file__).parent
LLAMA = load_study("studies/llama-405b-16k.yaml")
GROK = load_study("studies/grok-1-512.yaml")
NEXT = load_study("studies/colossus.yaml")
DEEPSEEK = load_study("studies/grok-1-512.yaml", overrides=("model=deepseek-v3",))
FP8 = load_study("studies/llama-405b-16k.yaml", overrides=("job.precision=fp8",))

CASES = {
    "megatron-llama-405b": (
        LLAMA, "megatron", Layout(tp=8, pp=16, vpp=4, dp=128),
    ),
    "megatron-grok-1": (
        GROK, "megatron",
        Layout(tp=4, pp=4, vpp=4, dp=32, ep=8, etp=1, micro_batch=1, recompute="selective"),
    ),
    "megatron-deepseek-v3": (
        DEEPSEEK, "megatron",
        Layout(tp=2, cp=2, dp=128, ep=64, sharding="hsdp", shard=64, recompute="full"),
    ),
    "megatron-offload": (
        GROK, "megatron",
        Layout(tp=8, pp=8, dp=8, ep=8, recompute="full", recompute_layers=3, offload=True),
    ),
    "torchtitan-llama-405b-fp8": (
        FP8, "torchtitan",
        Layout(tp=8, pp=16, vpp=4, schedule="zero_bubble", dp=128, recompute="selective",
               precision="fp8"),
    ),
    "torchtitan-grok-next": (
        NEXT, "torchtitan",
        Layout(tp=4, pp=8, schedule="dual_v", cp=8, dp=380, ep=32, etp=4, recompute="full"),
    ),
    "torchtitan-deepseek-v3": (
        DEEPSEEK, "torchtitan",
        Layout(tp=2, cp=2, dp=128, ep=64, sharding="hsdp", shard=64, recompute="full"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_arguments_are_these(name):
    study, program, layout = CASES[name]
    told = emit(study, layout, kind=EngineKind(program))
    assert told.text + "\n" == (HERE / "emit" / f"{name}.txt").read_text(encoding="utf-8")
    assert any(f"start {layout.num_gpus} ranks" in note for note in told.notes)


@pytest.mark.parametrize(
    ("study", "program", "layout", "told"),
    [
        (GROK, "torchtitan", Layout(tp=8, dp=64, ep=8, etp=8, sharding="fsdp"), "not grok-1"),
        (NEXT, "megatron", Layout(pp=8, schedule="dual_v", dp=380, tp=8), "does not run schedule"),
        (LLAMA, "torchtitan", Layout(tp=8, dp=128, sharding="zero1"), "only under a pipeline"),
        (LLAMA, "megatron", Layout(tp=8, pp=5, dp=128), "divide by 5 stages"),
        (LLAMA, "ours", Layout(dp=8, sharding="none"), "write megatron or torchtitan"),
    ],
)
def test_what_a_program_cannot_run_is_refused(study, program, layout, told):
    with pytest.raises(InputError, match=told):
        emit(study, layout, kind=EngineKind(program))


def test_torchtitan_files_are_toml():
    import tomllib

    for name, (study, program, layout) in CASES.items():
        if program == "torchtitan":
            read = tomllib.loads(emit(study, layout, kind=EngineKind(program)).text)
            mesh = read["parallelism"]
            ranks = mesh["pipeline_parallel_degree"] * mesh["context_parallel_degree"]
            ranks *= mesh["tensor_parallel_degree"] * mesh["data_parallel_shard_degree"]
            assert ranks * mesh["data_parallel_replicate_degree"] == layout.num_gpus, name
