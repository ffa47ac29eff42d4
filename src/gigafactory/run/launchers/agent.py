"""The driver's hand on one host: ``python -m gigafactory.run.launchers.agent --meet FILE``.

A scheduler starts one agent a host. It connects to the driver, starts and ends ranks as it is
told, and passes on what they tell. It lives through many generations, so that a new gang costs no
new job step; and nothing outlives it: ranks die with their agent, and the agent ends when the
driver is gone or silent for too long, because by then the driver has given it up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.errors import JobError
from gigafactory.run.launchers import wire
from gigafactory.run.launchers.interfaces import interface_of
from gigafactory.run.launchers.launcher import Ended, Line, RankCommand
from gigafactory.run.launchers.warm_local import WarmLauncher, Wish

BEAT_S = 1.0
#: Without a word from the driver for so long, it has given this agent up.
DRIVER_SILENCE_S = 30.0
_CONNECT_S = 20.0
_KNOCK_S = 1.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the driver listens, and what proves it; one file in the run's folder."""

    port: int
    secret: bytes
    logs: Path
    address: str = ""
    """Empty: where the job step was launched from, as the scheduler tells."""

    def write(self, path: Path) -> None:
        """For the owner's eyes only, whole or not at all."""
        draft = path.with_suffix(".part")
        draft.unlink(missing_ok=True)
        words = {
            "port": self.port,
            "secret": self.secret.hex(),
            "logs": str(self.logs),
            "address": self.address,
        }
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(words, file)
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Meeting:
        """The inverse."""
        words = json.loads(path.read_text())
        return cls(
            words["port"], bytes.fromhex(words["secret"]), Path(words["logs"]), words["address"]
        )


