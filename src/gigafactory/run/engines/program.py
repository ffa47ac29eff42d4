"""What an engine asks every host of a job to start: rendered text, nothing is started here.

A host learns who it is from three variables that the launcher sets; the start script of a program
reads them, so one rendering serves Slurm, Ray, Kubernetes and rented hosts alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Set by the launcher on every host.
HOST_RANK = "GIGA_HOST_RANK"
MASTER = "GIGA_MASTER"
#: Folder with the program's files, and folder that outlives the job.
FILES = "GIGA_FILES"
OUTPUT = "GIGA_OUTPUT"
MASTER_PORT = 29500
START = "start.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The same for every host; what differs comes from the environment."""

    engine: str
    num_hosts: int
    gpus_per_host: int
    command: str
    """One shell command; may use the variables above."""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """By name; they lie in the folder ``$GIGA_FILES``."""
    notes: tuple[str, ...] = ()
    """What the engine cannot be told, or will do otherwise."""

    def start_script(self, *, before: str = "") -> str:
        """What a host runs; ``before`` are lines that find out the variables."""
        exports = [f"export {name}={_quoted(v)}" for name, v in sorted(self.environment.items())]
        lines = ["#!/bin/sh", "set -eu", *before.splitlines(), *exports, f"exec {self.command}"]
        return "\n".join(lines) + "\n"


def torchrun(module: str, *, num_hosts: int, gpus_per_host: int, rest: str) -> str:
    """The launcher of PyTorch, one agent a host, ranks in the order of the hosts.

    Static rendezvous: the host rank decides the ranks, so the order that the plan chose holds.
    """
    return (
        f"torchrun --nnodes={num_hosts} --nproc-per-node={gpus_per_host} "
        f'--node-rank="${HOST_RANK}" --master-addr="${MASTER}" --master-port={MASTER_PORT} '
        f"--max-restarts=0 {module} {rest}"
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
