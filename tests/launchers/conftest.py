"""Orders for each place, and servers to send them to."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.aim import EngineKind
from gigafactory.describe.layout import Layout
from gigafactory.run.engines.program import Program, torchrun
from gigafactory.run.launchers.registry import Order


def beside(name: str) -> Any:
    """A module of this folder; tests are imported without one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


ROOT = Path(__file__).resolve().parents[2]
kube_api = beside("kube_api")


def order(*overrides: str, study: str = "grok-1-512", num_hosts: int = 64, **mesh: int) -> Order:
    layout = Layout(**(mesh or {"tp": 8, "pp": 2, "dp": 32, "ep": 16, "etp": 1}))
    program = Program(
        engine=EngineKind.MEGATRON,
        num_hosts=num_hosts,
        gpus_per_host=8,
        command=torchrun("train.py", num_hosts=num_hosts, gpus_per_host=8, rest="--steps 3"),
        environment={"NCCL_DEBUG": "WARN"},
        files={"arguments.txt": "--num-layers 2\n"},
    )
    told = load_study(ROOT / f"studies/{study}.yaml", overrides=overrides)
    return Order(study=told, layout=layout, program=program)


@pytest.fixture(scope="session")
def ordered() -> Callable[..., Order]:
    return order


@pytest.fixture
def api() -> Iterator[Any]:
    with kube_api.serving() as server:
        yield server


@pytest.fixture(scope="session")
def oci_api() -> Any:
    return beside("oci_api")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared text that is small, so that a run need not make one."""
    from gigafactory.train.tokens import keep, train_tokenizer

    folder = tmp_path_factory.mktemp("text") / "corpus"
    dice = random.Random(2)
    words = ["good", "morning", "how", "do", "you", "feel", "well", "thanks", "and", "tea"]
    talk = [[" ".join(dice.choices(words, k=6)) for _ in range(6)] for _ in range(300)]
    tokenizer = train_tokenizer((turn for turns in talk for turn in turns), vocab=400)
    keep(folder, tokenizer=tokenizer, documents={"chitchat": (talk, talk[:10])})
    return folder
