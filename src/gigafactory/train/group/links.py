"""The links between replica groups: one TCP connection a pair, made anew for each epoch.

Nothing here waits for longer than it is allowed to: a peer that vanishes is `PeerGone` at once,
and whatever else ends an epoch comes in through ``interrupted``. So there is no timeout to tune,
and no store, lighthouse or rendezvous whose death could stop anybody.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import selectors
import socket
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_HEAD = struct.Struct("!IQ")
"""Tag and length of a message."""
_MAX_HELLO_BYTES = 4096
_CHUNK_BYTES = 1 << 20
#: The longest that ``interrupted`` goes unasked.
_LOOK_EVERY_S = 0.05

Buffer = bytes | bytearray | memoryview


class PeerGone(ConnectionError):  # noqa: N818 - a fact, not a fault of ours
    """A peer of the epoch closed its link, or cannot be reached."""

    def __init__(self, replica: int) -> None:
        super().__init__(f"replica {replica} is gone")
        self.replica = replica


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """An order came that ends the epoch."""


class Listener:
    """Where peers call; it lives as long as the process."""

    def __init__(self, *, secret: str, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_server((host, 0), backlog=64)
        self._socket.setblocking(False)
        self._secret = secret
        self._early: dict[tuple[int, int], socket.socket] = {}
        """(epoch, replica) of callers who were told of an epoch before us."""

    @property
    def address(self) -> str:
        """host:port."""
        host, port = self._socket.getsockname()[:2]
        return f"{host}:{port}"

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def callers(self, epoch: int) -> dict[int, socket.socket]:
        """Whoever called for ``epoch`` since the last look; callers of older ones are refused."""
        while (link := self._accept()) is not None:
            hello = _hello(link, self._secret)
            if hello is None or hello[0] < epoch:
                link.close()
            else:
                self._keep(hello, link)
        found = {replica: self._early.pop((e, replica)) for e, replica in [*self._early]
                 if e == epoch}  # fmt: skip
        for key in [key for key in self._early if key[0] < epoch]:
            self._early.pop(key).close()
        return found

    def close(self) -> None:
        """No more callers."""
        for link in self._early.values():
            link.close()
        self._socket.close()

    def _keep(self, hello: tuple[int, int], link: socket.socket) -> None:
        if hello in self._early:
            self._early.pop(hello).close()
        self._early[hello] = link

    def _accept(self) -> socket.socket | None:
        try:
            return self._socket.accept()[0]
        except (BlockingIOError, ConnectionError):
            return None


def _hello(link: socket.socket, secret: str) -> tuple[int, int] | None:
    """(epoch, replica) of a caller that knows the secret."""
    link.settimeout(1.0)
    try:
        (length,) = struct.unpack("!I", _exactly(link, 4))
        said = json.loads(_exactly(link, min(length, _MAX_HELLO_BYTES)))
        known = hmac.compare_digest(str(said["secret"]), secret)
        return (int(said["epoch"]), int(said["replica"])) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _exactly(link: socket.socket, num: int) -> bytes:
    found = b""
    while len(found) < num:
        chunk = link.recv(num - len(found))
        if not chunk:
            raise ConnectionError("closed")
        found += chunk
    return found


@dataclass(slots=True)
class _Way:
    """What is under way to and from one peer."""

    replica: int
    link: socket.socket
    out: list[memoryview]
    head: bytearray = field(default_factory=bytearray)
    body: bytearray | None = None
    have: int = 0

    @property
    def is_sent(self) -> bool:
        return not self.out

    @property
    def is_received(self) -> bool:
        return self.body is not None and self.have == len(self.body)


class Links:
    """Connections to all other members of one epoch."""

    def __init__(
        self,
        links: Mapping[int, socket.socket],
        *,
        interrupted: Callable[[], bool],
        waits: Callable[[tuple[int, ...]], None],
    ) -> None:
        self._links = dict(links)
        self.interrupted = interrupted
        """Whether whatever goes on here is to be given up."""
        self._waits = waits
        self._tag = 0
        for link in self._links.values():
            link.setblocking(False)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def peers(self) -> list[int]:
        """The other members."""
        return sorted(self._links)

    def swap(self, out: Mapping[int, Sequence[Buffer]]) -> dict[int, bytearray]:
        """Send one message to each peer (its pieces one after the other), and take one from each.

        PeerGone or Interrupted where that cannot end; the links are of no use any more then.
        """
        self._tag += 1
        ways = [self._way(peer, out.get(peer, ())) for peer in self.peers]
        with selectors.DefaultSelector() as selector:
            for way in ways:
                selector.register(way.link, _wanted(way), way)
            while selector.get_map():
                if self.interrupted():
                    raise Interrupted
                self._waits(tuple(way.replica for way in ways if not way.is_received))
                for key, mask in selector.select(_LOOK_EVERY_S):
                    self._move(key.data, mask)
                    wanted = _wanted(key.data)
                    if wanted:
                        selector.modify(key.fileobj, wanted, key.data)
                    else:
                        selector.unregister(key.fileobj)
        self._waits(())
        return {way.replica: way.body if way.body is not None else bytearray() for way in ways}

    def tell(self, message: Buffer) -> dict[int, bytearray]:
        """Send the same to all peers, and take one message from each."""
        return self.swap({peer: [message] for peer in self.peers})

    def close(self) -> None:
        """Part from everybody."""
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _way(self, peer: int, pieces: Sequence[Buffer]) -> _Way:
        views = [memoryview(piece).cast("B") for piece in pieces]
        views = [view for view in views if len(view)]
        head = _HEAD.pack(self._tag, sum(map(len, views)))
        return _Way(peer, self._links[peer], [memoryview(head), *views])

    def _move(self, way: _Way, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                _push(way)
            if mask & selectors.EVENT_READ and not way.is_received:
                self._pull(way)
        except BlockingIOError:
            return
        except OSError:
            raise PeerGone(way.replica) from None

    def _pull(self, way: _Way) -> None:
        if way.body is None:
            chunk = way.link.recv(_HEAD.size - len(way.head))
            if not chunk:
                raise PeerGone(way.replica)
            way.head += chunk
            if len(way.head) == _HEAD.size:
                tag, length = _HEAD.unpack(way.head)
                if tag != self._tag:
                    raise PeerGone(way.replica)
                way.body = bytearray(length)
            return
        num = way.link.recv_into(memoryview(way.body)[way.have : way.have + _CHUNK_BYTES])
        if num == 0:
            raise PeerGone(way.replica)
        way.have += num


def _push(way: _Way) -> None:
    while way.out:
        num = way.link.send(way.out[0][:_CHUNK_BYTES])
        way.out[0] = way.out[0][num:]
        if len(way.out[0]):
            return
        way.out.pop(0)


def _wanted(way: _Way) -> int:
    wanted = 0 if way.is_sent else selectors.EVENT_WRITE
    return wanted if way.is_received else wanted | selectors.EVENT_READ


def meet(
    epoch: int,
    *,
    me: int,
    addresses: Mapping[int, str],
    listener: Listener,
    secret: str,
    interrupted: Callable[[], bool],
    waits: Callable[[tuple[int, ...]], None],
) -> Links:
    """Links to every other member of ``epoch``: those with a lower number are called, others call.

    PeerGone where one refuses; Interrupted where a newer order came.
    """
    found: dict[int, socket.socket] = {}
    try:
        for peer in sorted(addresses):
            if peer < me:
                found[peer] = _call(addresses[peer], epoch=epoch, me=me, peer=peer, secret=secret)
        _await_callers(
            epoch, found, wanted=set(addresses) - {me}, listener=listener,
            interrupted=interrupted, waits=waits,
        )  # fmt: skip
    except BaseException:
        for link in found.values():
            link.close()
        raise
    return Links(found, interrupted=interrupted, waits=waits)


def _call(address: str, *, epoch: int, me: int, peer: int, secret: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        link = socket.create_connection((host, int(port)), timeout=1.0)
        hello = json.dumps({"secret": secret, "epoch": epoch, "replica": me}).encode()
        link.sendall(struct.pack("!I", len(hello)) + hello)
    except OSError:
        raise PeerGone(peer) from None
    return link


def _await_callers(
    epoch: int,
    found: dict[int, socket.socket],
    *,
    wanted: Iterable[int],
    listener: Listener,
    interrupted: Callable[[], bool],
    waits: Callable[[tuple[int, ...]], None],
) -> None:
    everybody = set(wanted)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for replica, link in listener.callers(epoch).items():
                if replica in found:
                    found[replica].close()
                found[replica] = link
            missing = tuple(sorted(everybody - found.keys()))
            if not missing:
                break
            if interrupted():
                raise Interrupted
            waits(missing)
            with contextlib.suppress(InterruptedError):
                selector.select(_LOOK_EVERY_S)
    waits(())