@dataclass(slots=True)
class Agent:
    """One connection to the driver and the ranks of this host."""

    link: socket.socket
    launcher: WarmLauncher
    waker: int
    _orders: queue.SimpleQueue[wire.AnySaid | None] = field(default_factory=queue.SimpleQueue)
    _heard_s: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, rest: bytes) -> None:
        """Until the driver says so, or is gone."""
        threading.Thread(target=self._listen, args=(rest,), daemon=True).start()
        beaten_s = 0.0
        while self._obey():
            for seen in self.launcher.poll(_POLL_S):
                if isinstance(seen, Line):
                    text = seen.text.decode(errors="replace")
                    self._say(wire.Told(rank=seen.rank, text=text))
                elif isinstance(seen, Ended):
                    self._say(wire.Over(rank=seen.rank, status=seen.status))
            now_s = time.monotonic()
            if now_s - beaten_s >= BEAT_S:
                beaten_s = now_s
                self._say(wire.Beat())
            if now_s - self._heard_s > DRIVER_SILENCE_S:
                return

    def _listen(self, partial: bytes) -> None:
        """Orders into the queue; None at the end."""
        with contextlib.suppress(OSError, ValidationError):
            while chunk := self.link.recv(1 << 16):
                self._heard_s = time.monotonic()
                *lines, partial = (partial + chunk).split(b"\n")
                for line in lines:
                    self._orders.put(wire.read_said(line))
                if lines:
                    self._wake()
        self._orders.put(None)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self.waker, b"!")

    def _obey(self) -> bool:
        """Everything that was ordered; False when it is time to go."""
        while not self._orders.empty():
            order = self._orders.get()
            if order is None or isinstance(order, wire.Leave):
                return False
            self._do(order)
        return True

    def _do(self, order: wire.AnySaid) -> None:
        match order:
            case wire.Start():
                self._start(order)
            case wire.Stop(turn=turn):
                self.launcher.stop()
                self._say(wire.Stopped(turn=turn))
            case wire.Signal(rank=rank, number=number):
                self.launcher.signal(rank, number)
            case wire.Prepare():
                wish = Wish(order.count, order.modules, order.environment)
                self.launcher.prepare(wish, after_s=order.after_s)
            case wire.Knock():
                self._aside(self._knock, order)
            case wire.Examine():
                self._aside(self._examine, order)
            case _:
                pass

    @staticmethod
    def _aside(work: object, order: wire.AnySaid) -> None:
        threading.Thread(target=work, args=(order,), daemon=True).start()  # type: ignore[arg-type]

    def _start(self, order: wire.Start) -> None:
        commands = [
            RankCommand(rank=r.rank, host=r.host, argv=r.argv, environment=r.environment)
            for r in order.ranks
        ]
        try:
            self.launcher.stop()
            self.launcher.start(commands, generation=order.generation)
        except (OSError, JobError) as error:
            self._say(wire.NotStarted(generation=order.generation, reason=str(error)))

    def _knock(self, order: wire.Knock) -> None:
        answers = answers_at(order.address, order.port, timeout_s=_KNOCK_S) is True
        self._say(wire.Knocked(turn=order.turn, host=order.host, answers=answers))

    def _examine(self, order: wire.Examine) -> None:
        try:
            done = subprocess.run(
                order.argv,
                env=os.environ | order.environment,
                capture_output=True,
                text=True,
                timeout=order.timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self._say(wire.Examined(reason=str(error), clock_s=time.time()))
            return
        last = (done.stdout.strip().splitlines() or [""])[-1]
        why = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        is_good = done.returncode == 0 and last
        words = {"report": last} if is_good else {"reason": why}
        self._say(wire.Examined(**words, clock_s=time.time()))

    def _say(self, said: wire.Said) -> None:
        # a driver that is gone is noticed by whoever listens
        with contextlib.suppress(OSError), self._lock:
            self.link.sendall(said.line())


def answers_at(address: str, port: int, *, timeout_s: float) -> bool | None:
    """True: somebody listens there; False: the host says nobody does; None: silence."""
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    return True


def greet(link: socket.socket, *, host: str, secret: bytes) -> bytes:
    """Prove who we are and see the driver prove it too; what it said beyond that is returned.

    ConnectionError where the other side is not our driver.
    """
    stream, nonce = b"", secrets.token_hex(16)

    def next_line() -> wire.AnySaid:
        nonlocal stream
        while b"\n" not in stream:
            chunk = link.recv(1 << 16)
            if not chunk:
                raise ConnectionError("the driver hung up")
            stream += chunk
        line, stream = stream.split(b"\n", 1)
        return wire.read_said(line)

    challenge = next_line()
    if not isinstance(challenge, wire.Challenge):
        raise ConnectionError("whoever listens there is not the driver")
    address = link.getsockname()[0]
    link.sendall(
        wire.Hello(
            host=host,
            proof=wire.proof(secret, nonce=challenge.nonce, role=f"agent {host}"),
            nonce=nonce,
            interface=interface_of(address),
            address=address,
        ).line()
    )
    welcome = next_line()
    if not isinstance(welcome, wire.Welcome) or not wire.is_proof(
        welcome.proof, secret, nonce=nonce, role="driver"
    ):
        raise ConnectionError("whoever listens there does not know the secret of this run")
    return stream


def main() -> None:
    """Serve until the driver is done or gone."""
    parser = argparse.ArgumentParser(prog="python -m gigafactory.run.launchers.agent")
    parser.add_argument("--meet", type=Path, required=True, help="file with the driver's address")
    parser.add_argument("--host", default="", help="this host's name at the scheduler")
    given = parser.parse_args()
    _end_with(os.getppid())
    meeting = Meeting.read(given.meet)
    host = given.host or os.environ.get("SLURMD_NODENAME", "") or socket.gethostname()
    address = meeting.address or os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    launcher = WarmLauncher(meeting.logs, wake)
    try:
        with socket.create_connection((address, meeting.port), timeout=_CONNECT_S) as link:
            rest = greet(link, host=host, secret=meeting.secret)
            link.settimeout(None)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Agent(link, launcher, waker).serve(rest)
    except (OSError, ValidationError) as error:
        sys.exit(f"agent on {host}: driver at {address}:{meeting.port}: {error}")
    finally:
        launcher.stop()
        launcher.close()
    # threads that measure or knock may still run: whatever they find, nobody waits for it
    os._exit(0)


def _end_with(parent: int) -> None:
    """The kernel kills this process when its parent ends (Linux): no agent without its step."""
    import ctypes
    import signal

    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("agent: its job step is gone")


if __name__ == "__main__":
    main()
