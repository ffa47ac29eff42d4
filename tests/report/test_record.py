"""The course of a campaign, laid out from its ledger, agrees with what the ledger folds into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.ledger.entries import (
    Bucket,
    BucketFrom,
    Entry,
    Opened,
    PaceFrom,
    Rollback,
    Steps,
    World,
)
from gigafactory.ledger.fold import fold
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.report.record import trace_of
from gigafactory.report.trace import (
    Mark,
    Span,
    Trace,
    buckets_binned,
    counted,
    mean_level,
    power_binned,
)


def seconds_by_bucket(trace: Trace) -> dict[str, float]:
    (whole,) = buckets_binned(trace, width_s=trace.end_s)
    return dict(whole.seconds)


def test_faults_actions_losses_and_checkpoints_of_a_killed_run(folder):
    trace = trace_of(read_ledger(folder / "ledger.jsonl"))
    assert trace.end_s == 40.0
    assert [(m.at_s, m.text) for m in trace.faults] == [(21.0, "process killed on host 1")]
    assert [m.text for m in trace.actions] == ["start gang", "start gang (step 5)"]
    assert [loss.step for loss in trace.losses if loss.redone] == [6, 7]
    assert [loss.step for loss in trace.losses if not loss.redone] == list(range(1, 13))
    assert trace.checkpoints == [(17.0, 5)]
    assert sum(count for _, count in trace.step_times_s) == 14


def test_the_kept_losses_are_those_of_the_fold(folder):
    entries = read_ledger(folder / "ledger.jsonl")
    kept = tuple((x.step, x.loss) for x in trace_of(entries).losses if not x.redone)
    assert kept == fold(entries).losses


def test_spans_sum_to_the_buckets_of_the_fold(folder):
    entries = read_ledger(folder / "ledger.jsonl")
    folded = fold(entries).buckets_gpu_s
    laid_out = seconds_by_bucket(trace_of(entries))
    for bucket in Bucket:
        if bucket is not Bucket.IDLE_SPARE:
            assert laid_out.get(bucket, 0.0) * 8 == pytest.approx(folded[bucket])


def test_power_is_that_of_the_site(folder):
    trace = trace_of(read_ledger(folder / "ledger.jsonl"))
    assert trace.power_w == [(0.0, 3750.0), (21.0, 1250.0)]
    halves = power_binned(trace, width_s=20.0)
    assert [mean_level(half) for half in halves] == pytest.approx([3750.0, 1375.0])


pieces = st.lists(
    st.tuples(
        st.integers(1, 6), st.integers(0, 8), st.sampled_from([Bucket.DETECT, Bucket.RESTORE])
    ),
    min_size=1,
    max_size=8,
)


@given(pieces)
def test_rework_agrees_with_the_fold_whatever_is_lost(runs):
    """Runs of some steps, each ended by a rollback of up to all steps done so far."""
    trace, folded = _both(runs)
    laid_out = seconds_by_bucket(trace)
    for bucket in Bucket:
        assert laid_out.get(bucket, 0.0) == pytest.approx(folded.buckets_gpu_s[bucket], abs=1e-6)
    kept = tuple((x.step, x.loss) for x in trace.losses if not x.redone)
    assert kept == folded.losses


def _both(runs):
    opened = Opened(
        world=World.REAL, study="law", num_gpus=1, gpus_per_host=1, num_steps=99,
        tokens_per_step=1, flops_per_step=1.0, peak_flops_per_s=1.0, step_s=1.0,
    )  # fmt: skip
    at_s, step, contents = 0.0, 0, [(0.0, opened)]
    for num_steps, num_lost, bucket in runs:
        contents.append((at_s, BucketFrom(bucket=Bucket.PRODUCTIVE)))
        for _ in range(num_steps):
            at_s, step = at_s + 1.0, step + 1
            contents.append((at_s, Steps(step=step, step_s=1.0, loss=1.0 / step)))
        at_s += 0.5  # an unfinished step
        contents.append((at_s, BucketFrom(bucket=bucket)))
        at_s, step = at_s + 2.0, max(0, step - num_lost)
        contents.append((at_s, Rollback(step=step)))
    entries = [Entry(at_s, seq, 1, content) for seq, (at_s, content) in enumerate(contents)]
    return trace_of(entries), fold(entries)


paces = st.lists(
    st.tuples(
        st.floats(0.1, 50.0), st.integers(0, 12), st.floats(0.5, 3.0),
        st.sampled_from([Bucket.PRODUCTIVE, Bucket.PRODUCTIVE, Bucket.HOLD]), st.booleans(),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@given(paces)
def test_slow_and_missing_gpus_agree_with_the_fold(stretches):
    opened = Opened(
        world=World.REAL, study="law", num_gpus=8, gpus_per_host=1, num_steps=99,
        tokens_per_step=1, flops_per_step=1.0, peak_flops_per_s=1.0, step_s=1.0,
    )  # fmt: skip
    at_s, contents = 0.0, [(0.0, opened)]
    for lasts_s, num_gpus, slowdown, bucket, is_lost in stretches:
        contents.append((at_s, BucketFrom(bucket=bucket)))
        contents.append((at_s, PaceFrom(num_gpus=num_gpus, slowdown=slowdown)))
        at_s += lasts_s
        if is_lost:
            contents.append((at_s, Rollback(step=0)))
    contents.append((at_s, BucketFrom(bucket=Bucket.PLANNED)))
    entries = [Entry(at_s, seq, 1, content) for seq, (at_s, content) in enumerate(contents)]
    folded, laid_out = fold(entries).buckets_gpu_s, seconds_by_bucket(trace_of(entries))
    for bucket in Bucket:
        assert 8 * laid_out.get(bucket, 0.0) == pytest.approx(folded[bucket], abs=1e-6)


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5), st.lists(st.floats(0, 1), max_size=20))
def test_bins_cover_the_campaign_and_lose_no_mark(width_s, end_s, places):
    width_s = max(width_s, end_s / 200)
    trace = Trace(
        end_s=end_s,
        spans=[Span(0.0, end_s / 3, "a"), Span(end_s / 3, end_s, "b")],
        faults=[Mark(place * end_s, "x", "x") for place in places],
    )
    bins = buckets_binned(trace, width_s=width_s)
    assert bins[0].begin_s == 0
    assert bins[-1].end_s == end_s
    total_s = sum(s for one in bins for s in one.seconds.values())
    assert total_s == pytest.approx(end_s)
    for one in bins:
        assert sum(one.seconds.values()) == pytest.approx(one.end_s - one.begin_s)
    found = counted(trace.faults, width_s=width_s, end_s=end_s)
    assert len(found) == len(bins)
    assert sum(n["x"] for n in found) == len(places)


def test_a_resumed_ledger_says_so(folder):
    path = folder / "ledger.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:-1]) + whole[-1][:20])
    with LedgerWriter(path, resume=True):
        pass
    assert trace_of(read_ledger(path)).actions[-1].text == "a new driver goes on with this ledger"
