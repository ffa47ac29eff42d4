"""The candidates are legal, and all the legal ones are there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from gigafactory.catalog.studies import load_study
from gigafactory.cost.columns import AXES
from gigafactory.describe.aim import Aim
from gigafactory.describe.layout import Layout, Recompute, Schedule, Sharding
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
    study = TINY.model_copy(update={"plan": Aim(gpus="free")})
    legal = candidates(study)
    assert len(np.unique([getattr(legal, name) for name in AXES], axis=1).T) == len(legal)
    # a loop over everything would take minutes: a corner of each axis
    corner = legal.take(np.flatnonzero(
        (legal.micro_batch <= 2) & (legal.etp <= 2) & (legal.cp <= 2) & np.isin(legal.ep, (1, 8))
        & np.isin(legal.tp, (1, 4)) & (legal.vpp <= 3)
    ))  # fmt: skip
    found = {corner.layout(i, precision=study.job.precision) for i in range(len(corner))}
    assert found == set(_by_plain_loops(study))


def test_unless_free_more_than_half_of_the_gpus_take_part():
    legal = candidates(TINY)
    assert legal.num_gpus.min() > 4
    free = candidates(TINY.model_copy(update={"plan": Aim(gpus="free")}))
    assert len(legal) == np.count_nonzero(free.num_gpus > 4)


def test_a_number_of_gpus_is_an_upper_bound():
    few = candidates(TINY.model_copy(update={"plan": Aim(gpus=4)}))
    assert few.num_gpus.max() == 4


def _by_plain_loops(study):
    sizes = (1, 2, 4, 8)
    two = (1, 2)
    axes = itertools.product((1, 4), range(1, 7), range(1, 4), two, sizes, (1, 8), two, two)
    for tp, pp, vpp, cp, dp, ep, etp, micro in axes:
        if tp * pp * cp * dp > 8 or (vpp > 1 and pp == 1):
            continue
        mesh = dict(zip(_AXES, (tp, pp, vpp, cp, dp, ep, etp, micro), strict=True))
        shards = [n for n in (2, 4) if dp * cp % n == 0 and n < dp * cp]
        shardings = [(s, 0) for s in Sharding if s is not Sharding.HSDP]
        shardings += [(Sharding.HSDP, n) for n in shards]
        for (sharding, shard), schedule in itertools.product(shardings, Schedule):
            here = -(-4 // (pp * (vpp if schedule.value in ("1f1b", "zero_bubble") else 2)))
            partial = [(Recompute.FULL, here // 2)] if here > 1 else []
            for recompute, layers in [*((r, 0) for r in Recompute), *partial]:
                layout = _legal(
                    study, **mesh, sharding=sharding, shard=shard, schedule=schedule,
                    recompute=recompute, recompute_layers=layers,
                )  # fmt: skip
                if layout is not None:
                    yield layout


def _legal(study, **sizes):
    try:
        layout = Layout(**sizes, precision=study.job.precision)
    except ValidationError:
        return None
    useless = layout.sharding is not Sharding.NONE and layout.dp * layout.cp == 1
    return None if useless or complaints(study, layout) else layout


def test_an_engine_narrows_the_search():
    every = candidates(TINY)
    for kind in ("megatron", "torchtitan", "ours"):
        some = candidates(TINY.model_copy(update={"plan": Aim(engine=kind)}))
        assert 0 < len(some) < len(every)
        if kind == "ours":
            assert (some.pp * some.cp * some.etp == 1).all()
            assert (some.tp > 1).any()
            assert (some.ep > 1).any()


@pytest.mark.parametrize(
    ("engine", "changes", "told"),
    [
        ("torchtitan", {"dp": 8, "sharding": "zero1"}, "zero1 only under a pipeline"),
        ("torchtitan", {"tp": 4, "dp": 2, "etp": 2, "ep": 2, "sharding": "fsdp"}, "etp 1 or tp"),
        ("torchtitan", {"tp": 4, "dp": 2, "ep": 2, "sharding": "fsdp"}, "multiple of cp"),
        ("torchtitan", {"pp": 2, "schedule": "zero_bubble"}, "zero_bubble with vpp 1"),
        ("megatron", {"pp": 2, "schedule": "dual_v"}, "Megatron-Core does not run"),
        ("megatron", {"pp": 2, "dp": 4, "sharding": "fsdp"}, "fsdp only without a pipeline"),
        (
            "ours",
            {"pp": 2, "dp": 4},
            "no pipeline parallelism (pp 1); torchtitan and",
        ),
        ("research", {"pp": 2, "dp": 2, "schedule": "dual", "micro_batch": 4}, "do not fill"),
    ],
)
def test_an_engine_tells_what_it_cannot_run(engine, changes, told):
    study = TINY.model_copy(update={"plan": Aim(engine=engine)})
    assert told in "; ".join(complaints(study, Layout(**changes)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tp": 16}, "scale-up domain"),
        ({"tp": 3}, "heads"),
        ({"pp": 5}, "layers"),
        ({"dp": 3}, "global_batch 8"),
        ({"pp": 2, "dp": 8}, "fill pp"),
        ({"pp": 4, "vpp": 1, "dp": 2, "sharding": "zero2"}, "zero2 only without a pipeline"),
        ({"pp": 2, "schedule": "dual"}, "does not run schedule dual"),
        ({"pp": 2, "dp": 4, "schedule": "dual_v"}, "dual_v needs 4"),
        (
            {"tp": 2, "dp": 2, "sharding": "zero1", "recompute": "full", "recompute_layers": 5},
            "recompute_layers 5 is more than",
        ),
        ({"tp": 2, "dp": 4, "sharding": "fsdp", "offload": True}, "on the host with fsdp"),
        ({"dp": 8, "ep": 8, "precision": "fp8"}, "precision"),
        ({"tp": 8, "dp": 4}, "GPUs"),
        ({"dp": 3, "ep": 3}, "experts"),
    ],
)
def test_an_illegal_layout_is_told_why(changes, told):
    said = "; ".join(complaints(TINY, Layout(**changes)))
    assert told in said
