"""Many campaigns and sweeps: the same figures on any number of cores, and clear refusals."""

from __future__ import annotations

import json

import pytest

from gigafactory import api
from gigafactory.cli.answers import _verdict
from gigafactory.cli.main import status
from gigafactory.describe.errors import InputError
from gigafactory.describe.policy import Recovery
from gigafactory.simulate.workload import workload_of

LLAMA = "studies/llama-405b-16k.yaml"
SHORT = ("campaign.duration=1 d",)
ARGS = ("simulate", LLAMA, "--set", SHORT[0])


def document(capsys, *args):
    assert status([*ARGS, *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def plan():
    return api.plan(LLAMA, overrides=SHORT)[0]


def test_an_ensemble_does_not_depend_on_the_cores(plan):
    alone, together = (
        api.ensemble(
            LLAMA, num_campaigns=4, seed=3, plan=plan, overrides=SHORT, num_processes=count
        )
        for count in (1, 2)
    )
    assert alone == together
    assert [campaign.seed for campaign in alone.campaigns] == [3, 4, 5, 6]


def test_more_campaigns_leave_the_first_ones_as_they_were(plan):
    few, more = (
        api.ensemble(LLAMA, num_campaigns=count, plan=plan, overrides=SHORT, num_processes=1)
        for count in (2, 3)
    )
    assert few.campaigns == more.campaigns[:2]


def test_a_campaign_of_an_ensemble_is_the_one_of_its_seed(plan):
    single = api.simulate(LLAMA, plan=plan, seed=5, overrides=SHORT)
    found = api.ensemble(
        LLAMA, num_campaigns=1, seed=5, plan=plan, overrides=SHORT, num_processes=1
    ).campaigns[0]
    assert found.goodput == single.goodput
    assert found.num_interruptions == single.num_interruptions
    assert sum(found.lost_shares.values()) == pytest.approx(1 - found.goodput)


def test_campaigns_tell_quantiles_and_every_campaign(capsys):
    found = document(capsys, "--campaigns", "3")
    goodput = found["quantiles"]["goodput"]
    each = sorted(campaign["goodput"] for campaign in found["campaigns"])
    assert goodput["low"] == each[0] <= goodput["p10"] <= goodput["p50"] == each[1]
    assert goodput["p50"] <= goodput["p90"] <= goodput["high"] == each[2]
    assert found["worst_seed"] in range(3)


def test_a_sweep_shares_its_dice_and_tells_the_best(capsys, tmp_path):
    found = document(
        capsys,
        # of plain restart, whose cost both values decide
        *("--set", "policy.recovery=restart"),
        *("--sweep", "policy.checkpoint_interval=5 min,2 h", "--campaigns", "1"),
        *("--sweep", "faults.start_base=50 s,500 s", "--dir", str(tmp_path)),
    )
    points = {tuple(p["settings"].values()): p["quantiles"] for p in found["points"]}
    goodput = {values: told["goodput"]["p50"] for values, told in points.items()}
    assert len(goodput) == 4
    assert goodput["5 min", "50 s"] > goodput["2 h", "50 s"]
    assert goodput["5 min", "50 s"] > goodput["5 min", "500 s"]
    assert found["best"] == ["policy.checkpoint_interval=5 min", "faults.start_base=50 s"]
    kept = tmp_path / api.sweep_file(["policy.checkpoint_interval", "faults.start_base"])
    assert json.loads(kept.read_text()) == found


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--campaigns", "0"], "--campaigns"),
        (["--sweep", "cluster.num_spare_host=1,2"], "cluster.num_spare_host: unknown key"),
        (["--sweep", "cluster.num_spare_hosts"], "write PATH=VALUE,VALUE"),
        (["--sweep", "cluster.num_spare_hosts=1,,2"], "write PATH=VALUE,VALUE"),
        (["--sweep", "cluster.num_spare_hosts=4,4"], "a value stands there twice"),
        (["--sweep", "policy.recovery=magic,luck"], "policy.recovery=magic: --set policy.recov"),
        (["--sweep", "cluster.num_spare_hosts=6000,5000"], "--sweep cluster.num_spare_hosts=5000"),
        (["--set", "campaign.duration=3 s"], "campaign.duration: 3.00 s is over before the first"),
        (["--answers", "--set", "campaign.duration=3 s"], "a step takes 5.21 s; follow it for"),
        (["--sweep", f"job.seq_len={','.join(map(str, range(1, 70)))}"], "69 points are too many"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_message(capsys, args, told):
    assert status([*ARGS, *args]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_one_place_is_swept_once():
    with pytest.raises(InputError, match="swept twice"):
        api.sweep(LLAMA, axes=["job.seq_len=1024", "job.seq_len=2048"])


def test_a_ready_study_has_no_file_to_sweep():
    study = api.load(LLAMA, overrides=SHORT)
    with pytest.raises(InputError, match="give its path"):
        api.sweep(study, axes=["job.seq_len=1024,2048"])


def test_a_comparison_that_never_ends_stops_no_answer(capsys):
    never = ("--set", "policy.checkpoint_interval=100 d")
    assert status([*ARGS, *never, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["plain"] is None
    assert "does not stand beside it" in said.err
    assert "never ends" in said.err


def test_an_impossible_point_says_why_and_stops_no_other(capsys):
    swept = ("--sweep", "cluster.num_spare_hosts=80,5000", "--campaigns", "1")
    possible, impossible = document(capsys, *swept)["points"]
    assert possible["impossible"] is None
    assert possible["quantiles"]["goodput"]["p50"] > 0
    assert "5000 spare hosts of 2128 leave none to train" in impossible["impossible"]
    assert impossible["quantiles"] is impossible["num_spare_hosts"] is None
    assert status([*ARGS, *swept]) == 0
    told = capsys.readouterr().out
    assert "impossible" in next(line for line in told.splitlines() if line.startswith("5000"))
    assert "Impossible: cluster.num_spare_hosts=5000 (--set cluster: 5000 spare hosts" in told
    assert "Cheapest for the whole job: cluster.num_spare_hosts=80." in told
    assert "1 campaign a point" in told


def test_a_variant_that_cannot_be_is_left_out_by_name(capsys, tmp_path):
    args = (
        *("--set", "cluster.num_hosts=2056", "--set", "cluster.num_spare_hosts=8"),
        *("--set", "policy.shrink=false", "--answers", "--campaigns", "1"),
    )
    assert status([*ARGS, *args, "--dir", str(tmp_path)]) == 0
    told = json.loads((tmp_path / api.DECISIONS_FILE).read_text())
    assert told["effects"]
    assert told["base"]["quantiles"]["goodput"]["p50"] > 0
    left_out = {variant["name"]: variant["reason"] for variant in told["left_out"]}
    assert "the campaign never ends: of 2,052 hosts" in left_out["4 spare hosts instead of 8"]
    shown = capsys.readouterr().out
    assert "Left out, 4 spare hosts instead of 8: " in shown
    assert "Recovery (now hot): " in shown
    assert "Spares (now 8 hosts): " in shown
    assert "The bad case: the worst of 1 campaign, --seed 0, kept" in shown


@pytest.mark.parametrize(("usd", "told"), [(-5e5, "hardly matters (best, a: "), (-2e6, "a is b")])
def test_a_gain_of_less_than_one_in_a_thousand_is_no_advice(usd, told):
    effect = {"name": "a", "job_usd_change": usd, "job_days_change": -0.01, "job_usd_error": 1.0}
    assert _verdict([effect], whole_usd=1e9).startswith(told)


def test_a_variant_that_is_wrong_in_another_way_is_not_passed_over(plan, monkeypatch):
    def wrong(study, *, plan):
        if study.policy.recovery is Recovery.RESTART:
            raise InputError("a fault of ours")
        return workload_of(study, plan=plan)

    monkeypatch.setattr("gigafactory.simulate.workload.workload_of", wrong)
    with pytest.raises(InputError, match="plain checkpoint and restart: a fault of ours"):
        api.answers(LLAMA, num_campaigns=1, plan=plan, overrides=SHORT, num_processes=1)
