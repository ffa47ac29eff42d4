"""What the verbs print with --json, and how they fail."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cli.main import status

COLOSSUS = "studies/colossus.yaml"


def document(capsys, *args):
    assert status([*args, "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out)


def test_plan_prints_the_contract(capsys):
    plan = document(capsys, "plan", COLOSSUS)
    assert {"best", "alternatives", "num_candidates", "num_feasible", "search_s"} <= plan.keys()
    best = plan["best"]
    keys = {
        "layout",
        "step_s",
        "tokens_per_s_per_gpu",
        "mfu",
        "memory_bytes_per_gpu",
        "breakdown_s",
    }
    assert keys <= best.keys()
    assert 0 < best["mfu"] < 1
    assert sum(best["breakdown_s"].values()) == pytest.approx(best["step_s"])
    assert plan["num_feasible"] <= plan["num_candidates"]


def test_the_best_plan_is_the_fastest(capsys):
    plan = document(capsys, "plan", COLOSSUS)
    assert all(plan["best"]["step_s"] <= other["step_s"] for other in plan["alternatives"])


def test_simulate_prints_the_contract_and_repeats_itself(capsys):
    asked = ("simulate", COLOSSUS, "--set", "campaign.duration=6 d", "--seed")
    first, again, other = (document(capsys, *asked, seed) for seed in ("7", "7", "8"))
    keys = {
        "goodput", "ettr", "num_interruptions", "mtbf_s", "mttr_s", "days", "energy_j", "cost_usd",
        "ledger_hash",
    }  # fmt: skip
    assert keys <= first.keys()
    assert first == again
    assert first["ledger_hash"] != other["ledger_hash"]


def test_the_hours_of_power_add_up_to_the_bill(tmp_path, capsys):
    args = ["simulate", COLOSSUS, "--set", "campaign.duration=50 h", "--dir", str(tmp_path)]
    told = document(capsys, *args)
    assert json.loads((tmp_path / "twin.json").read_text()) == told
    hours, site = told["power_hours"], load_study(Path(COLOSSUS)).cluster.site
    assert {len(hours[key]) for key in ("min_w", "mean_w", "max_w", "grid_max_w")} == {50}
    energy_j = 3600.0 * sum(hours["mean_w"])
    assert energy_j == pytest.approx(told["energy_j"], rel=1e-9)
    assert energy_j * site.electricity_usd_per_j == pytest.approx(told["electricity_usd"])
    assert energy_j * site.carbon_kg_per_j == pytest.approx(told["carbon_kg"])
    assert hours["capacity_w"] == site.capacity_w
    assert max(hours["mean_w"]) == hours["peak_hour_w"] == hours["mean_w"][hours["peak_hour"]]


def test_describe_answers_the_oracle_question(capsys):
    figures = document(capsys, "describe", COLOSSUS)
    by_years = {k: v for k, v in figures.items() if k.startswith("offer_")}
    values = [v for v in by_years.values() if isinstance(v, float)]
    assert any(v == pytest.approx(3.81, abs=0.005) for v in values)
    assert any(v == pytest.approx(2.85, abs=0.005) for v in values)


def test_a_formula_is_a_command_away(capsys):
    figures = document(capsys, "describe", COLOSSUS)
    for key in figures:
        assert status(["describe", COLOSSUS, "--why", key]) == 0
    shown = capsys.readouterr().out
    assert shown.count("formula") >= len(figures)
    assert shown.count("source") >= len(figures)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["plan", "no/such.yaml"], "no/such.yaml"),
        (["plan", COLOSSUS, "--set", "job.seq_length=4096"], "job.seq_length"),
        (["plan", COLOSSUS, "--set", "job.tokens=15 GB"], "job.tokens"),
        (["simulate", COLOSSUS, "--set", "model=grok-99"], "grok-99"),
        (["plan", "studies/grok-1-512.yaml", "--set", "cluster=h100-8"], "memory"),
        (["describe", COLOSSUS, "--why", "no_such_usd"], "no_such_usd"),
        (["validate", "no/such.csv"], "no/such.csv"),
        (["replay", "no/such.jsonl"], "no/such.jsonl"),
        (["report", "no/such/folder"], "no/such/folder"),
        (["chat", "no/such/folder"], "no/such/folder"),
        (["simulate", COLOSSUS, "--seed", "-1"], "--seed"),
        (["plan"], "STUDY"),
        (["plann"], "plann"),
    ],
)
def test_wrong_input_is_status_2_and_names_the_place(args, named, capsys):
    assert status(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert named in captured.err
    assert "Traceback" not in captured.err


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, capsys):
    def refuse(*_args, **_named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    assert status(["describe", COLOSSUS, "--dir", str(tmp_path)]) == 1
    assert "description.json: cannot be written: No space left" in capsys.readouterr().err
    assert status(["plan", COLOSSUS, "--dir", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
