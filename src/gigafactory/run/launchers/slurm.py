"""Slurm as a ``Scheduler``: its own commands, and its own words where it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gigafactory.describe.errors import InputError, JobError
from gigafactory.run.launchers.remote import Door
from gigafactory.run.launchers.scheduler import Ability, JobState, JobStatus, Rendered
from gigafactory.run.launchers.slurm_text import SCRIPT, job_status, read_record

_COMMANDS = ("sbatch", "scontrol", "scancel")
_COMMAND_S = 60.0
_CANCEL_S = 60.0
_SLURMD_PORT = "6818"
_UNKNOWN = "Invalid job id"


def command(*argv: str) -> str:
    """What a command of Slurm prints; JobError with its words where it refuses or hangs."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_COMMAND_S, check=False,
            stdin=subprocess.DEVNULL, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise missing(argv[0]) from None
    except subprocess.TimeoutExpired:
        raise JobError(f"{argv[0]}: no answer within {_COMMAND_S:g} s") from None
    if done.returncode:
        words = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        raise JobError(f"{argv[0]}: {words}")
    return done.stdout


def missing(program: str) -> JobError:
    """The one message for a machine without Slurm's commands."""
    return JobError(
        f"{program} is not installed here: run this on a login node of a Slurm cluster, or install "
        "its client (Debian, Ubuntu: apt-get install slurm-client; Red Hat: dnf install slurm)"
    )


def check_installed() -> None:
    """JobError where a command that is needed is missing."""
    for program in _COMMANDS:
        if shutil.which(program) is None:
            raise missing(program)


@dataclass(slots=True)
class SlurmScheduler:
    """Implements ``Scheduler``; ``folder`` takes the files of the job and its output."""

    folder: Path
    abilities: frozenset[Ability] = field(default_factory=lambda: frozenset(Ability))

    def submit(self, job: Rendered) -> str:
        """See ``Scheduler``."""
        check_installed()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in job.files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        return self._ask(self.folder / job.main)

    def watch(self, job_id: str) -> JobStatus:
        """See ``Scheduler``."""
        try:
            printed = command("scontrol", "--oneliner", "show", "job", job_id)
        except JobError as error:
            if _UNKNOWN not in str(error):
                raise
            return self._remembered(job_id)
        return job_status(read_record(printed.splitlines()[-1]))

    def cancel(self, job_id: str) -> None:
        """See ``Scheduler``."""
        if self.watch(job_id).state.is_over:
            return
        command("scancel", job_id)
        deadline_s = time.monotonic() + _CANCEL_S
        while not (now := self.watch(job_id)).state.is_over:
            if time.monotonic() > deadline_s:
                words = now.facts.get("JobState", "running")
                raise JobError(f"job {job_id} is {words} {_CANCEL_S:g} s after scancel")
            time.sleep(0.2)

    def give_up(self, job_id: str) -> None:
        """Cancel a job whose host is gone: Slurm waits for that host, we do not."""
        command("scancel", job_id)

    def door(self, host: str) -> Door:
        """Where the slurmd of ``host`` answers."""
        return doors_of(host)[host]

    def ask_to_stop(self, job_id: str, number: int) -> None:
        """A signal to the driver alone, which stops at the next checkpoint."""
        command("scancel", "--batch", f"--signal={number}", job_id)

    def drain(self, host: str, *, reason: str) -> None:
        """See ``Scheduler``."""
        words = " ".join(reason.split())[:200] or "giga"
        command("scontrol", "update", f"NodeName={host}", "State=DRAIN", f"Reason={words}")

    def requeue(self, job_id: str) -> str:
        """See ``Scheduler``; its identity is new.

        `scontrol requeue` would hold it back for as long as its credentials live, two minutes.
        """
        script = self.folder / SCRIPT
        if not self.watch(job_id).state.is_over:
            raise InputError(f"job {job_id} is not over, so it cannot be asked for again")
        if not script.exists():
            raise InputError(f"{script}: missing, so job {job_id} cannot be asked for again")
        return self._ask(script)

    def logs(self, job_id: str) -> Iterator[str]:
        """See ``Scheduler``."""
        path = self.folder / f"job-{job_id}.log"
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from (line.rstrip("\n") for line in lines)

    @staticmethod
    def _ask(script: Path) -> str:
        printed = command("sbatch", "--parsable", "--export=ALL", str(script))
        return printed.strip().split(";")[0]

    def _remembered(self, job_id: str) -> JobStatus:
        """From the accounts where Slurm keeps some, else from the list of completed jobs."""
        config = read_config(command("scontrol", "show", "config"))
        record: dict[str, str] = {}
        if config.get("AccountingStorageType", "").endswith("slurmdbd"):
            record = _accounted(job_id)
        if not record and config.get("JobCompType", "").endswith("filetxt"):
            record = _completed(Path(config.get("JobCompLoc", "")), job_id)
        if record:
            return job_status(record)
        return JobStatus(
            job_id=job_id,
            state=JobState.FAILED,
            reason=f"Slurm forgot job {job_id} and keeps no record that can be read",
        )


def doors_of(hosts: str) -> dict[str, Door]:
    """Where the slurmd of each of these hosts answers; ``hosts`` as Slurm writes them."""
    usual = read_config(command("scontrol", "show", "config")).get("SlurmdPort", _SLURMD_PORT)
    nodes = command("scontrol", "--oneliner", "show", "node", hosts).splitlines()
    records = [read_record(line) for line in nodes if line.startswith("NodeName=")]
    return {
        record["NodeName"]: Door(
            record.get("NodeAddr", record["NodeName"]), int(record.get("Port", usual))
        )
        for record in records
    }


def read_config(text: str) -> dict[str, str]:
    """``Key = value`` lines of `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines() if " = " in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _accounted(job_id: str) -> dict[str, str]:
    fields = ("JobId", "JobState", "ExitCode", "NodeList", "Reason")
    try:
        printed = command(
            "sacct", "-n", "-P", "-X", "-j", job_id, "-o", "JobID,State,ExitCode,NodeList,Reason"
        )
    except JobError:
        return {}
    last = (printed.strip().splitlines() or [""])[-1].split("|")
    return dict(zip(fields, last, strict=True)) if len(last) == len(fields) else {}


def _completed(path: Path, job_id: str) -> dict[str, str]:
    """The last entry of the job in jobcomp/filetxt, where this user may read it."""
    if not os.access(path, os.R_OK):
        return {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        own = [line for line in lines if line.startswith(f"JobId={job_id} ")]
    return read_record(own[-1]) if own else {}
