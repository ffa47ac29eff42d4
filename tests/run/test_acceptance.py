"""Who may join: the judgement by itself, and a host that is really slow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.describe.acceptance import Acceptance, Fitness
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import JobError
from gigafactory.describe.measured import DeviceKind
from gigafactory.describe.study import Study
from gigafactory.plan.search import plan
from gigafactory.run.acceptance import Examined, Marks, judge, marks_of, rounds
from gigafactory.run.examining import check_enough, leave_out_unfit
from gigafactory.train.parallel import has_bf16

H100 = load_study(Path("studies/grok-1-512.yaml")).cluster
HOSTS_OF_UNIT = [f"h{i}" for i in range(8)]


def marks(device: DeviceKind = DeviceKind.CUDA, **own: float) -> Marks:
    return marks_of(
        Acceptance.model_validate(own), cluster=H100, precision=Precision.BF16, device=device
    )


def good(**but: object) -> Fitness:
    usual = {"device": "cuda", "gemm_flops_per_s": 650e12, "memory_bytes_per_s": 2900e9,
             "disk_bytes_per_s": 1e9, "talks_bytes_per_s": (45e9, 46e9)}  # fmt: skip
    return Fitness.model_validate(usual | but)


def judged(
    changed: dict[str, Fitness | None] | None = None, *, clocks: dict[str, float] | None = None
) -> dict[str, str]:
    found = {host: Examined(good()) for host in HOSTS_OF_UNIT}
    for host, fitness in (changed or {}).items():
        found[host] = Examined(fitness, reason="" if fitness else "no torch there")
    for host, offset_s in (clocks or {}).items():
        found[host] = Examined(good(), clock_offset_s=offset_s)
    return judge(found, marks=marks(), partners=rounds(HOSTS_OF_UNIT))


def test_good_hosts_join() -> None:
    assert judged() == {}


@pytest.mark.parametrize(
    ("fitness", "says"),
    [
        (good(gemm_flops_per_s=400e12), "GEMM 400 TFLOP/s, at least 544 TFLOP/s .* catalog entry"),
        (good(gemm_flops_per_s=620e12), "GEMM 620 TFLOP/s, 95% of its peers' median"),
        (good(memory_bytes_per_s=2700e9), "memory 2.70 TB/s, 93% of its peers' median"),
        (good(disk_bytes_per_s=0.0), "what it writes into the run's folder does not come back"),
        (
            good(disk_bytes_per_s=1e5),
            "it writes 100 kB/s into the run's folder, at least 1.00 MB/s",
        ),
        (good(talks_bytes_per_s=(None, 1e9)), "all_reduce with each of 2 other hosts: 1.00 GB/s"),
        (good(talks_bytes_per_s=(None, None)), "all_reduce .*: nothing at best"),
        (None, "not examined: no torch there"),
    ],
)
def test_a_host_that_is_slow_or_wrong_is_named_alone(fitness: Fitness | None, says: str) -> None:
    # its partners talked badly with it, and well with their other neighbour
    others = {"h2": good(talks_bytes_per_s=(None, 46e9)), "h4": good(talks_bytes_per_s=(45e9, 1e9))}
    found = judged({"h3": fitness} | others)
    assert set(found) == {"h3"}
    assert re.search(says, found["h3"]), found


def test_a_clock_that_is_off_is_named() -> None:
    assert judged(clocks={"h1": -3.0, "h2": 1.5}) == {
        "h1": "its clock is -3.0 s off, at most 2 s may be"
    }


def test_processors_are_held_to_their_peers_only() -> None:
    found = {host: Examined(good(gemm_flops_per_s=1e9)) for host in HOSTS_OF_UNIT}
    lenient = marks(DeviceKind.CPU)
    assert judge(found, marks=lenient, partners=rounds(HOSTS_OF_UNIT)) == {}
    found["h5"] = Examined(good(gemm_flops_per_s=2e8))
    assert set(judge(found, marks=lenient, partners=rounds(HOSTS_OF_UNIT))) == {"h5"}


@given(st.integers(3, 40))
def test_everybody_meets_two_others_or_one_at_the_ends(count: int) -> None:
    hosts = [f"h{i}" for i in range(count)]
    first, second = rounds(hosts)
    for pairs in (first, second):
        assert all(pairs[other] == one and one != other for one, other in pairs.items())
    met = {host: {pairs[host] for pairs in (first, second) if host in pairs} for host in hosts}
    assert all(len(met[host]) == 2 for host in hosts[1:-1])
    assert all(met.values())


def cluster_of_processors() -> Study:
    return load_study(
        Path("studies/first-light.yaml"),
        overrides=("cluster.num_hosts=3", "cluster.host.num_gpus=1", "layout.dp=2",
                   "cluster.num_spare_hosts=1", "drill=null"),
    )  # fmt: skip


def test_too_few_good_hosts_are_an_error_with_every_reason() -> None:
    check_enough({"a": "slow"}, num_hosts=3, num_needed=2)
    with pytest.raises(JobError, match=r"2 of 3 hosts did not pass .*\n  a: slow\n  b: no disk\n"):
        check_enough({"a": "slow", "b": "no disk"}, num_hosts=3, num_needed=2)


@pytest.mark.real
@pytest.mark.skipif(not has_bf16(), reason="without bf16 in hardware there is nothing to take away")
def test_a_host_that_is_really_slow_is_left_out(launcher: Any, tmp_path: Path) -> None:
    # as with firmware that hides a part of the processor: products take many times as long
    launcher.floor.environment["c"] = {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    launcher.meet(num_needed=3, timeout_s=60, grace_s=60)
    study = cluster_of_processors()
    unfit = leave_out_unfit(launcher, study, plan(study), folder=tmp_path, num_needed=2)
    assert set(unfit) == {"c"}
    assert "of its peers' median" in unfit["c"]
    assert launcher.present() == ["a", "b"]
    assert list(tmp_path.glob("acceptance-*")) == []
