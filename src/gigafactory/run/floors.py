"""The driver with agents on the hosts of a floor, whatever scheduler gave them."""

from __future__ import annotations

import secrets
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.driver import run
from gigafactory.run.launchers.agent import Meeting
from gigafactory.run.launchers.launcher import Launcher
from gigafactory.run.launchers.links import Links
from gigafactory.run.launchers.remote import PORTS, Floor, RemoteLauncher
from gigafactory.run.launchers.slurm_text import network_environment
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Observer, Progress, RunResult, Stage

#: An agent is python and a connection; a busy file system makes that slow.
MEET_S = 120.0
#: When enough hosts are there, those that are late are left out.
_GRACE_S = 20.0


def drive_on(
    open_floor: Callable[[], Floor],
    *,
    study: Study,
    plan: Plan,
    run_dir: Path,
    meet: Path,
    address: str,
    fresh: bool = False,
    observer: Observer | None = None,
    meet_s: float = MEET_S,
) -> RunResult:
    """Train on the hosts of a floor, which is opened once the folder is ours, and closed always.

    ``meet``: file that tells agents where to find us, at ``address``.
    """
    opened: list[RemoteLauncher] = []

    def open_launcher(logs: Path, wake_descriptor: int) -> Launcher:
        floor = open_floor()
        secret = secrets.token_bytes(32)
        launcher = RemoteLauncher(
            floor=floor,
            links=Links(secret, frozenset(floor.hosts), wake_descriptor),
            # jobs that share a host seldom begin at the same port; after a clash the next start
            # moves on
            first_port=PORTS[zlib.crc32(f"{address} {meet}".encode()) % len(PORTS)],
            heartbeat_timeout_s=study.policy.heartbeat_timeout_s,
            environment=network_environment(study.cluster),
        )
        opened.append(launcher)
        logs.mkdir(parents=True, exist_ok=True)
        meet.parent.mkdir(parents=True, exist_ok=True)
        Meeting(launcher.links.port, secret, logs.resolve(), address).write(meet)
        begun_s, num_needed = time.monotonic(), num_hosts_of(study, plan)
        missing = launcher.meet(num_needed=num_needed, timeout_s=meet_s, grace_s=_GRACE_S)
        words = f"{len(floor.hosts) - len(missing)} hosts are there, {num_needed} of them train"
        if missing:
            words += f"; without an agent, and left out: {', '.join(missing)}"
        if observer is not None:
            observer(_starting(study, words, at_s=time.monotonic() - begun_s))
        return launcher

    try:
        return run(
            study, plan=plan, run_dir=run_dir, fresh=fresh, observer=observer,
            open_launcher=open_launcher,
        )  # fmt: skip
    finally:
        for launcher in opened:
            launcher.close()


def _starting(study: Study, words: str, *, at_s: float) -> Progress:
    return Progress(
        at_s=at_s, stage=Stage.STARTING, step=0, num_steps=study.job.num_steps, generation=0,
        message=words,
    )  # fmt: skip
