"""Our plug-in in torchtitan itself; runs in an environment of its own (`make torchtitan`)."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.parameters import count_parameters
from gigafactory.describe.aim import EngineKind
from gigafactory.describe.layout import Layout
from gigafactory.run.engines.catalog import training_program

pytest.importorskip("torchtitan", reason="needs its own environment: make torchtitan")
torch = importlib.import_module("torch")
titan = importlib.import_module("gigafactory.run.engines.titan_models")

MICRO = ("model.hidden=64", "model.num_layers=2", "model.head_dim=16", "model.moe_ffn=128",
         "model.context=64", "job.seq_len=64", "job.global_batch=8", "layout=null")  # fmt: skip
GROK = load_study("studies/first-light.yaml", overrides=MICRO)


def built(model: Any) -> Any:
    from torchtitan.config import JobConfig

    spec = titan.spec_of(model)
    spec.model_args[model.name].update_from_config(JobConfig())
    with torch.device("meta"):
        return spec.model_cls(spec.model_args[model.name])


@pytest.mark.parametrize(
    ("name", "slack"),
    # routers of torchtitan's DeepSeek carry no bias of ours; else every parameter is the same
    [("llama-3-405b", 0.0), ("llama-3-8b", 0.0), ("qwen3-30b-a3b", 0.0), ("qwen3-235b-a22b", 0.0),
     ("deepseek-v3", 1e-4), ("grok-1", 0.0)],
)  # fmt: skip
def test_torchtitan_builds_as_many_parameters_as_the_plan_counts(name: str, slack: float) -> None:
    model = load_study("studies/grok-1-512.yaml", overrides=(f"model={name}",)).model
    have = sum(weight.numel() for weight in built(model).parameters())
    assert have == pytest.approx(count_parameters(model).total, rel=slack, abs=0)


def test_same_weights_and_batch_give_the_same_loss() -> None:
    from torchtitan.components.loss import cross_entropy_loss

    from gigafactory.net.network import Network, initialise

    spec = titan.spec_of(GROK.model)
    args = spec.model_args[GROK.model.name]
    theirs = spec.model_cls(args)
    theirs.init_weights()
    ours = Network(GROK.model)
    initialise(ours, seed=3)
    theirs.load_state_dict(ours.state_dict())
    dice = torch.Generator().manual_seed(1)
    ids = torch.randint(GROK.model.vocab, (4, 65), generator=dice)
    logits = ours(ids[:, :-1])[0]
    mine = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    summed = cross_entropy_loss(theirs(ids[:, :-1]), ids[:, 1:])
    assert summed.item() / ids[:, 1:].numel() == pytest.approx(mine.item(), rel=1e-6)
    mine.backward()
    (summed / ids[:, 1:].numel()).backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_torchtitan_reads_the_job_file(tmp_path: Path) -> None:
    program = training_program(GROK, Layout(dp=2, sharding="fsdp"), kind=EngineKind.TORCHTITAN)
    for name, text in program.files.items():
        (tmp_path / name).write_text(text)
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "from torchtitan.config import ConfigManager\n"
        "from torchtitan.protocols.train_spec import get_train_spec\n"
        "job = ConfigManager().parse_args(sys.argv[1:])\n"
        "import_module(job.experimental.custom_import)\n"
        "spec = get_train_spec(job.model.name)\n"
        "print(sorted(spec.model_args), job.parallelism.data_parallel_shard_degree)\n"
    )
    argv = ["--job.config_file", str(tmp_path / "job.toml"), "--checkpoint.enable",
            "--experimental.custom_import", "gigafactory.run.engines.titan_models"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False,
        env=os.environ | {"GIGA_TITAN_MODEL": str(tmp_path / "model.json")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == f"['{GROK.model.name}'] 2"
