"""Slurm's texts, written and read: pure, so that golden files hold them.

A job asks for the hosts of the plan and for spares, and keeps those that are left when one fails
(`--no-kill`): exchanging a host then costs no queue. One process of it, the driver, starts one
agent a host. It is told two minutes before its time is up, and requeued where its own host fails.

Source for the options and for what `scontrol` prints: the manual pages of Slurm 22.05 and 24.11.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gigafactory.describe.cluster import Cluster, FabricKind
from gigafactory.describe.slurm import Slurm
from gigafactory.run.launchers.hostlist import compress, expand, natural
from gigafactory.run.launchers.scheduler import JobState, JobStatus, Rendered

WARNING_S = 120
SCRIPT = "job.sh"
_KEY = re.compile(r"(?:^|\s)([A-Za-z][\w:/.]*)=")

#: Reasons of a job that waits for what waiting does not bring.
HOPELESS = frozenset(
    {
        "PartitionConfig",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "BadConstraints",
        "InvalidAccount",
        "InvalidQOS",
        "AccountNotAllowed",
        "QOSNotAllowed",
    }
)

_STATES: Mapping[str, JobState] = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD",
         "SPECIAL_EXIT"), JobState.WAITING,
    ),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED", "RESIZING"),
        JobState.RUNNING,
    ),
    "COMPLETED": JobState.DONE,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,
    "PREEMPTED": JobState.PREEMPTED,
}  # fmt: skip


def render_job(
    *,
    name: str,
    slurm: Slurm,
    num_hosts: int,
    num_spares: int,
    folder: str,
    argv: Sequence[str],
    may_lack_spares: bool = False,
) -> Rendered:
    """The batch script of a job whose driver is ``argv``; ``folder`` takes its output.

    ``may_lack_spares``: begin without them, or with fewer, where the cluster has no more. Paths
    are absolute, because a batch script is copied away before it runs.
    """
    least = f"{num_hosts}-" if may_lack_spares else ""
    hours = _clock(slurm.time_limit_s) if slurm.time_limit_s else ""
    options = [
        f"--job-name={name}",
        f"--nodes={least}{num_hosts + num_spares}",
        "--ntasks-per-node=1",
        "--exclusive",
        "--no-kill",
        "--requeue",
        "--open-mode=append",
        f"--output={_literal(folder)}/job-%j.log",
        f"--signal=B:TERM@{WARNING_S}",
        *_given("--partition", slurm.partition),
        *_given("--account", slurm.account),
        *_given("--qos", slurm.qos),
        *_given("--constraint", slurm.constraint),
        *_given("--gres", slurm.gres_per_host),
        *_given("--time", hours),
        *slurm.options,
    ]
    lines = [
        "#!/bin/sh",
        *(f"#SBATCH {shlex.quote(option)}" for option in options),
        f"# {num_hosts} hosts train, {num_spares} stand by",
        f"exec {shlex.join(argv)}",
    ]
    return Rendered(name=name, main=SCRIPT, files={SCRIPT: "\n".join(lines) + "\n"})


def _literal(path: str) -> str:
    """Slurm replaces %x in the names of files."""
    return path.replace("%", "%%")


def _given(option: str, value: str) -> list[str]:
    return [f"{option}={value}"] if value else []


def _clock(time_s: float) -> str:
    """Slurm's days-hours:minutes:seconds, rounded up to a second."""
    whole = -int(-time_s // 1)
    days, rest = divmod(whole, 86400)
    return f"{days}-{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def step_argv(hosts: Sequence[str], *, logs: str, argv: Sequence[str]) -> tuple[str, ...]:
    """`srun` of one task on each of ``hosts``; a lost one ends none of the others."""
    count = len(hosts)
    return (
        "srun", f"--nodelist={compress(hosts)}", f"--nodes={count}", f"--ntasks={count}",
        "--ntasks-per-node=1", "--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0",
        "--input=none", "--unbuffered", "--open-mode=append",
        f"--output={_literal(logs)}/agent-%N.log", *argv,
    )  # fmt: skip


def network_environment(cluster: Cluster) -> dict[str, str]:
    """What NCCL is to know of the fabric; interfaces are found on each host.

    On a rail-optimised network rings stay on their rail: crossing costs a spine hop
    (NCCL_CROSS_NIC=0). Source: NCCL's documentation of environment variables.
    """
    if cluster.fabric.kind is FabricKind.LOOPBACK or cluster.host.num_nics == 1:
        return {}
    return {"NCCL_CROSS_NIC": "0"}


# -- reading ------------------------------------------------------------------------------


def read_record(line: str) -> dict[str, str]:
    """``Key=value Key=value`` of `scontrol --oneliner` and of jobcomp/filetxt; values may have
    blanks."""
    found = list(_KEY.finditer(line))
    ends = [match.start() for match in found[1:]] + [len(line)]
    return {m[1]: line[m.end() : end].strip() for m, end in zip(found, ends, strict=True)}


def job_status(record: Mapping[str, str]) -> JobStatus:
    """What `scontrol show job` or jobcomp says, in our words."""
    word = record.get("JobState", "").split(" ")[0].split("+")[0]
    state = _STATES.get(word, JobState.FAILED)
    reason = record.get("Reason", "")
    status = record.get("ExitCode", "").split(":")
    codes = [int(code) for code in status if code.isdecimal()]
    nodes = record.get("NodeList", "")
    facts = {key: record[key] for key in ("StartTime", "EndTime", "BatchHost") if key in record}
    return JobStatus(
        job_id=record.get("JobId", ""),
        state=state,
        hosts=tuple(expand(nodes)) if nodes not in ("", "(null)") else (),
        reason="" if reason in ("None", "(null)") else reason,
        exit_status=_exit_status(codes) if state.is_over else None,
        facts={"JobState": word} | facts,
    )


def _exit_status(codes: Sequence[int]) -> int | None:
    """Slurm writes status:signal; a signal counts as minus its number."""
    if not codes:
        return None
    return -codes[1] if len(codes) > 1 and codes[1] else codes[0]


@dataclass(frozen=True, slots=True)
class Switch:
    """A line of `scontrol show topology`: a leaf has nodes, another has switches below it."""

    name: str
    nodes: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()


def read_topology(text: str) -> list[Switch]:
    """Of a tree; empty where the cluster has none."""
    found = []
    for line in text.splitlines():
        record = read_record(line)
        if "SwitchName" in record:
            below = record.get("Switches", "")
            nodes = () if below else tuple(expand(record.get("Nodes", "")))
            found.append(Switch(record["SwitchName"], nodes, tuple(expand(below))))
    return found


# -- the order of ranks -------------------------------------------------------------------


def rank_order(
    hosts: Iterable[str], *, switches: Sequence[Switch] = (), num_spares: int = 0
) -> tuple[list[str], list[str]]:
    """(hosts that train in the order of their ranks, those that stand by).

    Hosts are sorted by core, pod and leaf, so that neighbouring ranks are neighbours in the
    network; within a leaf by name. Spares come from the leaves of which the job got least: a
    whole unit is worth more than a part of one.
    """
    paths = paths_of(switches)
    ordered = sorted(hosts, key=lambda host: (paths.get(host, ()), natural(host)))
    size: dict[tuple[str, ...], int] = {}
    for host in ordered:
        size[paths.get(host, ())] = size.get(paths.get(host, ()), 0) + 1
    place = {host: index for index, host in enumerate(ordered)}
    by_worth = sorted(ordered, key=lambda host: (size[paths.get(host, ())], -place[host]))
    spares = set(by_worth[:num_spares])
    return (
        [host for host in ordered if host not in spares],
        [host for host in ordered if host in spares],
    )


def paths_of(switches: Sequence[Switch]) -> dict[str, tuple[str, ...]]:
    """Switches above every node, the top first, each as a key that sorts naturally."""
    above = {child: switch.name for switch in switches for child in switch.switches}
    found: dict[str, tuple[str, ...]] = {}
    for switch in switches:
        if not switch.nodes:
            continue
        path, seen = [switch.name], {switch.name}
        while (parent := above.get(path[0])) is not None and parent not in seen:
            path.insert(0, parent)
            seen.add(parent)
        key = tuple(_sortable(name) for name in path)
        found.update(dict.fromkeys(switch.nodes, key))
    return found


def _sortable(name: str) -> str:
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), name)
