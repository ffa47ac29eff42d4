"""Plan, twin and reality line by line."""

from __future__ import annotations

import json

import pytest

from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.report.chapters.comparison import comparison
from gigafactory.report.chapters.plan import plan as plan_chapter
from gigafactory.report.compare import compare, ratio_of
from gigafactory.report.documents import read_plan
from gigafactory.report.folder import read_folder


def lines(folder, *, plan=True, twin=True, real=True):
    def summary(name):
        return fold(read_ledger(folder / name))

    rows = compare(
        read_plan(folder) if plan else None,
        summary("twin.jsonl") if twin else None,
        summary("ledger.jsonl") if real else None,
    )
    return {row.key: row for row in rows}


def test_each_quantity_from_each_source(folder):
    found = lines(folder)
    step = found["step_s"]
    assert (step.plan, step.twin, step.reality) == (2.0, 2.0, 2.0)
    assert found["mfu"].plan == 0.41
    # 12 steps of 1e15 FLOP in 24 s on 8 GPUs of 1e14 FLOP/s
    assert found["mfu"].reality == pytest.approx(12e15 / (24 * 8e14))
    assert found["goodput"].reality == pytest.approx(24 / 40)
    assert found["goodput"].plan is None
    assert found["num_interruptions"].twin == 1
    assert found["num_lost_steps"].twin == 2
    assert found["mttr_s"].twin == pytest.approx(5.0)
    assert found["tokens_per_s"].plan == 4096.0
    assert found["tokens_per_s"].reality == pytest.approx(12 * 8192 / 40)
    assert found["energy_j"].reality == pytest.approx(1.25 * (3000 * 21 + 1000 * 19))
    assert found["cost_usd"].reality == pytest.approx(0.001 * 16 * 40)


def test_only_lines_that_somebody_knows(folder):
    assert set(lines(folder, twin=False, real=False)) == {"step_s", "mfu", "tokens_per_s"}
    assert compare(None, None, None) == []


@pytest.mark.parametrize(
    ("value", "reference", "wanted"), [(3.0, 2.0, 1.5), (None, 2.0, None), (1.0, 0.0, None)]
)
def test_a_ratio_needs_both(value, reference, wanted):
    assert ratio_of(value, reference) == wanted


@pytest.mark.parametrize("calibration", ["", "a small machine, 2 ranks on cpu"])
def test_the_page_says_how_wrong_the_planned_step_was_and_by_what_it_was_planned(
    folder, calibration
):
    plan = json.loads((folder / "plan.json").read_text())
    plan["best"]["step_s"] = 2.1
    plan["calibration"] = calibration
    (folder / "plan.json").write_text(json.dumps(plan))
    read = read_folder(folder)
    chapter = comparison(read.plan, {"reality": read.reality})
    assert "planned to take 2.10 s and took 2.00 s: an error of +5.0%" in chapter.intro
    assert (calibration or "the published constants") in chapter.intro
    assert ("Calibration:" in plan_chapter(read.plan).intro) is bool(calibration)
