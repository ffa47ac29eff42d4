"""A real Slurm on this one machine: munged, slurmctld and several slurmd in a temporary folder.

Root only, as slurmd is. Every process started here is ended by ``stop``, however it went.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_PATIENCE_S = 60.0

#: Every node is this machine; nothing is asked of the kernel that a container would refuse.
_CONF = """\
ClusterName=giga-mini
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ctld_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2,sched_min_interval=0
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge={min_job_age_s}
KillWait=2
SlurmdTimeout=300
MailProg=/bin/true
TreeWidth=16
{more}
"""


def why_not() -> str | None:
    """Why no Slurm can be started here; None where it can."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; as root: make slurm"
    return None if os.geteuid() == 0 else "slurmd must be started by root"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class MiniSlurm:
    """``with MiniSlurm.started(folder, num_nodes=4) as slurm:`` ; commands need ``environment``."""

    folder: Path
    nodes: tuple[str, ...]
    ports: dict[str, int]
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, folder: Path, *, num_nodes: int, min_job_age_s: int = 300, topology: str = ""
    ) -> Iterator[MiniSlurm]:
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o755)
        nodes = tuple(f"n{index}" for index in range(1, num_nodes + 1))
        ctld_port, *ports = _free_ports(num_nodes + 1)
        slurm = cls(folder, nodes, dict(zip(nodes, ports, strict=True)))
        slurm._write(ctld_port, min_job_age_s=min_job_age_s, topology=topology)
        try:
            slurm._start_munge()
            slurm._start_controller()
            for node in nodes:
                slurm.start_node(node)
            slurm.until_idle()
            yield slurm
        finally:
            slurm.stop()

    @classmethod
    @contextlib.contextmanager
    def controller(cls, folder: Path, files: Mapping[str, str]) -> Iterator[MiniSlurm]:
        """A slurmctld alone that reads ``files``; their slurm.conf names munge.socket in the folder
        and port ``PORT``."""
        (folder / "state").mkdir(parents=True)
        port = _free_ports(1)[0]
        for name, text in files.items():
            (folder / name).write_text(text.replace("PORT", str(port)))
        slurm = cls(folder, (), {})
        try:
            slurm._start_munge()
            slurm._start_controller()
            yield slurm
        finally:
            slurm.stop()

    def until_answering(self) -> float:
        """Seconds until the controller works; AssertionError with its words where it ends."""
        begun_s = time.monotonic()

        def is_answering() -> bool:
            assert self._daemons["slurmctld"].poll() is None, self.log("slurmctld")
            argv = ["scontrol", "ping"]
            done = subprocess.run(
                argv, env=os.environ | self.environment, capture_output=True, check=False
            )
            return done.returncode == 0

        _until(is_answering, "slurmctld to answer")
        return time.monotonic() - begun_s

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """For this Slurm's commands."""
        return {"SLURM_CONF": str(self.conf)}

    def run(self, *argv: str) -> str:
        """What a command of this Slurm prints."""
        done = subprocess.run(
            argv, env=os.environ | self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def start_node(self, node: str) -> None:
        self._start("slurmd", ["-D", "-N", node, "-f", str(self.conf)], name=node)

    def kill_node(self, node: str) -> float:
        """SIGKILL to one slurmd and everything below it, as if the power went; when that was."""
        doomed = _tree(self._daemons[node].pid) + _steps_of(node, self.folder)
        at_s = time.monotonic()
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._daemons.pop(node).wait()
        return at_s

    def forget_jobs(self) -> None:
        """The controller begins anew, without its state."""
        daemon = self._daemons.pop("slurmctld")
        daemon.terminate()
        daemon.wait()
        self._start_controller()
        self.until_idle()

    def stop(self) -> None:
        """End every daemon and whatever runs below it."""
        pids = [pid for daemon in self._daemons.values() for pid in _tree(daemon.pid)]
        pids += [pid for node in self.nodes for pid in _steps_of(node, self.folder)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")

    def _write(self, ctld_port: int, *, min_job_age_s: int, topology: str) -> None:
        host = socket.gethostname()
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 "
            "RealMemory=1000 State=UNKNOWN"
            for node, port in self.ports.items()
        ]
        lines.append(f"PartitionName=all Nodes={','.join(self.nodes)} Default=YES MaxTime=INFINITE")
        if topology:
            lines.insert(0, "TopologyPlugin=topology/tree")
            (self.folder / "topology.conf").write_text(topology)
        self.conf.write_text(
            _CONF.format(
                host=host, folder=self.folder, ctld_port=ctld_port, more="\n".join(lines),
                min_job_age_s=min_job_age_s,
            )
        )  # fmt: skip
        (self.folder / "state").mkdir(exist_ok=True)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        place = {name: f"--{name}={self.folder}/munge.{name.split('-')[0]}"
                 for name in ("socket", "pid-file", "log-file", "seed-file")}  # fmt: skip
        self._start("munged", ["--foreground", "--force", f"--key-file={key}", *place.values()])
        _until((self.folder / "munge.socket").exists, "munged")

    # the kernel ends a daemon whose test was killed, so that none is left
    def _start(self, program: str, arguments: Sequence[str], *, name: str = "") -> None:
        path = _program(program)
        assert path
        with (self.folder / f"{name or program}.out").open("ab") as out:
            self._daemons[name or program] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", path, *arguments],
                env=os.environ | self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def _start_controller(self) -> None:
        self._start("slurmctld", ["-D", "-c", "-f", str(self.conf)])

    def mend(self) -> None:
        """Nodes that were killed or set aside are back."""
        for node in self.nodes:
            if node not in self._daemons:
                self.start_node(node)
        self.until_idle()

    def until_idle(self) -> None:
        """All nodes are there and have nothing to do; those set aside are taken back first."""

        def is_idle() -> bool:
            for name, daemon in self._daemons.items():
                assert daemon.poll() is None, f"{name} ended:\n{self.log(name)}"
            states = self._states()
            for node, state in states.items():
                if state.strip("*") in ("drain", "down", "drng"):
                    self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
            return list(states.values()) == ["idle"] * len(self.nodes)

        _until(is_idle, "all nodes to be idle")

    def _states(self) -> dict[str, str]:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N %t"], env=os.environ | self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return dict(line.split() for line in done.stdout.splitlines())


def _until(condition, what: str) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited too long for {what}"
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; below those that the kernel gives to outgoing connections."""
    found: list[int] = []
    port = 17000 + os.getpid() % 97 * 100
    while len(found) < count:
        port += 1
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def _processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent, command line) of everything that runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                yield int(entry.name), parent, line


def _tree(root: int) -> list[int]:
    return _below({root})


def _steps_of(node: str, folder: Path) -> list[int]:
    """What slurmd started left it: tasks name their node, and slurmstepd is their parent."""
    rows, roots = list(_processes()), set()
    stepds = {pid for pid, _, line in rows if line.startswith("slurmstepd")}
    for pid, parent, _ in rows:
        with contextlib.suppress(OSError):
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            marks = (f"SLURMD_NODENAME={node}", f"SLURM_CONF={folder}/slurm.conf")
            if all(mark.encode() in variables for mark in marks):
                roots |= {pid} | ({parent} & stepds)
    return _below(roots)


def _below(roots: set[int]) -> list[int]:
    found, rows = set(roots), list(_processes())
    grown = True
    while grown:
        more = {pid for pid, parent, _ in rows if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found)
