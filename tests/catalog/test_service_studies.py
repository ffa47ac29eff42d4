"""Studies of a service: what is wrong is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gigafactory.catalog.studies import load_any_study, load_study
from gigafactory.cli.main import giga, status
from gigafactory.describe.errors import InputError

STUDY = "studies/grok-on-x.yaml"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("job.seq_len=4096", "either a training job or serve"),
        ("serve.slo.tpot=null", "slo.tpot is missing"),
        ("serve.slo.tpot=40", "has no unit"),
        ("serve.disaggregation=sometimes", "'never', 'always' or 'choose'"),
        ("serve.replica.tp=16", "replica.tp is 16, the scale-up domain has 8 GPUs"),
        ("serve.replica.pp=7", "replica.pp 7 does not divide 64 layers"),
        ("serve.conversation.question.mean_tokens=9000", "is above most_tokens 4000"),
        ("serve.conversation.answer.most_tokens=200000", "model.context is 131,072"),
        ("serve.convers=1", "did you mean conversation?"),
        ("serve.precision=nvfp4", "serve.precision"),
    ],
)
def test_what_is_wrong_is_said(override: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        load_any_study(STUDY, overrides=(override,))
    assert told in str(caught.value)
    assert str(caught.value).startswith(("--set", STUDY))


def test_a_training_verb_says_what_a_service_is_for() -> None:
    with pytest.raises(InputError, match="giga describe, plan and simulate take it"):
        load_study(STUDY)
    assert status(["run", STUDY]) == 2
    assert status(["plan", STUDY, "--goal", "cheapest"]) == 2
    assert status(["simulate", STUDY, "--campaigns", "2"]) == 2


def test_the_twin_keeps_its_minutes_in_a_folder(tmp_path: Path) -> None:
    short = ["--set", "serve.cut.duration=3 min", "--set", "serve.cut.warm=1 min"]
    done = CliRunner().invoke(giga, ["simulate", STUDY, *short, "--json", "--dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    kept = json.loads((tmp_path / "fleet.json").read_text())
    assert len(kept.pop("moments")) >= 2
    assert kept == told
    assert told["num_requests"] > 100
    plan = json.loads((tmp_path / "fleet-plan.json").read_text())
    assert plan["best"]["is_disaggregated"] is told["is_disaggregated"]
