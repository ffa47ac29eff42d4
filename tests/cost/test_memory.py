"""Memory by category against bytes counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.calibration import published
from gigafactory.cost.columns import columns_of
from gigafactory.cost.memory import memory, stage_parameters
from gigafactory.cost.memory_stage import first_stage
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.sharding import rank_parameters
from gigafactory.describe.layout import Layout, Recompute, Sharding

C = published()


def held(layout, *, model="llama-3-8b", precision="bf16", batch=64):
    study = load_study(
        "studies/grok-1-512.yaml",
        overrides=(
            f"model={model}",
            f"job.precision={precision}",
            f"job.global_batch={batch}",
            "job.seq_len=4096",
        ),
    )
    return memory(study.model, study.job, study.cluster, columns_of(layout)), study.model


def test_plain_data_parallelism_holds_eighteen_bytes_a_parameter():
    parts, model = held(Layout(dp=8, sharding=Sharding.NONE))
    state = parts.parameters_bytes + parts.gradients_bytes + parts.optimizer_bytes
    assert state[0] == pytest.approx(18 * count_parameters(model).total)


def test_zero1_shares_the_optimizer_and_fsdp_shares_everything():
    total = count_parameters(held(Layout())[1]).total
    zero1, _ = held(Layout(dp=8, sharding=Sharding.ZERO1))
    assert zero1.optimizer_bytes[0] == pytest.approx(12 * total / 8)
    assert zero1.parameters_bytes[0] == pytest.approx(2 * total)
    fsdp, _ = held(Layout(dp=8, sharding=Sharding.FSDP))
    state = fsdp.parameters_bytes + fsdp.gradients_bytes + fsdp.optimizer_bytes
    assert state[0] == pytest.approx(18 * total / 8)
    assert fsdp.gathered_bytes[0] > 0


def test_experts_are_shared_by_fewer_ranks_than_the_rest():
    parts, model = held(Layout(tp=2, dp=8, ep=8), model="grok-1")
    counted = count_parameters(model)
    dense, experts = counted.dense_total / 2, counted.expert_total / 8
    assert parts.parameters_bytes[0] == pytest.approx(2 * (dense + experts), rel=1e-4)
    assert parts.optimizer_bytes[0] == pytest.approx(12 * (dense / 8 + experts / 2), rel=1e-4)


def test_activations_of_a_llama_layer_tensor_by_tensor():
    parts, model = held(Layout())
    h, kv, f, t = 4096, 1024, 14336, 4096
    # two block inputs and two normed inputs, q k v and output, gate, up, and their product
    layer = 2 * t * (4 * h + (2 * h + 2 * kv) + 2 * f + f)
    assert parts.activations_bytes[0] == pytest.approx(model.num_layers * layer)
    # probabilities in fp32, and for a moment the 16-bit logits that they are made of
    assert parts.logits_bytes[0] == pytest.approx(4 * t * model.vocab)
    assert parts.working_bytes[0] == pytest.approx(2 * t * model.vocab)


def test_recompute_saves_in_order_and_full_keeps_the_input_alone():
    kept = {r: held(Layout(recompute=r))[0].activations_bytes[0] for r in Recompute}
    assert kept[Recompute.FULL] < kept[Recompute.SELECTIVE] < kept[Recompute.NONE]
    inputs = 32 * 2 * 4096 * 4096
    assert kept[Recompute.FULL] < inputs + kept[Recompute.NONE] / 32 + 1


def test_tensor_parallelism_with_sequence_parallel_divides_activations():
    one, eight = (held(Layout(tp=tp))[0].activations_bytes[0] for tp in (1, 8))
    assert eight == pytest.approx(one / 8)


def test_first_stage_of_a_full_pipeline_holds_as_much_as_one_rank():
    whole = held(Layout())[0].activations_bytes[0]
    piped = held(Layout(pp=4))[0].activations_bytes[0]
    assert piped == pytest.approx(whole)


def test_parts_add_up_and_quantised_weights_are_kept_beside():
    wide, model = held(Layout(dp=8))
    assert wide.total_bytes[0] == pytest.approx(sum(v[0] for v in wide.parts().values()))
    narrow, _ = held(Layout(dp=8), precision="fp8")
    extra = narrow.parameters_bytes[0] - wide.parameters_bytes[0]
    assert extra == pytest.approx(2 * count_parameters(model).total)


SCHEDULES = (
    {"pp": 1}, {"pp": 4}, {"pp": 4, "vpp": 2}, {"pp": 4, "schedule": "zero_bubble"},
    {"pp": 4, "schedule": "dual"}, {"pp": 2, "schedule": "dual"}, {"pp": 4, "schedule": "dual_v"},
)  # fmt: skip


@pytest.mark.parametrize("model", ["llama-3-8b", "grok-1"])
@pytest.mark.parametrize("axes", SCHEDULES, ids=str)
def test_the_first_stage_holds_what_sharding_says(model, axes):
    _, spec = held(Layout(), model=model)
    columns = columns_of(Layout(tp=2, dp=8, ep=4, **axes))
    stage = first_stage(spec, columns, microbatches=np.full(1, 64.0))
    told, expected = stage_parameters(spec, columns, stage), rank_parameters(spec, columns)
    # the final norm is counted with every first stage there, and with the last one here
    assert told[0] == pytest.approx(expected[0], rel=1e-5)
    assert told[1] == pytest.approx(expected[1])


def test_zero2_and_groups_of_ranks_share_what_they_say():
    total = count_parameters(held(Layout())[1]).total
    zero2, _ = held(Layout(dp=8, sharding="zero2"))
    assert zero2.gradients_bytes[0] == pytest.approx(4 * total / 8)
    assert zero2.parameters_bytes[0] == pytest.approx(2 * total)
    grouped, _ = held(Layout(dp=8, sharding="zero1", shard=4))
    assert grouped.optimizer_bytes[0] == pytest.approx(12 * total / 4)
    hsdp, _ = held(Layout(dp=8, sharding="hsdp", shard=4))
    fsdp, _ = held(Layout(dp=4, sharding="fsdp"), batch=32)
    assert hsdp.parts() == fsdp.parts()


def test_offload_leaves_all_but_the_optimizer():
    here, there = (held(Layout(dp=8, offload=where))[0].parts() for where in (False, True))
    assert here.pop("optimizer_bytes") > 0 == there.pop("optimizer_bytes")
    assert here == there


def test_recomputing_a_part_keeps_a_part_and_needs_as_much_room_for_a_layer():
    none, _ = held(Layout(tp=4, cp=4), model="grok-1")
    whole, _ = held(Layout(tp=4, cp=4, recompute="full"), model="grok-1")
    half, _ = held(Layout(tp=4, cp=4, recompute="full", recompute_layers=32), model="grok-1")
    mean = (none.activations_bytes + whole.activations_bytes) / 2
    assert half.activations_bytes == pytest.approx(mean)
    assert half.working_bytes == whole.working_bytes > none.working_bytes


def test_schedules_hold_the_microbatches_and_copies_of_the_table():
    plain, zero, dual, dual_v = (
        held(Layout(pp=4, schedule=name))[0] for name in ("1f1b", "zero_bubble", "dual", "dual_v")
    )
    alone = plain.activations_bytes / 4
    assert zero.activations_bytes == plain.activations_bytes
    assert dual.activations_bytes == pytest.approx(5 * alone)
    assert dual_v.activations_bytes == pytest.approx(4.5 * alone)
    assert dual.parameters_bytes > 1.7 * plain.parameters_bytes
    # both ends of the network meet on one rank; with zero bubble the last is as full as the first
    assert dual.logits_bytes == dual_v.logits_bytes == zero.logits_bytes > 0 == plain.logits_bytes
