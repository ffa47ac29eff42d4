"""The line to the driver: reports up, orders down, and a driver that dies is waited for.

A thread of its own keeps the line, so that hearts beat whatever the main thread does, and so that
no report ever holds training up. Where the line breaks, training goes on: the thread calls again
at whatever address ``control.json`` names by then, and says once more what may not have been
heard. After ``orphan_s`` without a driver the process ends itself.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.group import (
    Alive,
    AnyOrder,
    Compare,
    Control,
    Doing,
    Halt,
    Here,
    Leave,
    Proceed,
    Regroup,
    Save,
    Stepped,
    read_order,
)
from gigafactory.describe.rank import CheckpointCommitted, Finished, Told

_ORPHANED = 3
#: The main thread has the number of the process.
_MAIN_SCHEDSTAT = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/schedstat")
_CALL_EVERY_S = 0.1
_READ_BYTES = 1 << 16
#: Whoever has nothing to do shows that it lives.
_IDLE_BEAT_S = 0.2
#: Reports that are said again to a new driver.
_NUM_REPEATED = 512
_REPEATED = (Stepped, CheckpointCommitted, Finished)
#: Reports that wait for a driver that does not read; older ones are dropped.
_NUM_WAITING = 4096


class Pulse:
    """What the main thread is at; written by it alone, read by the line's thread."""

    def __init__(self) -> None:
        self.doing = Doing.PREPARING
        self.beats = 0
        self.epoch = 0
        self.waits_for: tuple[int, ...] = ()
        self._was = Doing.IDLE

    def beat(self, doing: Doing) -> None:
        """A piece of work begins."""
        self.doing, self.waits_for = doing, ()
        self.beats += 1

    def wait_for(self, replicas: tuple[int, ...]) -> None:
        """Nothing can be done before these speak; (): they did. Said again and again meanwhile, so
        that whoever hangs while it waits is told apart from those that wait for it."""
        if replicas and not self.waits_for:
            self._was = self.doing
        self.beats += 1
        self.waits_for = replicas
        self.doing = Doing.WAITING if replicas else self._was

    def told(self) -> Alive:
        """For the driver."""
        return Alive(
            doing=self.doing, beats=self.beats, epoch=self.epoch, waits_for=self.waits_for,
            starved_s=_starved_s(),
        )  # fmt: skip


