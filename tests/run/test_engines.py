"""Engines of others, rendered: byte for byte, and what they cannot do with the name of who can."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.aim import EngineKind
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import InputError
from gigafactory.describe.layout import Layout
from gigafactory.describe.serve import Role
from gigafactory.describe.serving import Replica
from gigafactory.run.engines import sglang, vllm
from gigafactory.run.engines.catalog import (
    SERVING,
    TRAINING,
    ServingEngine,
    training_program,
    whole_hosts,
)
from gigafactory.run.engines.program import Program

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "engines"
LLAMA = load_study("studies/llama-405b-16k.yaml")
GROK = load_study("studies/grok-1-512.yaml")
QWEN = load_study("studies/grok-1-512.yaml", overrides=("model=qwen3-235b-a22b",))
DEEPSEEK = load_study("studies/grok-1-512.yaml", overrides=("model=deepseek-v3",))
BF16 = {"precision": Precision.BF16, "kv_precision": Precision.BF16}


def serve(engine: Any, study: Any, role: Role = Role.WHOLE, **replica: Any) -> Program:
    program: Program = engine.program(
        study.model, Replica(**replica), gpus_per_host=8, weights="/models/it", role=role
    )
    return program


def train(study: Any, kind: str, **layout: Any) -> Program:
    return training_program(study, Layout(**layout), kind=EngineKind(kind))


CASES = {
    "megatron-grok-1": lambda: train(GROK, "megatron", tp=4, pp=4, vpp=4, dp=32, ep=8),
    "torchtitan-llama": lambda: train(LLAMA, "torchtitan", tp=8, pp=16, vpp=4, dp=128),
    "vllm-one-host": lambda: serve(vllm, QWEN, tp=8, max_batch=256),
    "vllm-two-hosts": lambda: serve(vllm, DEEPSEEK, tp=1, dp=16, ep=16, max_batch=128),
    "vllm-pipeline": lambda: serve(vllm, LLAMA, tp=8, pp=2, **BF16),
    "vllm-prompts-alone": lambda: serve(vllm, QWEN, Role.PREFILL, tp=4, ep=4),
    "sglang-answers-alone": lambda: serve(sglang, GROK, Role.DECODE, tp=8, max_batch=64),
    "sglang-grok": lambda: serve(sglang, GROK, tp=8, max_batch=64),
    "sglang-two-hosts": lambda: serve(sglang, DEEPSEEK, dp=16, ep=16, chunked_prefill=False),
}  # fmt: skip


def text_of(program: Program) -> str:
    files = [f"== {name}\n{text}" for name, text in sorted(program.files.items())]
    notes = "".join(f"note: {note}\n" for note in program.notes)
    return f"== start.sh\n{program.start_script()}{''.join(files)}{notes}"


@pytest.mark.parametrize("name", CASES)
def test_the_program_is_this(name: str) -> None:
    assert text_of(CASES[name]()) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rank", [0, 1])
def test_start_scripts_run(name: str, rank: int, tmp_path: Path) -> None:
    """Whatever the shell makes of the script, with a program that tells its arguments."""
    program = CASES[name]()
    for file, text in program.files.items():
        (tmp_path / file).write_text(text)
    for command in ("torchrun", "vllm", "python3"):
        (tmp_path / command).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / command).chmod(0o755)
    given = {"GIGA_HOST_RANK": str(rank), "GIGA_MASTER": "m", "GIGA_FILES": str(tmp_path),
             "GIGA_OUTPUT": "/out", "PATH": f"{tmp_path}:{os.environ['PATH']}"}  # fmt: skip
    script = program.start_script()
    done = subprocess.run(
        ["sh", "-c", script], env=given, capture_output=True, text=True, check=True
    )
    told = done.stdout.splitlines()
    if program.engine in TRAINING:
        assert f"--node-rank={rank}" in told
        assert "--master-addr=m" in told
        assert f"--nproc-per-node={program.gpus_per_host}" in told
    if name == "vllm-two-hosts":
        assert f"--data-parallel-start-rank={rank * 8}" in told
    if name.startswith("vllm") and program.num_hosts > 1:
        assert ("--headless" in told) == (rank > 0)
    if name == "megatron-grok-1":
        assert ("--num-experts", "8") in pairwise(told)


@pytest.mark.parametrize(
    ("study", "kind", "layout", "says"),
    [
        (GROK, "ours", {"tp": 4, "pp": 4, "vpp": 4, "dp": 32, "ep": 8},
         r"ours cannot run this plan:\n(.*\n)*.*megatron could run this plan: --engine megatron"),
        (GROK, "torchtitan", {"tp": 4, "pp": 4, "vpp": 4, "dp": 32, "ep": 8},
         r"plan:\n  it builds llama.*, not grok-1; our plug-in adds.*\n.*megatron could"),
        (GROK, "ours", {"dp": 512, "sharding": "fsdp", "precision": "bf16"},
         r"train: missing.*\n.*torchtitan or megatron could run this plan: --engine torchtitan"),
        (LLAMA, "torchtitan", {"tp": 8, "dp": 128, "sharding": "zero1"},
         r"only under a pipeline(.*\n)+.*megatron could"),
        (LLAMA, "megatron", {"tp": 8, "pp": 16, "dp": 16, "schedule": "dual"},
         r"no engine can run this plan"),
        (LLAMA, "megatron", {"tp": 4, "pp": 3, "dp": 1}, r"12 GPUs, which are no whole hosts of 8"),
        (LLAMA, "research", {"dp": 8}, r"engine research: nothing starts it; write ours, "),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_run(study: Any, kind: str, layout: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        train(study, kind, **layout)


def test_models_that_cannot_be_served() -> None:
    with pytest.raises(InputError, match=r"vllm cannot serve .*\n.*not grok-1\n.*sglang could"):
        serve(vllm, GROK, tp=8)
    with pytest.raises(InputError, match="not nvfp4"):
        serve(sglang, QWEN, tp=8, precision="nvfp4")
    with pytest.raises(InputError, match="ep 4 is neither"):
        serve(vllm, QWEN, tp=8, ep=4)
    with pytest.raises(InputError, match="one of 16 GPUs does not fit into 8"):
        serve(vllm, DEEPSEEK, tp=16, dp=2)


def test_hosts_are_filled_whole() -> None:
    assert whole_hosts(4, 8) == (1, 4)
    assert whole_hosts(64, 8) == (8, 8)
    with pytest.raises(InputError, match="no whole hosts of 8"):
        whole_hosts(12, 8)


def test_configurations_are_yaml() -> None:
    from ruamel.yaml import YAML

    told = YAML(typ="safe").load(CASES["vllm-two-hosts"]().files[vllm.CONFIG_FILE])
    assert told["data-parallel-size"] == 16
    assert told["enable-expert-parallel"] is True
    told = YAML(typ="safe").load(CASES["sglang-two-hosts"]().files[sglang.CONFIG_FILE])
    assert (told["tp-size"], told["dp-size"], told["ep-size"]) == (16, 16, 16)
    assert told["chunked-prefill-size"] == -1


def test_every_engine_says_what_it_can() -> None:
    for capability in (*TRAINING.values(), *SERVING.values()):
        assert capability.axes
        assert capability.blocks
        assert capability.precisions
    assert {ServingEngine.SGLANG} == {e for e, c in SERVING.items() if "grok-2" in c.blocks}
