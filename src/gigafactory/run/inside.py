"""The driver inside a job: ``python -m gigafactory.run.inside FOLDER``, started by a batch script.

The very same driver and controller as on one machine, with agents on the hosts of the allocation.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import zlib
from pathlib import Path

from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.study import Study
from gigafactory.plan.chosen import Plan
from gigafactory.run.driver import run
from gigafactory.run.errand import Errand
from gigafactory.run.examining import leave_out_unfit
from gigafactory.run.launchers.agent import Meeting
from gigafactory.run.launchers.launcher import Launcher
from gigafactory.run.launchers.links import Links
from gigafactory.run.launchers.remote import PORTS, RemoteLauncher
from gigafactory.run.launchers.slurm_floor import floor_of_this_job
from gigafactory.run.launchers.slurm_text import network_environment
from gigafactory.run.opening import num_hosts_of
from gigafactory.run.progress import Progress, Stage

#: Most of a worker's start.
_IMPORTS = (
    "torch",
    "gigafactory.train.loop",
    "gigafactory.train.evaluate",
    "gigafactory.train.tokens",
    "gigafactory.net.export",
)
#: An agent is python and a connection; a busy file system makes that slow.
_MEET_S = 120.0
#: When enough hosts are there, those that are late are left out.
_GRACE_S = 20.0


def main(folder: Path) -> int:
    """The exit status of the job: 0 done or stopped, 1 failed, 2 the input is wrong."""
    errand = Errand(folder)
    try:
        study, plan = errand.taken()
        status = _drive(errand, study, plan)
    except (InputError, JobError) as error:
        errand.conclude(error)
        print(f"giga: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    errand.conclude()
    return status


def _drive(errand: Errand, study: Study, plan: Plan) -> int:
    opened: list[RemoteLauncher] = []

    def open_launcher(logs: Path, wake_descriptor: int) -> Launcher:
        opened.append(_opened(errand, study, plan, logs=logs, wake_descriptor=wake_descriptor))
        _meet(opened[0], errand, study, plan)
        return opened[0]

    try:
        result = run(
            study, plan=plan, run_dir=errand.folder.parent, observer=errand.tell,
            open_launcher=open_launcher,
        )  # fmt: skip
    finally:
        for launcher in opened:
            launcher.close()
    return 1 if result.outcome == "failed" else 0


def _opened(
    errand: Errand, study: Study, plan: Plan, *, logs: Path, wake_descriptor: int
) -> RemoteLauncher:
    """Ready to be met by the agents of the hosts of this job."""
    num_needed = num_hosts_of(study, plan)
    floor = floor_of_this_job(num_needed=num_needed, logs=errand.folder, meet=errand.meet)
    secret, job = secrets.token_bytes(32), os.environ.get("SLURM_JOB_ID", "")
    launcher = RemoteLauncher(
        floor=floor,
        links=Links(secret, frozenset(floor.hosts), wake_descriptor),
        # jobs of one host seldom begin at the same port, and after a clash the next start moves on
        first_port=PORTS[zlib.crc32(f"{job} {errand.folder}".encode()) % len(PORTS)],
        heartbeat_timeout_s=study.policy.heartbeat_timeout_s,
        environment=network_environment(study.cluster),
        modules=_IMPORTS,
    )
    logs.mkdir(parents=True, exist_ok=True)
    Meeting(launcher.links.port, secret, logs.resolve()).write(errand.meet)
    return launcher


def _meet(launcher: RemoteLauncher, errand: Errand, study: Study, plan: Plan) -> None:
    """Wait for the agents, examine their hosts, and tell who is there."""
    num_needed, begun_s = num_hosts_of(study, plan), time.monotonic()

    def tell(message: str) -> None:
        errand.tell(
            Progress(
                at_s=time.monotonic() - begun_s,
                stage=Stage.STARTING,
                step=0,
                num_steps=study.job.num_steps,
                generation=0,
                message=message,
            )
        )

    missing = launcher.meet(num_needed=num_needed, timeout_s=_MEET_S, grace_s=_GRACE_S)
    if missing:
        tell(f"left out, their agent did not come: {', '.join(missing)}")
    if study.acceptance.enabled:
        unfit = leave_out_unfit(launcher, study, plan, folder=errand.folder, num_needed=num_needed)
        for host, why in unfit.items():
            tell(f"{host} is left out: {why}")
    passed = " and passed their examination" if study.acceptance.enabled else ""
    tell(f"{len(launcher.present())} hosts are there{passed}; {num_needed} of them train")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
