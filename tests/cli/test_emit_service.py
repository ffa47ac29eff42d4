"""`giga plan --emit` of a service: what each of its replicas starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gigafactory.cli.main import status

STUDY = "studies/grok-on-x.yaml"
EMIT = ("plan", STUDY, "--emit", "sglang", "--weights", "/models/grok-2")


def test_replicas_for_prompts_and_for_answers(tmp_path: Path, capsys) -> None:
    assert status([*EMIT, "--dir", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    files = json.loads(said.out)["files"]
    names = {f"{role}/{name}" for role in ("prefill", "decode") for name in
             ("sglang.yaml", "start.sh")}  # fmt: skip
    assert set(files) == names
    assert "--pd-disaggregation" in said.err
    for role in ("prefill", "decode"):
        kept = (tmp_path / role / "sglang.yaml").read_text()
        assert kept == files[f"{role}/sglang.yaml"]
        assert YAML(typ="safe").load(kept)["disaggregation-mode"] == role


def test_one_kind_of_replica_has_no_folders(capsys) -> None:
    assert status([*EMIT, "--json", "--set", "serve.disaggregation=never"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert set(files) == {"sglang.yaml", "start.sh"}
    assert "disaggregation" not in files["sglang.yaml"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("plan", STUDY, "--emit", "vllm", "--weights", "x"), "sglang could"),
        (("plan", STUDY, "--emit", "megatron", "--weights", "x"), "vllm or sglang"),
        (("plan", STUDY, "--emit", "vllm"), "--weights FOLDER"),
        (("plan", "studies/colossus.yaml", "--weights", "x"), "this study trains"),
    ],
)
def test_what_cannot_be_is_said(argv, words, capsys) -> None:
    assert status(list(argv)) == 2
    assert words in capsys.readouterr().err
