"""Rule 10 over arbitrary books: every GPU-second is in exactly one bucket."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control.actions import DropReplicas, StartGang, Tier, Token
from gigafactory.ledger.entries import (
    ActionTaken,
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    FaultStruck,
    Opened,
    PaceFrom,
    PowerFrom,
    Rollback,
    Steps,
    World,
)
from gigafactory.ledger.fold import fold
from gigafactory.ledger.writer import LedgerWriter


class Pace(NamedTuple):
    """`PaceFrom` as a share of the GPUs."""

    share: float
    slowdown: float

    def entry(self, num_gpus: int) -> PaceFrom:
        return PaceFrom(num_gpus=int(self.share * num_gpus), slowdown=self.slowdown)


step = st.integers(0, 50)
token = st.builds(Token, st.integers(0, 9), st.integers(0, 99))
content = st.one_of(
    st.builds(BucketFrom, bucket=st.sampled_from([b for b in Bucket if b != "idle_spare"])),
    st.builds(
        Steps, step=step, num_steps=st.integers(1, 60), step_s=st.floats(0, 20), loss=st.none()
    ),
    st.builds(Rollback, step=step),
    st.builds(CheckpointKept, step=step, tier=st.sampled_from(Tier), num=st.integers(1, 9)),
    st.builds(Pace, st.sampled_from([0.0, 0.5, 0.75, 1.0, 2.0]), st.floats(0.5, 4)),
    st.builds(ActionTaken, action=st.builds(DropReplicas, token=token, replicas=st.just((1,)))),
    st.builds(
        ActionTaken,
        action=st.builds(StartGang, token=token, hosts=st.just((0, 1)), step=st.none()),
    ),
    st.builds(FaultStruck, cause=st.just("x"), fault=st.just("host")),
    st.builds(PowerFrom, draw_w=st.floats(0, 1e9)),
    st.builds(Closed, outcome=st.just("done")),
)
book = st.lists(st.tuples(st.floats(0, 100), content), max_size=40)


def folded(moments, *, num_gpus=16, scale=1.0):
    ledger = LedgerWriter()
    opening = Opened(
        world=World.TWIN,
        study="law",
        num_gpus=num_gpus,
        gpus_per_host=8,
        num_spare_gpus=8,
        num_steps=50,
        tokens_per_step=1,
        flops_per_step=1.0,
        peak_flops_per_s=1.0,
        step_s=1.0,
    )
    ledger.write(opening, at_s=0.0)
    at_s = 0.0
    for after_s, content in moments:
        at_s += after_s * scale
        entry = content.entry(num_gpus) if isinstance(content, Pace) else content
        ledger.write(entry, at_s=at_s)
    assert ledger.summary() == fold(ledger.entries)
    return ledger.summary()


@given(book)
@settings(max_examples=300, deadline=None)
def test_rule_10_buckets_sum_to_the_allocation_and_none_is_negative(moments):
    summary = folded(moments)
    total_gpu_s = sum(summary.buckets_gpu_s.values())
    assert total_gpu_s == pytest.approx(summary.allocation_gpu_s, rel=1e-12, abs=1e-9)
    assert min(summary.buckets_gpu_s.values()) >= 0
    assert set(summary.buckets_gpu_s) == {bucket.value for bucket in Bucket}


@given(book)
@settings(max_examples=150, deadline=None)
def test_shares_lie_between_nothing_and_everything(moments):
    summary = folded(moments)
    assert 0 <= summary.goodput <= summary.ettr * (1 + 1e-9) or summary.ettr == 0
    assert summary.ettr <= 1 + 1e-9
    assert summary.num_steps >= 0
    assert summary.energy_j >= 0


@given(book, st.sampled_from([2, 10]))
@settings(max_examples=100, deadline=None)
def test_more_gpus_do_not_change_the_shares(moments, factor):
    one, many = folded(moments), folded(moments, num_gpus=16 * factor)
    assert many.goodput == pytest.approx(one.goodput)
    assert many.num_interruptions == one.num_interruptions


@given(book)
@settings(max_examples=100, deadline=None)
def test_kept_steps_are_in_order_and_counted_once(moments):
    steps = [last for last, _ in folded(moments).step_times]
    assert steps == sorted(steps)
