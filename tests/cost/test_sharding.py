"""Who holds what, who tells whom, and the optimizer on the host."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from gigafactory.catalog.studies import load_study
from gigafactory.cost.calibration import published
from gigafactory.cost.collectives import all_gather_s, group, network
from gigafactory.cost.columns import columns_of
from gigafactory.cost.memory import memory
from gigafactory.cost.sharding import own_parameters, rank_parameters, tied_exchange_s, traffic
from gigafactory.cost.step import step_time
from gigafactory.describe.layout import Layout

DENSE = load_study("studies/grok-1-512.yaml", overrides=("model=llama-3-70b",))
EXPERTS = load_study("studies/grok-1-512.yaml")
C = published()


def steps(study, *layouts):
    return step_time(study.model, study.job, study.cluster, columns_of(*layouts))


def held(study, *layouts):
    return memory(study.model, study.job, study.cluster, columns_of(*layouts))


def hsdp(shard, **axes):
    return Layout(**{"tp": 8, "dp": 64} | axes, sharding="hsdp", shard=shard)


def test_hsdp_over_everyone_is_fsdp():
    whole, none, fsdp = hsdp(64), hsdp(0), Layout(tp=8, dp=64, sharding="fsdp")
    for told in (steps(DENSE, whole, none, fsdp), held(DENSE, whole, none, fsdp)):
        for name, part in told.parts().items():
            assert part[0] == part[1] == part[2], name


def test_smaller_copies_own_more_and_gather_nearer():
    columns = columns_of(hsdp(8), hsdp(32), hsdp(64))
    own = own_parameters(DENSE.model, columns)
    assert own[0] == pytest.approx(8 * own[2])
    assert own[1] == pytest.approx(2 * own[2])
    net = network(DENSE.cluster, constants=C)
    moved = traffic(DENSE.model, columns, net=net, constants=C)
    assert moved.gather_s[0] < moved.gather_s[1] < moved.gather_s[2]
    assert moved.between_s[0] > moved.between_s[1] > moved.between_s[2] == 0


def test_experts_of_a_copy_are_shared_by_fewer():
    layout = hsdp(16, ep=8, dp=32, tp=4)
    dense, experts = rank_parameters(EXPERTS.model, columns_of(layout))
    own = own_parameters(EXPERTS.model, columns_of(layout))
    # 4 x 16 ranks hold a copy; 8 of them share each expert
    assert own == pytest.approx(dense / 16 + experts / 8)


def test_zero2_shares_gradients_and_pays_every_microbatch():
    one, two = Layout(tp=8, dp=64), Layout(tp=8, dp=64, sharding="zero2")
    bytes_held = held(DENSE, one, two)
    assert bytes_held.gradients_bytes[1] == pytest.approx(bytes_held.gradients_bytes[0] / 64)
    assert bytes_held.parameters_bytes[1] == bytes_held.parameters_bytes[0]
    told = steps(DENSE, one, two).dp_comm_s
    assert told[1] > told[0]
    lone = DENSE.model_copy(update={"job": DENSE.job.model_copy(update={"global_batch": 64})})
    alike = steps(lone, one, two).dp_comm_s
    assert alike[0] == alike[1]


def test_a_tied_table_is_exchanged_between_the_ends():
    net = network(EXPERTS.cluster, constants=C)
    columns = columns_of(Layout(tp=8, dp=16, ep=8, pp=4), Layout(tp=8, dp=64, ep=8))
    told = tied_exchange_s(EXPERTS.model, columns, net=net, constants=C)
    table = 131072 * 6144 / 8 * 4
    pair = group(2.0, stride=3 * 128, net=net)
    assert told[0] == pytest.approx(2 * all_gather_s(table, members=pair, net=net))
    assert told[1] == 0
    untied = EXPERTS.model.model_copy(update={"tied_embeddings": False})
    assert tied_exchange_s(untied, columns, net=net, constants=C).tolist() == [0, 0]


def test_offload_trades_memory_for_time():
    here, away = Layout(tp=8, dp=64), Layout(tp=8, dp=64, offload=True)
    bytes_held = held(DENSE, here, away)
    assert bytes_held.optimizer_bytes[0] > 0 == bytes_held.optimizer_bytes[1]
    told = steps(DENSE, here, away).optimizer_s
    assert told[1] > told[0]


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({"pp": 4, "vpp": 2, "schedule": "dual"}, "vpp must be 1"),
        ({"schedule": "zero_bubble"}, "pp above 1"),
        ({"dp": 8, "shard": 4}, "sharding hsdp"),
        ({"dp": 8, "shard": 3, "sharding": "hsdp"}, "does not divide dp x cp = 8"),
        ({"recompute_layers": 2}, "recompute full"),
    ],
)
def test_axes_that_contradict_are_refused(layout, told):
    with pytest.raises(ValidationError, match=told):
        Layout(**layout)


def test_every_row_is_as_if_it_were_alone():
    layouts = [
        Layout(tp=tp, pp=pp, cp=cp, dp=512 // (tp * pp * cp), ep=ep, micro_batch=b, **more)
        for tp in (2, 8) for pp in (1, 4) for cp in (1, 2) for ep in (1, 8) for b in (1, 2)
        for more in (
            {}, {"recompute": "full"}, {"sharding": "hsdp", "shard": 4}, {"offload": True},
            *([{"schedule": "dual"}, {"schedule": "dual_v"}, {"vpp": 2}] if pp > 1 else []),
        )
    ]  # fmt: skip
    together = steps(EXPERTS, *layouts)
    alone = [steps(EXPERTS, layout) for layout in layouts]
    for name, part in together.parts().items():
        expected = np.array([getattr(one, name)[0] for one in alone])
        assert part == pytest.approx(expected, rel=1e-12, abs=1e-15), name
