"""Laws of the twin: determinism, conservation, monotonicity, scaling, independence of streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.describe.study import Campaign, Study
from gigafactory.ledger.replay import replay
from gigafactory.ledger.writer import LedgerWriter, line_of
from gigafactory.simulate.campaign import CampaignResult, follow
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.gang import Cadence
from gigafactory.simulate.workload import Workload
from gigafactory.units import DAY_S

STUDIES = Path(__file__).resolve().parents[2] / "studies"
BASE = load_study(STUDIES / "grok-1-512.yaml")
HOSTS = 32
JOB = Workload(
    cadence=Cadence(step_s=16.0, checkpoint_steps=32, blocking_s=2.0, write_s=32.0),
    num_steps=10**8, num_gpus=8 * HOSTS, host_gpus=8, start_s=128.0, restore_s=16.0,
    flops_per_step=0.4 * 989.4e12 * 16.0 * 8 * HOSTS, tokens_per_step=2**20,
    checkpoint_bytes=1e12, peak_flops_per_s=989.4e12,
)  # fmt: skip
CAUSES = st.lists(
    st.tuples(st.sampled_from(FaultClass), st.floats(0.05, 2.0), st.floats(0, 700)),
    min_size=1,
    max_size=4,
)


@dataclass(frozen=True)
class Fleet:
    """The knobs that the laws turn."""

    causes: tuple[Cause, ...]
    days: float = 4.0
    num_spares: int = 6
    repair_s: float = 1024.0
    more: tuple[tuple[str, Any], ...] = ()

    def study(self) -> Study:
        repair = Repair(median_s=self.repair_s, mean_s=self.repair_s, source="test")
        faults = Faults(
            name="test", causes=self.causes, repair=repair, source="test", **dict(self.more)
        )
        hosts = {"num_hosts": HOSTS + self.num_spares, "num_spare_hosts": self.num_spares}
        return BASE.model_copy(
            update={
                "cluster": BASE.cluster.model_copy(update=hosts),
                "faults": faults,
                "campaign": Campaign(duration_s=self.days * DAY_S),
            }
        )


def cause(fault: FaultClass, *, mtbf_days: float, detect_s: float = 8.0) -> Cause:
    """By the mean time between its strikes on the hosts that train."""
    rate_per_s = 1.0 / (HOSTS * mtbf_days * DAY_S)
    return Cause(
        name=fault.value, fault=fault, rate_per_s=rate_per_s, detect_s=detect_s, source="test"
    )


def play(
    fleet: Fleet, *, seed: int = 0, job: Workload = JOB, delays: Delays | None = None
) -> tuple[CampaignResult, LedgerWriter]:
    ledger = LedgerWriter()
    found = follow(fleet.study(), workload=job, seed=seed, ledger=ledger, delays=delays)
    return found, ledger


def mean_goodput(fleet: Fleet, *, job: Workload = JOB, num_seeds: int = 3) -> float:
    return float(np.mean([play(fleet, seed=s, job=job)[0].goodput for s in range(num_seeds)]))


HARD = Fleet(
    causes=tuple(cause(fault, mtbf_days=0.5, detect_s=40.0) for fault in FaultClass),
    more=(
        ("batch_share", 0.2), ("batch_hosts", 4), ("lemon_share", 0.1), ("lemon_factor", 5.0),
        ("false_alarm_share", 0.2), ("job_rate_per_s", 1e-5),
    ),
)  # fmt: skip


def test_same_seed_same_bytes():
    (first, a), (second, b) = play(HARD, seed=11), play(HARD, seed=11)
    assert first == second
    assert [line_of(x) for x in a.entries] == [line_of(x) for x in b.entries]


def test_other_seed_other_campaign():
    found = [play(HARD, seed=seed)[0] for seed in range(5)]
    assert len({f.ledger_hash for f in found}) == 5
    assert len({f.goodput for f in found}) == 5


@settings(max_examples=15, deadline=None)
@given(drawn=CAUSES, num_spares=st.integers(0, 6), seed=st.integers(0, 2**32), data=st.data())
def test_every_gpu_second_is_in_one_bucket(drawn, num_spares, seed, data):
    causes = tuple(cause(f, mtbf_days=m, detect_s=d) for f, m, d in drawn)
    days = 0.5
    more = (
        ("batch_share", data.draw(st.floats(0, 1))),
        ("lemon_share", data.draw(st.floats(0, 0.3))),
        ("lemon_factor", data.draw(st.floats(1, 10))),
        ("false_alarm_share", data.draw(st.floats(0, 0.5))),
    )
    found, ledger = play(
        Fleet(causes=causes, days=days, num_spares=num_spares, more=more), seed=seed
    )
    allocation_gpu_s = 8 * (HOSTS + num_spares) * days * DAY_S
    assert sum(found.buckets_gpu_s.values()) == pytest.approx(allocation_gpu_s, rel=1e-9)
    assert all(gpu_s >= -1e-6 for gpu_s in found.buckets_gpu_s.values())
    assert 0.0 <= found.goodput <= found.ettr <= 1.0
    assert found.mfu is None or found.mfu <= 1.0
    # productive time is that of the kept steps, but for the step under way at the end
    kept_gpu_s = found.num_steps * JOB.cadence.step_s * 8 * HOSTS
    assert -1e-3 <= found.buckets_gpu_s["productive"] - kept_gpu_s <= 16.001 * 8 * HOSTS
    times = [entry.at_s for entry in ledger.entries]
    assert times == sorted(times)


@settings(max_examples=5, deadline=None)
@given(drawn=CAUSES, seed=st.integers(0, 2**32))
def test_a_simulated_campaign_replays_in_the_controller(drawn, seed):
    causes = tuple(cause(f, mtbf_days=m, detect_s=d) for f, m, d in drawn)
    _, ledger = play(Fleet(causes=causes, days=0.5), seed=seed)
    assert replay(ledger.entries).same


def test_more_failures_are_not_more_goodput():
    goodput = [
        mean_goodput(Fleet(causes=(cause(FaultClass.HOST, mtbf_days=m),)))
        for m in (1.0, 0.25, 0.06)
    ]
    assert goodput == sorted(goodput, reverse=True)


@pytest.mark.parametrize(
    ("knob", "values"),
    [("start_s", (10.0, 200.0, 900.0)), ("restore_s", (1.0, 100.0, 500.0))],
)
def test_slower_recovery_is_not_more_goodput(knob, values):
    fleet = Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.1),))
    goodput = [mean_goodput(fleet, job=replace(JOB, **{knob: v})) for v in values]
    assert goodput == sorted(goodput, reverse=True)


def test_slower_detection_is_not_more_goodput():
    goodput = [
        mean_goodput(Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.1, detect_s=d),)))
        for d in (2.0, 60.0, 600.0)
    ]
    assert goodput == sorted(goodput, reverse=True)


def test_more_spares_are_not_less_goodput():
    goodput = [
        mean_goodput(
            Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.2),), repair_s=DAY_S / 2, num_spares=n)
        )
        for n in (0, 2, 6)
    ]
    assert goodput == sorted(goodput)


def test_the_best_interval_of_the_closed_form_is_the_best_in_the_twin():
    fleet = Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.1),), days=8.0)
    # M = 8,640 s and delta = 8 s: about 370 s, or 23 steps of 16 s
    found = {
        steps: mean_goodput(
            fleet, job=replace(JOB, cadence=Cadence(16.0, steps, 8.0, 8.0)), num_seeds=3
        )
        for steps in (3, 23, 180)
    }
    assert max(found, key=found.__getitem__) == 23


def test_a_campaign_twice_as_slow_is_the_same_campaign():
    """Rescale the second by two, which is exact in binary, and nothing may change."""
    plain = Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.125),), more=(("start_base_s", 64.0),))
    slow_cause = cause(FaultClass.HOST, mtbf_days=0.25, detect_s=16.0)
    slow = Fleet(causes=(slow_cause,), days=8.0, repair_s=2048.0, more=(("start_base_s", 128.0),))
    slow_job = replace(JOB, cadence=Cadence(32.0, 32, 4.0, 64.0), start_s=256.0, restore_s=32.0)
    policy = BASE.policy
    a, _ = play(plain, delays=Delays(stop_s=2.0, probe_s=2.0))
    b, _ = play(slow, job=slow_job, delays=Delays(stop_s=4.0, probe_s=4.0))
    assert policy.progress_timeout_s < 8 * DAY_S
    assert (a.num_interruptions, a.num_steps, a.num_lost_steps) == (
        b.num_interruptions, b.num_steps, b.num_lost_steps,
    )  # fmt: skip
    assert a.goodput == pytest.approx(b.goodput, rel=1e-9)


def test_a_new_source_of_trouble_leaves_the_times_of_the_others_alone():
    plain = Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.25),))
    rich = replace(plain, more=(("false_alarm_share", 0.3), ("job_rate_per_s", 1e-5)))

    def times(fleet: Fleet) -> list[float]:
        lines = play(fleet)[1].entries
        return [e.at_s for e in lines if getattr(e.content, "cause", None) == "host"]

    assert times(plain) == times(rich)


def test_lemons_do_not_change_the_number_of_faults_but_who_has_them():
    even = Fleet(causes=(cause(FaultClass.HOST, mtbf_days=0.05),), days=10.0)
    lemons = replace(even, more=(("lemon_share", 0.1), ("lemon_factor", 20.0)))
    counts = []
    for fleet in (even, lemons):
        struck = [
            e.content.hosts[0]
            for e in play(fleet)[1].entries
            if getattr(e.content, "cause", None) == "host"
        ]
        counts.append(np.sort(np.bincount(struck, minlength=HOSTS + 6)))
    # a host in repair does not fail, and lemons are in repair more often
    assert counts[0].sum() == pytest.approx(counts[1].sum(), rel=0.1)
    assert counts[1][-4:].sum() > 2 * counts[0][-4:].sum()
