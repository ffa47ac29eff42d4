"""Timings become constants, and constants become the rates of a device and the step of a study."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.cost.calibration import published
from gigafactory.cost.collectives import network
from gigafactory.cost.columns import columns_of
from gigafactory.cost.eager import eager_step, num_tensors, runs_eagerly
from gigafactory.cost.kernels import device
from gigafactory.cost.measured import (
    fit,
    measured_constants,
    measured_device,
    measured_network,
    piece_s,
    solve,
)
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import JobError
from gigafactory.describe.layout import Layout, Sharding
from gigafactory.describe.measured import (
    Piece,
    Sampled,
    Unit,
)

STUDY = load_study("studies/first-light.yaml")
DP2 = columns_of(Layout(dp=2, micro_batch=8, precision=Precision.BF16))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(1e-12, 1e-6), min_size=2, max_size=4),
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 0.02),
)
def test_the_constants_that_made_the_timings_are_found_again(truth, seed, noise):
    dice = np.random.default_rng(seed)
    constants = np.array(truth)
    work = 10 ** dice.uniform(0, 1, (40, len(truth))) / constants
    seconds = work @ constants * dice.uniform(1 - noise, 1 + noise, 40)
    found = solve(work, seconds)
    assert np.all(found >= 0)
    assert work @ found == pytest.approx(seconds, rel=4 * noise + 1e-6)
    if noise == 0:
        assert found == pytest.approx(constants, rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_no_constant_is_negative_and_a_clock_n_times_faster_gives_constants_n_times_as_large(
    seed, faster
):
    dice = np.random.default_rng(seed)
    work, seconds = dice.uniform(0.1, 10, (12, 3)), dice.uniform(0.1, 10, 12)
    found = solve(work, seconds)
    assert np.all(found >= 0)
    assert solve(work, faster * seconds) == pytest.approx(faster * found, rel=1e-6, abs=1e-12)


def sampled(piece: Piece, seconds: float, **work: float) -> Sampled:
    return Sampled(piece=piece, work={Unit[k.upper()]: v for k, v in work.items()}, seconds=seconds)


def test_products_are_never_free_however_odd_the_timings():
    # ten times the work in the same time
    samples = [sampled(Piece.GEMM, 1e-3, call=1, flop=f, element=1e4) for f in (1e6, 1e7, 1e8)]
    assert fit(samples, source="", date="")[Piece.GEMM][Unit.FLOP].value > 0


def test_a_fit_says_where_its_constants_come_from():
    samples = [sampled(Piece.GATE, 1e-4 + n * 4e-9, call=1, element=n) for n in (1e4, 1e5, 1e6)]
    terms = fit(samples, source="giga calibrate", date="2026-11-24")[Piece.GATE]
    assert terms[Unit.CALL].value == pytest.approx(1e-4, rel=1e-3)
    assert terms[Unit.ELEMENT].value == pytest.approx(4e-9, rel=1e-3)
    assert "3 sizes" in terms[Unit.ELEMENT].source
    assert terms[Unit.ELEMENT].date == "2026-11-24"


def test_what_no_machine_does_is_refused():
    samples = [sampled(Piece.GEMM, f * 1e-20, flop=f, element=1, call=1) for f in (1e6, 1e7, 1e8)]
    with pytest.raises(JobError, match="one FLOP of gemm is beyond any machine"):
        fit(samples, source="", date="")


def test_rates_replace_the_shares_of_peak(machine):
    gpu, c = STUDY.cluster.host.gpu, published()
    dev = measured_device(
        device(gpu, Precision.BF16, constants=c), machine(), precision=Precision.BF16
    )
    assert dev.job.reached_flops_per_s == pytest.approx(1 / machine.seconds[Unit.FLOP])
    assert dev.part == ""
    assert dev.memory_bytes_per_s == pytest.approx(1 / machine.seconds[Unit.BYTE])
    assert dev.num_sms == gpu.num_sms
    net = measured_network(network(STUDY.cluster, constants=c), machine())
    assert net.scaleup_bytes_per_s == pytest.approx(1 / machine.seconds[Unit.BYTE])
    assert net.scaleup_latency_s == machine.seconds[Unit.HOP]
    alone = network(STUDY.cluster, constants=c)
    assert measured_network(alone, machine(num_ranks=1)) == alone
    own = measured_constants(c, machine())
    assert own.host_kernel_s == machine.seconds[Unit.CALL]
    assert own.small_k == pytest.approx(
        machine.seconds[Unit.ELEMENT] / (2 * machine.seconds[Unit.FLOP])
    )


def test_a_step_is_the_sum_of_its_parts_and_scales_with_the_machine(machine):
    once = eager_step(STUDY.model, STUDY.job, DP2, measured=machine())
    assert float(once.step_s[0]) == pytest.approx(sum(float(v[0]) for v in once.parts().values()))
    assert all(float(v[0]) >= 0 for v in once.parts().values())
    slow = eager_step(STUDY.model, STUDY.job, DP2, measured=machine(slower=3.0))
    assert slow.step_s == pytest.approx(3 * once.step_s)


def test_more_work_takes_longer(machine):
    def step_s(**changes: int) -> float:
        model = STUDY.model.model_copy(update=changes)
        return float(eager_step(model, STUDY.job, DP2, measured=machine()).step_s[0])

    base = step_s()
    for bigger in ({"hidden": 384}, {"num_layers": 8}, {"vocab": 4096}, {"moe_ffn": 768},
                   {"num_heads": 8}, {"topk": 3}, {"num_experts": 8}):  # fmt: skip
        assert step_s(**bigger) > base, bigger


def test_one_rank_does_not_talk_and_smaller_microbatches_cost_calls(machine):
    one = columns_of(Layout(dp=1, micro_batch=8, precision=Precision.BF16))
    alone = eager_step(STUDY.model, STUDY.job, one, measured=machine())
    assert float(alone.dp_comm_s[0]) == 0.0
    finer = columns_of(Layout(dp=2, micro_batch=2, precision=Precision.BF16))
    whole = eager_step(STUDY.model, STUDY.job, DP2, measured=machine())
    cut = eager_step(STUDY.model, STUDY.job, finer, measured=machine())
    assert float(cut.host_s[0]) > 3 * float(whole.host_s[0])


def test_sharding_moves_more_and_updates_less(machine):
    def with_sharding(kind: Sharding):
        layout = Layout(dp=2, micro_batch=8, sharding=kind, precision=Precision.BF16)
        return eager_step(STUDY.model, STUDY.job, columns_of(layout), measured=machine())

    plain, zero = with_sharding(Sharding.NONE), with_sharding(Sharding.ZERO1)
    assert float(zero.optimizer_s[0]) == pytest.approx(float(plain.optimizer_s[0]) / 2)
    assert float(zero.dp_comm_s[0]) > float(plain.dp_comm_s[0])
    assert float(with_sharding(Sharding.FSDP).dp_comm_s[0]) > 0


def test_only_what_the_program_runs_is_told(machine):
    tensor = columns_of(Layout(tp=2, micro_batch=8, precision=Precision.BF16))
    assert not runs_eagerly(tensor)[0]
    with pytest.raises(ValueError, match="only data parallel layouts"):
        eager_step(STUDY.model, STUDY.job, tensor, measured=machine())


def test_the_tensors_are_those_of_the_network():
    torch = pytest.importorskip("torch")
    from gigafactory.net.network import Network

    with torch.device("meta"):
        net = Network(STUDY.model)
    assert num_tensors(STUDY.model) == len(list(net.parameters()))


def test_units_that_a_piece_does_not_count_are_left_out(machine):
    alone = machine().alone
    work = {Unit.CALL: 2.0, Unit.FLOP: 1e12}
    assert float(piece_s(alone, Piece.LAUNCH, work)) == pytest.approx(
        2 * machine.seconds[Unit.CALL]
    )
