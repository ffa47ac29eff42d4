"""One real Slurm for all tests of this folder; without its programs they are skipped."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


mini_slurm = _load("mini_slurm")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Four nodes; n4 is one leaf, the others another."""
    reason = mini_slurm.why_not()
    if reason:
        pytest.skip(reason)
    topology = (
        "SwitchName=core Switches=leaf[1-2]\nSwitchName=leaf1 Nodes=n4\n"
        "SwitchName=leaf2 Nodes=n[1-3]\n"
    )
    folder = tmp_path_factory.mktemp("slurm")
    with mini_slurm.MiniSlurm.started(folder, num_nodes=4, topology=topology) as started:
        yield started
