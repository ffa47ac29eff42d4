"""The candidates are legal, and all the legal ones are there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from gigafactory.catalog.studies import load_study
from gigafactory.describe.layout import Layout, Recompute, Sharding
from gigafactory.plan.candidates import candidates, complaints, divisors

_AXES = ("tp", "pp", "vpp", "cp", "dp", "ep", "etp", "micro_batch")

TINY = load_study(
    "studies/grok-1-512.yaml",
    overrides=("cluster.num_hosts=1", "cluster.num_spare_hosts=0", "job.global_batch=8",
               "model.num_layers=4"),
)  # fmt: skip


def test_divisors():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]
    assert divisors(49) == [1, 7, 49]


@pytest.mark.parametrize("name", ["grok-1-512", "colossus", "llama-405b-16k"])
def test_no_candidate_breaks_a_rule(name):
    study = load_study(f"studies/{name}.yaml")
    legal = candidates(study)
    for i in np.linspace(0, len(legal) - 1, 400).astype(int):
        layout = legal.layout(i, precision=study.job.precision)
        assert complaints(study, layout) == []


def test_every_legal_layout_of_a_small_study_is_a_candidate():
    legal = candidates(TINY)
    found = {legal.layout(i, precision=TINY.job.precision) for i in range(len(legal))}
    assert len(found) == len(legal)
    sizes = (1, 2, 4, 8)
    axes = itertools.product(sizes, (1, 2, 3, 4, 6), (1, 2, 3), (1, 2, 4, 8), sizes, sizes, sizes)
    wanted = set()
    for tp, pp, vpp, cp, ep, etp, micro in axes:
        for dp in [dp for dp in (8, 4, 2, 1) if tp * pp * cp * dp <= 8]:
            for recompute, sharding in itertools.product(Recompute, Sharding):
                sizes_of = dict(zip(_AXES, (tp, pp, vpp, cp, dp, ep, etp, micro), strict=True))
                layout = _legal(**sizes_of, recompute=recompute, sharding=sharding)
                if layout is not None:
                    wanted.add(layout)
    # the search keeps, of every mesh, the two largest numbers of data-parallel ranks
    assert found <= wanted
    largest = {_without_dp(layout) for layout in wanted}
    assert {_without_dp(layout) for layout in found} == largest


def _without_dp(layout):
    # what is shared out depends on dp, and a mesh may be tried with several
    return layout.model_copy(update={"dp": 1, "ep": 1, "etp": 1, "sharding": Sharding.NONE})


def _legal(**sizes):
    try:
        layout = Layout(**sizes, precision=TINY.job.precision)
    except ValidationError:
        return None
    replicas = layout.dp * layout.cp
    shared = layout.sharding is not Sharding.NONE
    cut_alike = layout.etp in (1, layout.tp)
    useless = shared and replicas == 1
    return layout if cut_alike and not useless and not complaints(TINY, layout) else None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tp": 16}, "scale-up domain"),
        ({"tp": 3}, "heads"),
        ({"pp": 5}, "layers"),
        ({"dp": 3}, "global_batch 8"),
        ({"pp": 2, "dp": 8}, "fill pp"),
        ({"pp": 4, "vpp": 1, "dp": 1, "sharding": "fsdp"}, "fsdp"),
        ({"dp": 8, "ep": 8, "precision": "fp8"}, "precision"),
        ({"tp": 8, "dp": 4}, "GPUs"),
        ({"dp": 3, "ep": 3}, "experts"),
    ],
)
def test_an_illegal_layout_is_told_why(changes, told):
    said = "; ".join(complaints(TINY, Layout(**changes)))
    assert told in said
