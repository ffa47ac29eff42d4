"""Ensembles, answers and sweeps on the page; corrupt ones are named."""

from __future__ import annotations

import json

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.report.page import write_report

SPREAD = {"p10": 0.91, "p50": 0.95, "p90": 0.97, "low": 0.9, "high": 0.98}
ENSEMBLE = {
    "num_campaigns": 7, "first_seed": 0, "worst_seed": 3,
    "quantiles": {"goodput": SPREAD, "job_days": {k: 100 * v for k, v in SPREAD.items()}},
}  # fmt: skip
EFFECT = {"name": "<b>fewer</b> spares", "goodput": 0.9, "goodput_change": -0.05,
          "job_days_change": None, "job_usd_change": 2e6}  # fmt: skip
POINT = {"settings": {"cluster.num_spare_hosts": "4"}, "num_training_gpus": 64,
         "num_spare_hosts": 4, "quantiles": {"goodput": SPREAD}}  # fmt: skip
SWEEP = {
    "axes": [{"path": "cluster.num_spare_hosts", "values": ["4"]}], "num_campaigns": 7,
    "points": [POINT], "best": ["cluster.num_spare_hosts=4"],
}  # fmt: skip


def keep(folder, name, document):
    (folder / name).write_text(json.dumps(document))


def test_a_folder_of_answers_alone_makes_a_page(tmp_path):
    keep(tmp_path, "ensemble.json", ENSEMBLE)
    keep(tmp_path, "decisions.json", {"base": ENSEMBLE, "effects": [EFFECT]})
    keep(tmp_path, "sweep-cluster.num_spare_hosts.json", SWEEP)
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "What to decide" in page
    assert "7 campaigns" in page
    assert "91.00 %" in page
    assert "The worst one has seed 3." in page
    assert "&lt;b&gt;fewer&lt;/b&gt; spares" in page
    assert "no step kept" in page
    assert "+2.00 M$" in page
    assert "Goodput by cluster.num_spare_hosts" in page


def test_a_sweep_alone_is_something_to_report_on(tmp_path):
    keep(tmp_path, "sweep-x.json", SWEEP)
    assert "Goodput by" in write_report([tmp_path], tmp_path / "report.html").read_text()


def test_what_is_impossible_has_its_reason_and_no_figures(tmp_path):
    point = {"settings": {"cluster.num_spare_hosts": "9"}, "impossible": "9 of 8 hosts"}
    keep(tmp_path, "sweep-x.json", SWEEP | {"points": [POINT, point], "num_campaigns": 1})
    left_out = [{"name": "no spares", "reason": "it never ends"}]
    found = {"base": ENSEMBLE, "effects": [EFFECT], "left_out": left_out}
    keep(tmp_path, "decisions.json", found)
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "1 campaign a point" in page
    assert "9 is impossible: 9 of 8 hosts." in page
    assert "Left out, no spares: it never ends." in page
    keep(tmp_path, "sweep-x.json", SWEEP | {"points": [POINT | {"quantiles": None}]})
    with pytest.raises(InputError, match="a point has figures, or says why it is impossible"):
        write_report([tmp_path], tmp_path / "report.html")


@pytest.mark.parametrize("name", ["ensemble.json", "decisions.json", "sweep-x.json"])
def test_a_corrupt_answer_is_named(tmp_path, name):
    keep(tmp_path, name, {"points": 3})
    with pytest.raises(InputError, match=name):
        write_report([tmp_path], tmp_path / "report.html")


def test_spares_and_causes_have_their_chapters(folder):
    page = write_report([folder], folder / "report.html").read_text()
    assert "What each cause cost" in page
