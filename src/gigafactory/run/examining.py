"""Examine the hosts of an allocation before they join, and leave out those that do not pass."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.acceptance import Exam, Fitness, Talk
from gigafactory.describe.errors import JobError
from gigafactory.describe.measured import DeviceKind
from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.acceptance import Examined, judge, marks_of, rounds
from gigafactory.run.engines.ours import rank_environment
from gigafactory.run.launchers.remote import RemoteLauncher

_TIMEOUT_S = 120.0


def leave_out_unfit(
    launcher: RemoteLauncher, study: Study, plan: Plan, *, folder: Path, num_needed: int
) -> dict[str, str]:
    """Why each host that was left out was; JobError where too few are left.

    All hosts are measured at the same time, within seconds and the start of torch.
    """
    precision = plan.best.layout.precision
    hosts = launcher.present()
    partners = rounds(hosts)
    talks = _talks(launcher, partners)
    assert study.train is not None
    orders = {
        host: Exam(
            num_gpus=study.cluster.host.num_gpus,
            precision=precision,
            num_threads=study.train.threads_per_worker,
            folder=str(folder),
            talks=talks[host],
        )
        for host in hosts
    }
    module = "gigafactory.train.measure.accept"
    argvs = {
        host: (sys.executable, "-m", module, exam.model_dump_json())
        for host, exam in orders.items()
    }
    said = launcher.examine(
        argvs, environment=rank_environment(0, num_ranks=2), timeout_s=_TIMEOUT_S
    )
    found = {host: _read(*one) for host, one in said.items()}
    has_gpus = any(f.fitness and f.fitness.device is DeviceKind.CUDA for f in found.values())
    device = DeviceKind.CUDA if has_gpus else DeviceKind.CPU
    marks = marks_of(study.acceptance, cluster=study.cluster, precision=precision, device=device)
    unfit = judge(found, marks=marks, partners=partners)
    check_enough(unfit, num_hosts=len(hosts), num_needed=num_needed)
    launcher.leave_out(tuple(unfit))
    return unfit


def check_enough(unfit: Mapping[str, str], *, num_hosts: int, num_needed: int) -> None:
    """JobError, with every reason, where those that passed are too few."""
    if num_hosts - len(unfit) < num_needed:
        reasons = "\n  ".join(f"{host}: {why}" for host, why in unfit.items())
        raise JobError(
            f"{len(unfit)} of {num_hosts} hosts did not pass their examination, and {num_needed} "
            f"are needed:\n  {reasons}\nacceptance.enabled=false lets them join all the same"
        )


def _talks(
    launcher: RemoteLauncher, partners: tuple[dict[str, str], ...]
) -> dict[str, tuple[Talk | None, ...]]:
    """For every host its talks, one a round; the pairs of all rounds meet at different ports."""
    hosts = launcher.present()
    found: dict[str, list[Talk | None]] = {host: [] for host in hosts}
    number = 0
    for pairs in partners:
        meeting: dict[frozenset[str], tuple[str, int, str]] = {}
        for host in hosts:
            partner = pairs.get(host)
            if partner is None:
                found[host].append(None)
                continue
            pair = frozenset((host, partner))
            if pair not in meeting:
                number += 1
                meeting[pair] = (*launcher.meeting_for_talk(host, number), host)
            address, port, first = meeting[pair]
            found[host].append(Talk(rank=int(host != first), address=address, port=port))
    return {host: tuple(talks) for host, talks in found.items()}


def _read(report: str, reason: str, clock_offset_s: float) -> Examined:
    try:
        fitness = Fitness.model_validate_json(report) if report else None
    except ValidationError:
        return Examined(None, reason="what it printed is no report")
    return Examined(fitness, clock_offset_s=clock_offset_s, reason=reason)
