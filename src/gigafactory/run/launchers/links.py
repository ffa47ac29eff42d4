"""The driver's connections to its agents: who is there, what they say, who went.

One thread, no blocking: a host that does not read or a stranger that connects and keeps quiet
holds nobody up.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from gigafactory.run.launchers import wire

_READ_BYTES = 1 << 16
_GREETING_S = 10.0
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Heard:
    """An agent said this; a Hello means that it just came."""

    host: str
    said: wire.AnySaid


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection to the agent of ``host`` is gone."""

    host: str


@dataclass(slots=True, eq=False)
class _Link:
    socket: socket.socket
    nonce: str
    since_s: float
    host: str = ""
    """Empty until it proved itself."""
    unread: bytes = b""
    unsent: bytes = b""
    heard_s: float = 0.0
    hello: wire.Hello | None = None


@dataclass(slots=True)
class Links:
    """Every agent that proved to be ours; ``hosts`` are those that may come."""

    secret: bytes
    hosts: frozenset[str]
    wake_descriptor: int | None = None
    """Readable when ``listen`` must return early."""
    _listener: socket.socket = field(init=False)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _all: set[_Link] = field(default_factory=set)
    _of: dict[str, _Link] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        if self.wake_descriptor is not None:
            self._selector.register(self.wake_descriptor, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """Where agents are to connect."""
        return int(self._listener.getsockname()[1])

    def __contains__(self, host: str) -> bool:
        return host in self._of

    def hello(self, host: str) -> wire.Hello:
        """How the agent of ``host`` introduced itself; KeyError where it is not there."""
        found = self._of[host].hello
        assert found is not None
        return found

    def silence_s(self, host: str) -> float:
        """Since the agent last said anything."""
        return time.monotonic() - self._of[host].heard_s

    def say(self, host: str, said: wire.Said) -> None:
        """Sent as soon as the host takes it; no effect where its agent is not there."""
        link = self._of.get(host)
        if link is not None:
            self._send(link, said.line())

    def listen(self, timeout_s: float) -> list[Heard | Broken]:
        """What came in; waits ``timeout_s`` at most for something to come."""
        found: list[Heard | Broken] = []
        for key, events in self._selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, _Link):
                if events & selectors.EVENT_WRITE:
                    self._send(key.data, b"")
                if events & selectors.EVENT_READ:
                    found += self._read(key.data)
            else:
                os.read(key.fd, _READ_BYTES)
        self._drop_strangers()
        return found

    def hang_up(self, host: str) -> None:
        """Forget the agent; it ends itself. No Broken is told."""
        if host in self._of:
            self._close(self._of[host])

    def close(self) -> None:
        """Hang up on everybody and listen no more."""
        for link in list(self._all):
            self._close(link)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link = _Link(accepted, secrets.token_hex(16), time.monotonic())
                self._all.add(link)
                self._selector.register(accepted, selectors.EVENT_READ, link)
                self._send(link, wire.Challenge(nonce=link.nonce).line())

    def _drop_strangers(self) -> None:
        now_s = time.monotonic()
        for link in [a for a in self._all if not a.host and now_s - a.since_s > _GREETING_S]:
            self._close(link)

    def _send(self, link: _Link, more: bytes) -> None:
        link.unsent += more
        with contextlib.suppress(BlockingIOError):
            try:
                while link.unsent:
                    link.unsent = link.unsent[link.socket.send(link.unsent) :]
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                link.unsent = b""  # reading tells that it is broken
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.unsent else 0)
        self._selector.modify(link.socket, wanted, link)

    def _read(self, link: _Link) -> Iterator[Heard | Broken]:
        found: list[Heard | Broken] = []
        try:
            chunk = link.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return iter(found)
        except OSError:
            chunk = b""
        *lines, link.unread = (link.unread + chunk).split(b"\n")
        link.heard_s = time.monotonic()
        for line in lines:
            try:
                said = wire.read_said(line)
            except ValidationError:
                chunk = b""  # no agent of ours
                break
            if not link.host and not self._proves(link, said):
                chunk = b""
                break
            found.append(Heard(link.host, said))
        if not chunk or len(link.unread) > wire.MAX_LINE_BYTES:
            host = link.host
            self._close(link)
            found += [Broken(host)] if host else []
        return iter(found)

    def _proves(self, link: _Link, said: wire.AnySaid) -> bool:
        """A newcomer must be one of our hosts and know the secret; a newer agent replaces older."""
        if not isinstance(said, wire.Hello) or said.host not in self.hosts:
            return False
        role = f"agent {said.host}"
        if not wire.is_proof(said.proof, self.secret, nonce=link.nonce, role=role):
            return False
        self.hang_up(said.host)
        link.host, link.hello = said.host, said
        self._of[said.host] = link
        welcome = wire.Welcome(proof=wire.proof(self.secret, nonce=said.nonce, role="driver"))
        self._send(link, welcome.line())
        return True

    def _close(self, link: _Link) -> None:
        self._selector.unregister(link.socket)
        link.socket.close()
        self._all.discard(link)
        if self._of.get(link.host) is link:
            del self._of[link.host]
