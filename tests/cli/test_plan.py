"""`giga plan` with a goal, and as arguments for other programs."""

from __future__ import annotations

import json

import pytest

from gigafactory.cli.main import status

STUDY = "studies/grok-1-512.yaml"
FIXED = "layout={tp: 8, pp: 8, vpp: 4, dp: 8, ep: 8, recompute: selective}"


def test_arguments_are_all_that_is_on_stdout(capsys):
    assert status(["plan", STUDY, "--set", FIXED, "--emit", "megatron"]) == 0
    out, err = capsys.readouterr()
    assert all(line.startswith("--") for line in out.splitlines())
    assert "--num-virtual-stages-per-pipeline-rank 4" in out.splitlines()
    assert "start 512 ranks" in err


def test_the_search_keeps_to_the_program(capsys):
    small = ["--set", "model=llama-3-8b", "--set", "job.seq_len=4096"]
    assert status(["plan", STUDY, *small, "--emit", "torchtitan"]) == 0
    assert "[parallelism]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", FIXED, "--emit", "torchtitan"], "torchtitan cannot run this plan"),
        (["--emit", "jax"], "--emit jax: write megatron or torchtitan"),
        (["--emit", "megatron", "--json"], "leave --json and --dir out"),
        (["--goal", "best"], "'fastest', 'cheapest' or 'tokens-per-joule'"),
        (["--set", "plan.gpus=some"], "must be a number of GPUs above 0, or free"),
        (["--set", "plan.gpus=1000"], "plan.gpus 1000 is more than the 512"),
        (["--set", "plan.deadline=60"], "has no unit"),
    ],
)
def test_wrong_questions_are_status_2(arguments, told, capsys):
    assert status(["plan", STUDY, *arguments]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""


def test_json_carries_goal_placement_and_changes(capsys):
    small = ["--set", "model=llama-3-8b", "--set", "cluster.num_hosts=9"]
    arguments = [*small, "--goal", "cheapest", "--set", "plan.gpus=free", "--json"]
    assert status(["plan", STUDY, *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"goodput", "duration_s", "cost_usd", "power_w"} <= told["best"]["outlook"].keys()
    assert told["frontier"][-1]["cost_usd"] <= told["frontier"][0]["cost_usd"]
    assert {group["axis"] for group in told["placement"]["groups"]} <= {
        "tp", "etp", "cp", "ep", "dp", "expert dp", "copies", "pp",
    }  # fmt: skip
    assert {"change", "step_s", "tokens_per_s_gain", "fits"} <= told["changes"][0].keys()


def test_the_text_names_days_dollars_and_tiers(capsys):
    small = ["--set", "model=llama-3-8b", "--set", "cluster.num_hosts=9"]
    assert status(["plan", STUDY, *small, "--set", "plan.gpus=free"]) == 0
    out = capsys.readouterr().out
    for words in ("The whole job", "Fewer GPUs", "Placement on", "spine", "One more NIC a host"):
        assert words in out
