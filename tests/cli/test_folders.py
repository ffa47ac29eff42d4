"""What --dir keeps: everything of one answer, or the folder as it was."""

from __future__ import annotations

import json

import pytest

from gigafactory.cli.main import status
from gigafactory.simulate.campaign import CampaignResult

LLAMA = "studies/llama-405b-16k.yaml"
ARGS = ("simulate", LLAMA, "--set", "campaign.duration=6 h", "--json")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_campaign_that_is_refused_or_stopped_changes_nothing(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    assert status([*ARGS, "--dir", str(folder)]) == 0
    before = contents(folder)
    assert before.keys() == {"plan.json", "twin.json", "twin.jsonl"}
    never = ("--set", "policy.checkpoint_interval=100 d", "--set", "policy.recovery=restart")
    assert status([*ARGS, *never, "--dir", str(folder)]) == 2
    assert contents(folder) == before

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(CampaignResult, "to_json", stop)  # after the ledger is written
    assert status([*ARGS, "--seed", "1", "--dir", str(folder)]) == 1
    assert contents(folder) == before
    assert status([*ARGS, "--seed", "1", "--dir", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()


def test_a_result_names_the_ledger_beside_it(tmp_path, capsys):
    for seed in ("0", "1"):
        assert status([*ARGS, "--seed", seed, "--dir", str(tmp_path / seed)]) == 0
    assert status(["report", str(tmp_path / "0")]) == 0
    (tmp_path / "1" / "twin.jsonl").replace(tmp_path / "0" / "twin.jsonl")
    capsys.readouterr()
    assert status(["report", str(tmp_path / "0")]) == 2
    told = json.loads((tmp_path / "0" / "twin.json").read_text())["ledger_hash"][:12]
    assert f"twin.json: ledger_hash is {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ('"max_hold_s":', '"max_hold_days":', "not a configuration of this controller"),
        ('"controller":{', '"controller":{"patience":1,', "not a configuration of this controller"),
    ],
)
def test_a_book_with_a_wrong_configuration_is_named(tmp_path, capsys, was, becomes, told):
    assert status([*ARGS, "--dir", str(tmp_path)]) == 0
    ledger = tmp_path / "twin.jsonl"
    ledger.write_text(ledger.read_text().replace(was, becomes, 1))
    capsys.readouterr()
    assert status(["replay", str(ledger)]) == 2
    err = capsys.readouterr().err
    assert f"giga: {ledger}: controller: {told}" in err


@pytest.mark.parametrize("verb", ["describe", "plan", "simulate"])
@pytest.mark.parametrize("place", ["/proc/nowhere", "file/below"])
def test_a_folder_that_cannot_be_is_wrong_input(tmp_path, capsys, verb, place):
    (tmp_path / "file").touch()
    assert status([verb, LLAMA, "--dir", str(tmp_path / place)]) == 2
    said = capsys.readouterr()
    assert f"{place}: cannot be written" in said.err
    assert said.out == ""


@pytest.mark.parametrize("place", ["/proc/nowhere.yaml", "/proc/nowhere/in.yaml"])
def test_a_calibration_that_cannot_be_kept_is_not_begun(capsys, place):
    assert status(["calibrate", "--quick", "--out", place]) == 2
    assert "cannot be written" in capsys.readouterr().err
