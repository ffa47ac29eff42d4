"""Replica groups as processes of this machine that outlive the driver.

They are started in sessions of their own and call the driver, whose address stands in
``control.json``; a later driver finds them by ``members.json`` and by their calls. A death is seen
at once, through a descriptor that the kernel makes readable (pidfd), child or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.errors import JobError
from gigafactory.describe.group import (
    INCARNATION_VARIABLE,
    REPLICA_VARIABLE,
    AnyGroupTold,
    Control,
    Here,
    Leave,
    Order,
    read_group_told,
)
from gigafactory.run.launchers.launcher import RankCommand

_READ_BYTES = 1 << 16
_LOOK_EVERY_S = 0.2
_STOP_TIMEOUT_S = 20.0
_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """One process's place: which group, which rank within it, and in which life."""

    replica: int
    rank: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One report."""

    seat: Seat
    report: AnyGroupTold


@dataclass(frozen=True, slots=True)
class Gone:
    """A process is gone; ``status`` as `subprocess` tells it, None where it was no child."""

    seat: Seat
    status: int | None


@dataclass(slots=True)
class _Process:
    seat: Seat
    pid: int
    since: str
    """When the kernel started it; a pid alone may mean somebody else by now."""
    child: subprocess.Popen[bytes] | None
    descriptor: int | None = None
    line: socket.socket | None = None


@dataclass(slots=True)
class _Caller:
    """A line, and whose it is once that is known."""

    link: socket.socket
    partial: bytes = b""
    seat: Seat | None = None


@dataclass(slots=True)
class GroupLauncher:
    """Starts, hears and ends the processes of all groups."""

    logs: Path
    control_file: Path
    members_file: Path
    wake_descriptor: int | None = None
    _processes: dict[Seat, _Process] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _server: socket.socket | None = None
    _secret: str = ""
    _out: dict[Seat, bytearray] = field(default_factory=dict)
    _is_noted: bool = True
    """Who lives stands in ``members_file``."""

    def open(self) -> None:
        """Listen, and say where; those who live already will call."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._secret = _old_secret(self.control_file) or secrets.token_hex(16)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._server.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ, self._server)
        if self.wake_descriptor is not None:
            self._selector.register(self.wake_descriptor, selectors.EVENT_READ, None)
        port = self._server.getsockname()[1]
        control = Control(address=f"127.0.0.1:{port}", secret=self._secret)
        _write(self.control_file, control.model_dump_json())

    def adopt(self) -> list[Seat]:
        """Take over the living processes of an earlier driver."""
        for seat, pid, since in _members(self.members_file):
            if _since(pid) == since:
                self._watch(_Process(seat, pid, since, None))
        return self.seats

    @property
    def seats(self) -> list[Seat]:
        """Of all processes that live."""
        return sorted(self._processes)

    def start(self, commands: Iterable[RankCommand], *, replica: int, incarnation: int) -> None:
        """The processes of one group; OSError where that is impossible, and then none runs."""
        begun: list[Seat] = []
        try:
            for command in commands:
                seat = Seat(replica, command.rank, incarnation)
                self._watch(self._spawn(seat, command))
                begun.append(seat)
        except OSError:
            self.kill(begun)
            raise
        finally:
            self._note_members()

    def tell(self, seat: Seat, order: Order) -> None:
        """Give an order; no effect where nobody listens, for what counts is said again."""
        self._out.setdefault(seat, bytearray()).extend(order.model_dump_json().encode() + b"\n")
        self._push(seat)

    def poll(self, timeout_s: float) -> list[Heard | Gone]:
        """What was told and who ended since the last call; waits ``timeout_s`` at most.

        All reports of a process come before its end.
        """
        if not self._is_noted:
            self._note_members()
        found: list[Heard | Gone] = []
        ended: list[_Process] = []
        for key, _ in self._selector.select(min(timeout_s, _LOOK_EVERY_S)):
            match key.data:
                case None:
                    os.read(key.fd, _READ_BYTES)
                case _Process() as process:
                    ended.append(process)
                case _Caller() as caller:
                    found += self._hear(caller)
                case _:
                    self._accept()
        if not hasattr(os, "pidfd_open"):
            ended += [p for p in self._processes.values() if not _lives(p)]
        for process in ended:
            found += self._bury(process)
        return found

    def kill(self, seats: Iterable[Seat]) -> None:
        """SIGKILL; when it returns these processes are gone, without a word in ``poll``.

        JobError where one does not end (it hangs in the kernel).
        """
        doomed = [self._processes[seat] for seat in seats if seat in self._processes]
        for process in doomed:
            if _lives(process):
                _kill(process.pid)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        for process in doomed:
            while _lives(process):
                if time.monotonic() > deadline_s:
                    raise JobError(
                        f"process {process.pid} (replica {process.seat.replica}) does not end "
                        "after SIGKILL; it probably waits for a disk that does not answer"
                    )
                time.sleep(0.002)
            self._forget(process)
        if doomed:
            self._note_members()

    def signal(self, seat: Seat, number: int) -> None:
        """Send a signal; no effect where the process is gone."""
        if seat in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._processes[seat].pid, number)

    def wants_processor(self, replica: int) -> bool:
        """Whether each process of a group has a thread that runs, or waits for nothing else than
        a processor (Linux; False where the system does not tell)."""
        pids = [p.pid for p in self._processes.values() if p.seat.replica == replica]
        return bool(pids) and all(_has_ready_thread(pid) for pid in pids)

    def close(self, *, kill: bool) -> None:
        """Listen no more; ``kill``: leave no process behind."""
        if kill:
            self.kill(self.seats)
            self.control_file.unlink(missing_ok=True)
            self.members_file.unlink(missing_ok=True)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Caller):
                key.data.link.close()
        for process in self._processes.values():
            if process.descriptor is not None:
                os.close(process.descriptor)
        if self._server is not None:
            self._server.close()
        self._selector.close()

    # -- processes

    def _spawn(self, seat: Seat, command: RankCommand) -> _Process:
        name = f"replica-{seat.replica}" + (f"-{seat.rank}" if seat.rank else "")
        life = {REPLICA_VARIABLE: str(seat.replica), INCARNATION_VARIABLE: str(seat.incarnation)}
        with (self.logs / f"{name}.log").open("ab") as log:
            log.write(f"--- incarnation {seat.incarnation}, rank {seat.rank}\n".encode())
            log.flush()
            child = subprocess.Popen(
                command.argv,
                env=os.environ | command.environment | life,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return _Process(seat, child.pid, _since(child.pid) or "", child)

    def _watch(self, process: _Process) -> None:
        self._processes[process.seat] = process
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(ProcessLookupError):
                process.descriptor = os.pidfd_open(process.pid)
                self._selector.register(process.descriptor, selectors.EVENT_READ, process)

    def _bury(self, process: _Process) -> Iterator[Heard | Gone]:
        """The last words of a process that ended, and its end."""
        if process.seat not in self._processes:
            return
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Caller) and key.data.link is process.line:
                yield from self._hear(key.data)
        status = process.child.poll() if process.child is not None else None
        _kill(process.pid)  # children of its own, if it had any
        self._forget(process)
        self._note_members()
        yield Gone(process.seat, status)

    def _forget(self, process: _Process) -> None:
        self._processes.pop(process.seat, None)
        self._out.pop(process.seat, None)
        if process.child is not None:
            process.child.poll()
        if process.descriptor is not None:
            self._selector.unregister(process.descriptor)
            os.close(process.descriptor)
            process.descriptor = None
        if process.line is not None:
            self._hang_up(process.line)
            process.line = None

    def _note_members(self) -> None:
        members = [asdict(p.seat) | {"pid": p.pid, "since": p.since}
                   for p in self._processes.values()]  # fmt: skip
        try:
            _write(self.members_file, json.dumps(members))
        except OSError:  # a full disk: a driver that comes after this one must know all the same
            self._is_noted = False
        else:
            self._is_noted = True

    # -- lines

    def _accept(self) -> None:
        assert self._server is not None
        with contextlib.suppress(BlockingIOError, ConnectionError):
            link = self._server.accept()[0]
            link.setblocking(False)
            self._selector.register(link, selectors.EVENT_READ, _Caller(link))

    def _hear(self, caller: _Caller) -> list[Heard | Gone]:
        chunks, is_open = [], True
        try:
            while chunk := caller.link.recv(_READ_BYTES):
                chunks.append(chunk)
            is_open = False
        except BlockingIOError:
            pass
        except OSError:
            is_open = False
        *lines, caller.partial = b"".join((caller.partial, *chunks)).split(b"\n")
        found: list[Heard | Gone] = [h for line in lines if (h := self._read(caller, line))]
        if not is_open or len(caller.partial) > _MAX_LINE_BYTES:
            self._hang_up(caller.link)
        return found

    def _read(self, caller: _Caller, line: bytes) -> Heard | None:
        try:
            report = read_group_told(line)
        except ValidationError:
            return None
        if isinstance(report, Here):
            caller.seat = self._seat_of(report, caller.link)
        seat = caller.seat
        return Heard(seat, report) if seat is not None and seat in self._processes else None

    def _seat_of(self, here: Here, link: socket.socket) -> Seat | None:
        """Whose line it is; None for strangers, and for lives that are over."""
        seat = Seat(here.replica, here.rank, here.incarnation)
        process = self._processes.get(seat)
        if here.secret != self._secret:
            return None
        if process is None or process.pid != here.pid:
            with contextlib.suppress(OSError):
                link.send(Leave().model_dump_json().encode() + b"\n")
            return None
        if process.line is not None and process.line is not link:
            self._hang_up(process.line)
        process.line = link
        self._push(seat)
        return seat

    def _push(self, seat: Seat) -> None:
        process, out = self._processes.get(seat), self._out.get(seat)
        if process is None or process.line is None or not out:
            return
        try:
            num = process.line.send(out)
        except BlockingIOError:
            return  # nobody reads: it is stopped, and will not be asked twice
        except OSError:
            return
        del out[:num]

    def _hang_up(self, link: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(link)
        link.close()
        for process in self._processes.values():
            if process.line is link:
                process.line = None


def _lives(process: _Process) -> bool:
    if process.child is not None and process.child.poll() is not None:
        return False
    # a zombie is dead, though somebody who traces it may keep its status to himself
    return _since(process.pid) == process.since


def _since(pid: int) -> str | None:
    """When the process began, in the kernel's ticks; None where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _without_proc(pid)
    # the first thread of a process that ends is a zombie while others still run
    is_over = fields[0] == "X" or (fields[0] == "Z" and _num_threads(pid) <= 1)
    return None if is_over else fields[19]


def _num_threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _without_proc(pid: int) -> str | None:
    """Where there is no /proc, a pid is all that is known."""
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return "alive"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _members(file: Path) -> Iterator[tuple[Seat, int, str]]:
    try:
        for member in json.loads(file.read_text()):
            seat = Seat(member["replica"], member["rank"], member["incarnation"])
            yield seat, int(member["pid"]), str(member["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return


def _old_secret(file: Path) -> str | None:
    try:
        return Control.model_validate_json(file.read_text()).secret
    except (OSError, ValueError):
        return None


def _has_ready_thread(pid: int) -> bool:
    """Any thread in state R of proc(5); one that was stopped, or sleeps, is in another."""
    try:
        stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False
    return any(stat.rpartition(")")[2].split()[:1] == ["R"] for stat in stats)


def _write(file: Path, text: str) -> None:
    """Whole or not at all, for nobody else to read."""
    beside = file.with_name(file.name + ".tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    beside.rename(file)
