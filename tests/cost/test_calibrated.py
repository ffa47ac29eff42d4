"""What lies beyond every measured run is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.catalog.tables import catalog_gpus, read_table
from gigafactory.cost.calibrated import FORMATS, LARGEST, beyond, question_sizes
from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Layout
from gigafactory.plan.table import question

TABLE = Path("../shared/data/training_runs.csv")


def told(study, layout):
    return beyond(study.model, study.job, study.cluster, layout)


def test_a_run_like_the_measured_ones_gets_no_warning():
    study = load_study("studies/llama-405b-16k.yaml")
    assert told(study, Layout(tp=8, pp=16, dp=64)) == ()


def test_more_gpus_than_ever_measured_are_named():
    study = load_study("studies/colossus.yaml")
    found = told(study, Layout(tp=8, pp=16, dp=760, ep=8))
    assert found == (
        "num_gpus 97,280: no measured run had more than 12,288",
        "num_gpus with experts 97,280: no measured run had more than 1,024",
    )


def test_an_unmeasured_processor_is_named():
    study = load_study("studies/first-light.yaml")
    (found,) = told(study, Layout(dp=2))
    assert found.startswith("laptop-core: no kernel was measured on it")


def test_a_format_nobody_trained_in_is_named():
    study = load_study("studies/grok-1-512.yaml", overrides=("job.precision=fp16",))
    assert "fp16 on h100-sxm: no measured run trained in it" in told(
        study, Layout(tp=8, dp=64, ep=8, precision=Precision.FP16)
    )


@pytest.mark.skipif(not TABLE.exists(), reason="the table of runs lies beside the project only")
def test_the_bounds_are_those_of_the_table():
    table = read_table(TABLE)
    largest = dict.fromkeys(LARGEST, 0)
    formats: dict[str, set[Precision]] = {}
    for row in table.rows:
        try:
            asked, _ = question(row, table.gpus)
        except ValueError:
            continue
        sizes = question_sizes(asked.model, asked.job, asked.layout)
        largest = {name: max(size, sizes[name]) for name, size in largest.items()}
        part = asked.cluster.host.gpu.kernels_of
        formats.setdefault(part, set()).add(asked.layout.precision)
    assert largest == LARGEST
    assert formats == {part: set(kinds) for part, kinds in FORMATS.items()}
    assert set(FORMATS) <= {gpu.kernels_of for gpu in catalog_gpus().values()}
