"""Figures: keys end in their unit, formulas and sources are there, sums add up."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_any_study
from gigafactory.cost.bill import bill
from gigafactory.describe.count import count
from gigafactory.describe.errors import InputError
from gigafactory.describe.figures import Description

STUDIES = sorted(Path("studies").glob("*.yaml"))
ENDINGS = {
    "": ("_share", "_ratio", "tokens_per_step"),
    "W": ("_w",),
    "$": ("_usd",),
    "$/GPU-h": ("_usd_per_gpu_h",),
    "$/year": ("_usd_per_year",),
    "J/year": ("_j_per_year",),
    "kg/year": ("_kg_per_year",),
    "s": ("_s",),
    "B": ("_bytes",),
    "B/s": ("_bytes_per_s",),
    "FLOP/s": ("_flops_per_s",),
}


def description(path="studies/colossus.yaml", *overrides):
    study = load_any_study(path, overrides=overrides)
    return Description(study=study.study, figures=(*count(study), *bill(study)))


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_every_figure_has_a_unit_a_formula_and_a_source(path):
    figures = description(path).figures
    for figure in figures:
        counted = figure.unit == "" and figure.key.startswith("num_")
        assert counted or figure.key.endswith(ENDINGS[figure.unit]), figure.key
        assert math.isfinite(figure.value)
        assert figure.value >= 0
        assert figure.label
        assert figure.formula
        assert figure.source
        assert figure.group
    assert len({figure.key for figure in figures}) == len(figures)


def test_groups_hold_every_figure_once_and_in_order():
    made = description()
    assert tuple(f for group in made.groups().values() for f in group) == made.figures


def test_json_is_flat_and_rows_are_whole():
    made = description()
    assert json.loads(json.dumps(made.to_json())) == {f.key: f.value for f in made.figures}
    assert [row["formula"] for row in made.to_rows()] == [f.formula for f in made.figures]


def test_the_parts_of_the_purchase_add_up():
    figures = description().to_json()
    parts = ("servers", "switches", "optics", "storage", "building")
    assert figures["capex_usd"] == sum(figures[f"capex_{part}_usd"] for part in parts)


@pytest.mark.parametrize("state", ["rated", "training", "idle"])
def test_the_site_draws_its_parts_times_pue(state):
    figures = description().to_json()
    it_w = figures[f"hosts_{state}_w"] + figures["network_w"] + figures["storage_w"]
    assert figures[f"site_{state}_w"] == pytest.approx(1.25 * it_w)


def test_tiers_add_up():
    figures = description().to_json()
    tiers = range(1, figures["num_tiers"] + 1)
    assert figures["num_switches"] == sum(figures[f"num_switches_tier_{t}"] for t in tiers)
    assert figures["num_links"] == sum(figures[f"num_links_tier_{t}"] for t in tiers)
    assert figures["num_optics"] == 2 * figures["num_links"]


def test_the_owned_hour_is_the_rent_that_breaks_even():
    own = description().to_json()["own_usd_per_gpu_h"]
    rented = description("studies/colossus.yaml", f"money.rent.price={own!r} $/h").to_json()
    assert rented["rent_usd"] == pytest.approx(rented["own_usd"])


def test_rent_that_is_cheaper_than_running_never_breaks_even():
    assert "break_even_s" not in description("studies/first-light.yaml").to_json()
    assert description().to_json()["break_even_s"] > 0


def test_without_an_offer_there_is_no_offer_table():
    keys = description("studies/grok-1-512.yaml").to_json()
    assert not [key for key in keys if key.startswith("offer")]


def test_an_assumed_model_says_so_where_it_is_counted():
    figure = description().figure("num_parameters")
    assert "not public" in figure.source
    assert "assumed" in figure.group


def test_rated_draw_does_not_fit_memphis_and_training_draw_does():
    made = description()
    assert made.figure("site_rated_share").value > 1
    assert "does not fit" in made.figure("site_rated_share").label
    assert made.figure("site_training_share").value < 1


def test_an_unknown_figure_names_the_nearest():
    with pytest.raises(InputError, match=r"'capx_usd'.*nearest: capex_usd"):
        description().figure("capx_usd")


def test_an_impossible_network_is_refused():
    with pytest.raises(InputError, match="num_tiers must be at least 3"):
        description("studies/colossus.yaml", "cluster.fabric.num_tiers=2")
