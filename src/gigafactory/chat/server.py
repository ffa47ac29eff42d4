"""Serving until Ctrl-C or SIGTERM: on loopback, or with keys to other machines too."""

from __future__ import annotations

import errno
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import uvicorn

from gigafactory.chat.app import make_gateway
from gigafactory.chat.engine import Engine, Origin
from gigafactory.chat.engines import as_answerers
from gigafactory.chat.guard import is_loopback
from gigafactory.chat.service import Service
from gigafactory.chat.smollm import why_missing
from gigafactory.describe.errors import InputError

_SHUTDOWN_S = 3
_NUM_PORTS_TRIED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a service listens, and how it ends."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any that is free."""
    origins: Sequence[str] = ()
    """Web pages from elsewhere that may use it."""
    drain_s: int = 30
    """After SIGTERM answers under way may take so long; after Ctrl-C three seconds."""


def serve(
    engines: Sequence[Engine],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    max_waiting: int = 8,
    on_ready: Callable[[str], object] | None = None,
) -> None:
    """Answer until interrupted; ``on_ready`` gets the address once the door is open.

    ``max_waiting`` requests may wait for each engine. Port 0 takes any free one. InputError where
    the host is not loopback or the port cannot be had.
    """
    if not engines:
        raise InputError("no model to serve: open_engines() says how to get one")
    answerers = as_answerers(engines, max_waiting=max_waiting)
    pretrained = any(engine.origin is Origin.PRETRAINED for engine in engines)
    service = Service(answerers, notice=None if pretrained else why_missing())
    serve_service(service, door=Door(host=host, port=port), on_ready=on_ready)


def serve_service(
    service: Service, *, door: Door, on_ready: Callable[[str], object] | None = None
) -> None:
    """Answer until SIGINT or SIGTERM; requests under way are answered first, as ``door`` says.

    InputError where the port cannot be had, or where a service without keys would be open to
    other machines.
    """
    wants_keys = service.gate.keys is not None
    if wants_keys and not is_loopback(door.host):
        listening = _listen(door.host, port=door.port)
    else:
        listening = listen(door.host, port=door.port)
    app = make_gateway(service, only_local=not wants_keys, origins=door.origins)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, timeout_graceful_shutdown=_SHUTDOWN_S
    )
    try:
        server = _Server(config, url=address(listening), on_ready=on_ready)
        server.service, server.drain_s = service, door.drain_s
        # all that the start made stays; each look through it would halt every answer for a while
        gc.collect()
        gc.freeze()
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # the ordinary end; uvicorn has closed everything and hands the signal on
    finally:
        gc.unfreeze()
        listening.close()


def listen(host: str, *, port: int) -> socket.socket:
    """A socket bound to a loopback address; InputError names what is wrong and an alternative."""
    if not is_loopback(host):
        raise InputError(
            f"host {host!r} is not loopback; the chat has no passwords, so it serves this machine "
            "only: use 127.0.0.1 and, from elsewhere, an ssh tunnel, or give it keys with --store"
        )
    return _listen(host, port=port)


def _listen(host: str, *, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"port {port} does not exist; take one from 1024 to 65535")
    try:
        return _bound(host, port)
    except OSError as error:
        raise InputError(_refusal(error, host=host, port=port)) from None


def _refusal(error: OSError, *, host: str, port: int) -> str:
    reason = {errno.EADDRINUSE: "is taken", errno.EACCES: "needs more rights"}.get(
        error.errno or 0, f"cannot be had ({error.strerror})"
    )
    free = _free_port(host, above=max(port, 1023))
    hint = f"{free} is free" if free else "name another with --port"
    return f"port {port} on {host} {reason}; {hint}"


def _free_port(host: str, *, above: int) -> int | None:
    for port in range(above + 1, min(above + 1 + _NUM_PORTS_TRIED, 65536)):
        try:
            _bound(host, port).close()
        except OSError:
            continue
        return port
    return None


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay (40 ms an answer) off only where the protocol is named
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # without it, two sockets with REUSEADDR may hold one port
    except OSError:
        listening.close()
        raise
    return listening


def address(listening: socket.socket) -> str:
    """The address of a bound socket, for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Server(uvicorn.Server):
    """Tells when it is ready."""

    def __init__(
        self, config: uvicorn.Config, *, url: str, on_ready: Callable[[str], object] | None
    ) -> None:
        super().__init__(config)
        self._url = url
        self._on_ready = on_ready
        self.service: Service | None = None
        self.drain_s = _SHUTDOWN_S

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM, which orchestrators send, leaves more time than Ctrl-C."""
        if sig == signal.SIGTERM:
            self.config.timeout_graceful_shutdown = self.drain_s
        if self.service is not None:
            self.service.is_closing = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self._url)
