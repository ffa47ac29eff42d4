"""A job as Kubernetes would run it: the rendered start script, once a pod, on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.aim import EngineKind
from gigafactory.ledger.entries import Rollback
from gigafactory.ledger.reader import read_ledger
from gigafactory.plan.search import plan
from gigafactory.run.engines.catalog import training_program
from gigafactory.run.launchers import kubernetes
from gigafactory.run.launchers.registry import Order

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
SOURCE = Path(__file__).resolve().parents[2] / "src"
MICRO = (
    "model.hidden=64", "model.num_layers=2", "model.head_dim=16", "model.moe_ffn=128",
    "model.context=64", "train.vocab=400", "job.tokens=12288", "job.seq_len=64",
    "job.global_batch=8", "layout.micro_batch=4", "train.checkpoint_steps=5", "drill=null",
    "cluster={extends: laptop, num_hosts: 2, host: {extends: laptop, num_gpus: 1}}",
    "kubernetes={image: registry.example/giga:1}",
)  # fmt: skip


def pods(folder: Path, overrides: tuple[str, ...] = ()) -> tuple[list[Any], Path]:
    """Every pod of the job as a process; the folder of the run."""
    study = load_study("studies/first-light.yaml", overrides=(*MICRO, *overrides))
    layout = plan(study).best.layout
    program = training_program(study, layout, kind=EngineKind.OURS)
    text = kubernetes.render(Order(study=study, layout=layout, program=program)).files["job.yaml"]
    config, jobset = kubernetes.from_yaml(text)
    files = folder / "files"
    files.mkdir()
    for name, content in config["data"].items():
        (files / name).write_text(content)
    given = {"GIGA_MASTER": "127.0.0.1", "GIGA_FILES": str(files),
             "GIGA_OUTPUT": str(folder / "out"),
             "PYTHONPATH": str(SOURCE), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # noqa: E501  # fmt: skip
    count = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"]
    made = []
    for index in range(count):
        with (folder / f"pod-{index}.log").open("w") as log:
            own = given | {"JOB_COMPLETION_INDEX": str(index)}
            argv = ["sh", str(files / "start.sh")]
            made.append(subprocess.Popen(argv, env=own, stdout=log, stderr=log))
    return made, folder / "out" / study.study


def test_a_job_of_pods_trains_and_outlives_an_agent(tmp_path: Path, corpus: Path) -> None:
    shutil.copytree(corpus, tmp_path / "out" / "first-light" / "corpus")
    processes, run = pods(tmp_path)
    try:
        deadline_s = time.monotonic() + 120
        while not list((run / "checkpoints").glob("step-0000001*")):
            assert time.monotonic() < deadline_s, (tmp_path / "pod-0.log").read_text()
            time.sleep(0.1)
        (agent,) = agents(run, "host-1")
        os.kill(agent, signal.SIGKILL)
        statuses = [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    log = (tmp_path / "pod-0.log").read_text()
    assert statuses == [0, 0], log
    assert "giga: done at step 24" in log
    contents = [entry.content for entry in read_ledger(run / "ledger.jsonl")]
    assert sum(isinstance(one, Rollback) for one in contents) == 1, "the kill cost one gang"
    assert (run / "model" / "model.safetensors").exists()
    assert agents(run, "host-0") == []


def agents(run: Path, name: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        is_agent = b"gigafactory.run.launchers.agent" in line and name.encode() in line
        if is_agent and any(str(run).encode() in part for part in line):
            found.append(int(entry.name))
    return found


def test_what_is_no_order_ends_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text("{}")
    given = {"GIGA_HOST_RANK": "0", "GIGA_MASTER": "127.0.0.1", "GIGA_FILES": str(tmp_path),
             "GIGA_OUTPUT": str(tmp_path)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "gigafactory.run.host"], env=os.environ | given,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "order.json: not what `giga run` writes there" in done.stderr
