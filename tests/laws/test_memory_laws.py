"""What must hold for the memory of every legal layout and every habit of an engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.columns import RECOMPUTES, SCHEDULES, SHARDINGS
from gigafactory.cost.memory import memory
from gigafactory.cost.memory_keeping import USUAL, Keeping
from gigafactory.describe.layout import Recompute, Sharding
from gigafactory.plan.candidates import candidates

NAMES = ("grok-1-512", "llama-405b-16k")
STUDIES = {name: load_study(f"studies/{name}.yaml") for name in NAMES}
SOME = {name: candidates(study).take(slice(None, None, 1501)) for name, study in STUDIES.items()}
KEEPINGS = {
    "usual": USUAL,
    "loose": Keeping(
        loose_pointwise=True, gathered_inputs=True, gradient_buffer=False, gradient_buckets=True,
        fused_weight_gradients=False, stages_by_cost=True, flat_buckets=True,
    ),
    "lean": Keeping(
        gradients_in_16_bits=True, eight_bit_weights_only=True, fused_loss=True,
        sharded_master=True, optimizer_on_host=True,
    ),
}  # fmt: skip


def held(study, columns, keeping=USUAL):
    return memory(study.model, study.job, study.cluster, columns, keeping=keeping)


def total(study, columns, keeping=USUAL):
    return held(study, columns, keeping).total_bytes


def varied(columns):
    """The same meshes over all schedules, shardings, groups, partial recompute and offload."""
    rows = np.arange(len(columns))
    schedule = np.where((columns.pp > 1) & (columns.vpp == 1), rows % len(SCHEDULES), 0)
    sharding = rows // 3 % len(SHARDINGS)
    grouped = (sharding == SHARDINGS.index(Sharding.HSDP)) & (columns.dp % 2 == 0)
    full = columns.recompute == RECOMPUTES.index(Recompute.FULL)
    return replace(
        columns, schedule=schedule, sharding=sharding, shard=np.where(grouped, 2, 0),
        recompute_layers=np.where(full, rows % 4, 0), offload=rows % 2,
    )  # fmt: skip


@pytest.fixture(params=[(name, kind) for name in NAMES for kind in ("legal", "varied")], ids=str)
def case(request):
    name, kind = request.param
    return STUDIES[name], varied(SOME[name]) if kind == "varied" else SOME[name]


@pytest.mark.parametrize("keeping", KEEPINGS.values(), ids=KEEPINGS)
def test_parts_add_up_and_none_is_negative(case, keeping):
    study, columns = case
    told = held(study, columns, keeping)
    parts = told.parts()
    assert np.sum(list(parts.values()), axis=0) == pytest.approx(told.total_bytes)
    assert all((part >= 0).all() and np.isfinite(part).all() for part in parts.values())
    assert (told.allocated_bytes <= told.reserved_bytes).all()
    assert (told.reserved_bytes <= told.total_bytes).all()


@pytest.mark.parametrize("keeping", KEEPINGS.values(), ids=KEEPINGS)
def test_a_larger_microbatch_never_needs_less(case, keeping):
    study, columns = case
    # as many microbatches, so that as many are in flight
    job = study.job.model_copy(update={"global_batch": 2 * study.job.global_batch})
    doubled = replace(columns, micro_batch=2 * columns.micro_batch)
    larger = memory(study.model, job, study.cluster, doubled, keeping=keeping).total_bytes
    assert (larger >= total(study, columns, keeping)).all()


@pytest.mark.parametrize("keeping", KEEPINGS.values(), ids=KEEPINGS)
def test_more_recompute_never_keeps_more(case, keeping):
    study, columns = case

    def kept(kind):
        chosen = np.full(len(columns), RECOMPUTES.index(kind))
        every = replace(columns, recompute=chosen, recompute_layers=np.zeros_like(chosen))
        return held(study, every, keeping).activations_bytes

    none, some, full = (kept(x) for x in (Recompute.NONE, Recompute.SELECTIVE, Recompute.FULL))
    assert (some <= none).all()
    assert (full <= some).all()


@pytest.mark.parametrize("keeping", KEEPINGS.values(), ids=KEEPINGS)
def test_sharing_state_never_costs_state(case, keeping):
    study, columns = case

    def state(kind):
        chosen = np.full(len(columns), SHARDINGS.index(kind))
        # one stage is compared with itself: which is the fullest may differ between shardings
        alone = replace(columns, sharding=chosen, pp=np.ones_like(columns.pp),
                        vpp=np.ones_like(columns.vpp))  # fmt: skip
        parts = held(study, alone, keeping)
        return parts.parameters_bytes + parts.gradients_bytes + parts.optimizer_bytes

    none, one, all_shared = (state(x) for x in (Sharding.NONE, Sharding.ZERO1, Sharding.FSDP))
    assert (one <= none).all()
    assert (all_shared <= one * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    "habit",
    [
        "gradients_in_16_bits",
        "eight_bit_weights_only",
        "fused_loss",
        "optimizer_on_host",
        "moments_in_16_bits",
        "sharded_master",
    ],
)
def test_a_sparing_habit_never_costs(case, habit):
    study, columns = case
    sparing = replace(USUAL, **{habit: True})
    assert (total(study, columns, sparing) <= total(study, columns) * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    "habit",
    ["gradient_buckets", "loose_pointwise", "gathered_inputs", "flat_buckets", "early_allocator"],
)
def test_a_wasteful_habit_never_saves(case, habit):
    study, columns = case
    wasteful = replace(USUAL, **{habit: True})
    assert (total(study, columns, wasteful) >= total(study, columns) * (1 - 1e-12)).all()