def _starved_s() -> float:
    """How long the main thread waited for a processor (Linux: proc(5), schedstat); else 0."""
    try:
        words = _MAIN_SCHEDSTAT.read_text().split()
        return int(words[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Line:
    """One process's line to whoever drives."""

    def __init__(
        self,
        control_file: Path,
        *,
        here: Callable[[], Here],
        pulse: Pulse,
        heartbeat_s: float,
        orphan_s: float,
    ) -> None:
        self._file = control_file
        self._here = here
        self._pulse = pulse
        self._heartbeat_s = heartbeat_s
        self._orphan_s = orphan_s
        self._socket: socket.socket | None = None
        self._out = bytearray()
        self._waiting: deque[Told] = deque(maxlen=_NUM_WAITING)
        self._said: deque[Told] = deque(maxlen=_NUM_REPEATED)
        self._in = b""
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._orders = threading.Condition()
        self._regroup: Regroup | None = None
        self._halt: Halt | None = None
        self._halted = -1
        self._must_save = False
        self._about_held: Compare | Proceed | None = None
        self._thread = threading.Thread(target=self._keep, name="line", daemon=True)

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    # -- for the main thread

    def tell(self, report: Told) -> None:
        """Say it as soon as somebody listens; never blocks."""
        self._waiting.append(report)
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"!")

    def flush(self, *, timeout_s: float) -> None:
        """Wait until all is said, for so long at the most."""
        deadline_s = time.monotonic() + timeout_s
        while (self._waiting or self._out) and time.monotonic() < deadline_s:
            time.sleep(0.01)

    @property
    def is_interrupted(self) -> bool:
        """Whether an order ends the epoch at once."""
        regroup = self._regroup
        return self._halt is not None or (regroup is not None and regroup.at_once)

    @property
    def newest_epoch(self) -> int:
        """The newest one that was ordered and is not begun yet; 0: none."""
        regroup = self._regroup
        return regroup.epoch if regroup is not None else 0

    def begin(self, epoch: int) -> None:
        """This epoch begins: an order for it, or for an earlier one, is no news any more."""
        with self._orders:
            if self._regroup is not None and self._regroup.epoch <= epoch:
                self._regroup = None

    def halt(self, token: int) -> None:
        """This order to halt is followed, whether it came here yet or not: the first process of a
        group takes orders for all."""
        with self._orders:
            self._halted = max(self._halted, token)
            if self._halt is not None and self._halt.token <= token:
                self._halt = None

    def take_save(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        wanted, self._must_save = self._must_save, False
        return wanted

    def take(self) -> Regroup | Halt | None:
        """The newest order about the epoch, at once; None: there is none."""
        with self._orders:
            if self._halt is not None:
                order, self._halt = self._halt, None
                return order
            regroup, self._regroup = self._regroup, None
            return regroup

    def next(self) -> Regroup | Halt:
        """The same, waiting for one."""
        while (order := self.take()) is None:
            with self._orders:
                if self._halt is None and self._regroup is None:
                    self._orders.wait(_IDLE_BEAT_S)
            self._pulse.beats += 1
        return order

    def next_about_held(self, *, timeout_s: float) -> Compare | Proceed | None:
        """The newest order about a step that is held; None: none came, or the epoch is to end."""
        with self._orders:
            if self._about_held is None and not self.is_interrupted:
                self._orders.wait(timeout_s)
            order, self._about_held = self._about_held, None
        self._pulse.beats += 1
        return order

    # -- the thread

    def _keep(self) -> None:
        alone_since_s = time.monotonic()
        while True:
            if self._call():
                self._converse()
                alone_since_s = time.monotonic()
            elif time.monotonic() - alone_since_s > self._orphan_s:
                os._exit(_ORPHANED)
            time.sleep(_CALL_EVERY_S)

    def _call(self) -> bool:
        try:
            control = Control.model_validate_json(self._file.read_text())
            host, _, port = control.address.rpartition(":")
            link = socket.create_connection((host, int(port)), timeout=2.0)
        except (OSError, ValueError):
            return False
        link.setblocking(False)
        self._socket, self._in = link, b""
        self._out = bytearray(_line(self._here()))
        for report in self._said:
            self._out += _line(report)
        return True

    def _converse(self) -> None:
        """Until the line breaks."""
        assert self._socket is not None
        beat_s = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                if time.monotonic() >= beat_s:
                    beat_s = time.monotonic() + self._heartbeat_s
                    if len(self._out) < _READ_BYTES:
                        self._out += _line(self._pulse.told())
                self._take_reports()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
                selector.modify(self._socket, wanted)
                ready = selector.select(max(0.0, beat_s - time.monotonic()))
                if not self._serve({key.fd: mask for key, mask in ready}):
                    break
        self._socket.close()

    def _take_reports(self) -> None:
        while self._waiting and len(self._out) < _READ_BYTES:
            report = self._waiting[0]
            if isinstance(report, _REPEATED):
                self._said.append(report)
            self._out += _line(report)
            self._waiting.popleft()

    def _serve(self, ready: dict[int, int]) -> bool:
        assert self._socket is not None
        if self._wake in ready:
            os.read(self._wake, _READ_BYTES)
        mask = ready.get(self._socket.fileno(), 0)
        try:
            if mask & selectors.EVENT_WRITE and self._out:
                num = self._socket.send(self._out)
                del self._out[:num]
            if mask & selectors.EVENT_READ:
                return self._hear(self._socket.recv(_READ_BYTES))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _hear(self, chunk: bytes) -> bool:
        *lines, self._in = (self._in + chunk).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValidationError):
                self._obey(read_order(line))
        return bool(chunk)

    def _obey(self, order: AnyOrder) -> None:
        match order:
            case Leave():
                os._exit(0)
            case Save():
                self._must_save = True
            case Compare() | Proceed():
                with self._orders:
                    self._about_held = order
                    self._orders.notify_all()
            case Halt():
                with self._orders:
                    if order.token > self._halted:
                        self._halt, self._regroup = order, None
                    self._orders.notify_all()
            case Regroup():
                self._take_regroup(order)

    def _take_regroup(self, order: Regroup) -> None:
        with self._orders:
            before = self._regroup
            if order.epoch <= self._pulse.epoch or (before and order.epoch <= before.epoch):
                return  # said again by a new driver
            if before is not None and before.at_once and not order.at_once:
                # what came before was not begun yet: still at once
                order = order.model_copy(update={"at_once": True})
            self._regroup = order
            self._orders.notify_all()


def _line(report: Told) -> bytes:
    return report.model_dump_json().encode() + b"\n"
