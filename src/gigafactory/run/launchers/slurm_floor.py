"""A Slurm job seen from inside: its hosts in the order of ranks, and agents started by `srun`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gigafactory.describe.errors import JobError
from gigafactory.run.launchers.hostlist import expand
from gigafactory.run.launchers.remote import Door
from gigafactory.run.launchers.slurm import SlurmScheduler, command, doors_of, missing
from gigafactory.run.launchers.slurm_text import (
    rank_order,
    read_topology,
    step_argv,
)

_END_S = 3.0


@dataclass(slots=True)
class SlurmFloor:
    """Implements ``Floor`` with the allocation that this process runs in."""

    hosts: tuple[str, ...]
    logs: Path
    meet: Path
    doors: dict[str, Door]
    name: str = "slurmd"
    _steps: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def raise_agents(self, hosts: Sequence[str]) -> None:
        """One job step on all of them."""
        agent = (sys.executable, "-m", "gigafactory.run.launchers.agent", "--meet", str(self.meet))
        argv = step_argv(hosts, logs=str(self.logs), argv=agent)
        with (self.logs / "srun.log").open("ab") as log:
            try:
                # a session of its own: signals for the driver are not meant for the step
                self._steps.append(
                    subprocess.Popen(
                        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                        start_new_session=True,
                    )
                )  # fmt: skip
            except FileNotFoundError:
                raise missing("srun") from None

    def door(self, host: str) -> Door | None:
        """Where its slurmd answers."""
        return self.doors.get(host)

    def set_aside(self, host: str, *, reason: str) -> None:
        """Drained, where this user may; else it is merely not used."""
        try:
            SlurmScheduler(self.logs).drain(host, reason=f"giga: {reason}")
        except JobError as error:
            print(f"{host} is not used any more, but not drained: {error}", file=sys.stderr)

    def close(self) -> None:
        """End the steps; the agents in them are on their way already."""
        for step in self._steps:
            try:
                step.wait(_END_S)
            except subprocess.TimeoutExpired:
                step.kill()
                step.wait()


def floor_of_this_job(*, num_needed: int, logs: Path, meet: Path) -> SlurmFloor:
    """From the environment of a batch script; JobError outside of one.

    What the allocation holds beyond ``num_needed`` hosts stands by.
    """
    listed = os.environ.get("SLURM_JOB_NODELIST", "")
    if not listed:
        raise JobError("SLURM_JOB_NODELIST is not set: this is to be started by Slurm")
    names = expand(listed)
    switches = read_topology(_quietly("scontrol", "show", "topology"))
    seats, spares = rank_order(names, switches=switches, num_spares=max(0, len(names) - num_needed))
    return SlurmFloor(hosts=(*seats, *spares), logs=logs, meet=meet, doors=doors_of(listed))


def _quietly(*argv: str) -> str:
    """A cluster without a tree refuses, and then there is none."""
    try:
        return command(*argv)
    except JobError:
        return ""
