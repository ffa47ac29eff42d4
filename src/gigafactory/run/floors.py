"""The driver with agents on the hosts of a floor, whatever scheduler gave them."""

from __future__ import annotations

import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.driver import run
from gigafactory.run.examining import leave_out_unfit
from gigafactory.run.launchers.agent import Meeting
from gigafactory.run.launchers.launcher import Launcher
from gigafactory.run.launchers.links import Links
from gigafactory.run.launchers.remote import PORTS, Floor, RemoteLauncher
from gigafactory.run.launchers.slurm_text import network_environment
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, Progress, RunResult, Stage

#: Most of a worker's start.
_IMPORTS = (
    "torch",
    "gigafactory.train.loop",
    "gigafactory.train.evaluate",
    "gigafactory.train.tokens",
    "gigafactory.net.export",
)
#: An agent is python and a connection; a busy file system makes that slow.
MEET_S = 120.0
#: When enough hosts are there, those that are late are left out.
_GRACE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """Where agents find the driver, and how long it waits for them."""

    meet: Path
    """File that tells agents where to find us."""
    address: str = ""
    """Of the driver; empty: where the job step was launched from, as the scheduler tells."""
    meet_s: float = MEET_S


def drive_on(
    open_floor: Callable[[], Floor],
    *,
    study: Study,
    plan: Plan,
    run_dir: Path,
    gathering: Gathering,
    fresh: bool = False,
    observer: Observer | None = None,
) -> RunResult:
    """Train on the hosts of a floor, which is opened once the folder is ours, and closed always.

    Hosts are examined before they join, where the study wants it; JobError where too few are left.
    """
    opened: list[RemoteLauncher] = []

    def open_launcher(logs: Path, wake_descriptor: int) -> Launcher:
        launcher = _opened(
            open_floor(), study, gathering, logs=logs, wake_descriptor=wake_descriptor
        )
        opened.append(launcher)
        _meet(launcher, study, plan, gathering, observer or _nobody)
        return launcher

    try:
        return run(
            study, plan=plan, run_dir=run_dir, fresh=fresh, observer=observer,
            open_launcher=open_launcher,
        )  # fmt: skip
    finally:
        for launcher in opened:
            launcher.close()


def _opened(
    floor: Floor, study: Study, gathering: Gathering, *, logs: Path, wake_descriptor: int
) -> RemoteLauncher:
    """Ready to be met by the agents of the hosts."""
    secret, meet = secrets.token_bytes(32), gathering.meet
    launcher = RemoteLauncher(
        floor=floor,
        links=Links(secret, frozenset(floor.hosts), wake_descriptor),
        # jobs that share a host seldom begin at the same port, and after a clash the next start
        # moves on
        first_port=PORTS[zlib.crc32(f"{gathering.address} {meet}".encode()) % len(PORTS)],
        heartbeat_timeout_s=study.policy.heartbeat_timeout_s,
        environment=network_environment(study.cluster),
        modules=_IMPORTS,
    )
    for folder in (logs, meet.parent):
        folder.mkdir(parents=True, exist_ok=True)
    Meeting(launcher.links.port, secret, logs.resolve(), gathering.address).write(meet)
    return launcher


def _meet(
    launcher: RemoteLauncher, study: Study, plan: Plan, gathering: Gathering, tell: Observer
) -> None:
    """Wait for the agents, examine their hosts, and tell who is there."""
    num_needed, begun_s = num_hosts_of(study, plan), time.monotonic()

    def say(words: str) -> None:
        tell(_starting(study, words, at_s=time.monotonic() - begun_s))

    missing = launcher.meet(num_needed=num_needed, timeout_s=gathering.meet_s, grace_s=_GRACE_S)
    if missing:
        say(f"left out, their agent did not come: {', '.join(missing)}")
    if study.acceptance.enabled:
        folder = gathering.meet.parent
        unfit = leave_out_unfit(launcher, study, plan, folder=folder, num_needed=num_needed)
        for host, why in unfit.items():
            say(f"{host} is left out: {why}")
    passed = " and passed their examination" if study.acceptance.enabled else ""
    say(f"{len(launcher.present())} hosts are there{passed}; {num_needed} of them train")


def _starting(study: Study, words: str, *, at_s: float) -> Progress:
    return Progress(
        at_s=at_s, stage=Stage.STARTING, step=0, num_steps=study.job.num_steps, generation=0,
        message=words,
    )  # fmt: skip


def _nobody(seen: Progress) -> None:
    """Listens."""
