"""Links between groups: all arrives, whoever vanishes is known at once, an order ends it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gigafactory.train.group import exchange
from gigafactory.train.group.exchange import Standing
from gigafactory.train.group.links import Interrupted, Links, Listener, PeerGone, meet
from gigafactory.train.group.shards import share_out

SECRET = "s3cret"
NUM = 1003


class Ring:
    """Members in threads of this process."""

    def __init__(self, *members: int) -> None:
        self.listeners = {m: Listener(secret=SECRET) for m in members}
        self.addresses = {m: listener.address for m, listener in self.listeners.items()}
        self.interrupted = threading.Event()
        self.results: dict[int, Any] = {}

    def meet(self, me: int, epoch: int = 1) -> Links:
        return meet(
            epoch, me=me, addresses=self.addresses, listener=self.listeners[me], secret=SECRET,
            interrupted=self.interrupted.is_set, waits=lambda _: None,
        )  # fmt: skip

    def each(self, work: Callable[[int, Links], Any], *, skip: tuple[int, ...] = ()) -> dict:
        def run(me: int) -> None:
            try:
                links = self.meet(me)
                self.results[me] = work(me, links)
                links.close()
            except (PeerGone, Interrupted) as error:
                self.results[me] = error

        threads = [threading.Thread(target=run, args=(m,)) for m in self.addresses if m not in skip]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10.0)
            assert not thread.is_alive()
        return self.results

    def close(self) -> None:
        for listener in self.listeners.values():
            listener.close()


@pytest.fixture
def ring():
    made: list[Ring] = []

    def make(*members: int) -> Ring:
        made.append(Ring(*members))
        return made[-1]

    yield make
    for one in made:
        one.close()


def shards(num: int = 6) -> dict[int, torch.Tensor]:
    dice = torch.Generator().manual_seed(7)
    return {s: torch.randn(NUM, generator=dice) * 10.0 ** (s - 3) for s in range(num)}


def summed(ring: Ring) -> list[bytes]:
    """The sum as every member gets it."""
    owned = share_out(6, members=ring.addresses, held={})

    def work(me: int, links: Links) -> bytes:
        own = {s: g for s, g in shards().items() if s in owned[me]}
        return exchange.add_up(own, owned=owned, num=NUM, me=me, links=links).numpy().tobytes()

    return list(ring.each(work).values())


def test_a_sum_has_the_same_bits_whoever_computes_it(ring):
    alone, pair, three = summed(ring(2)), summed(ring(0, 2)), summed(ring(0, 1, 2))
    assert len({*alone, *pair, *three}) == 1
    in_order = shards()
    total = in_order[0].numpy().copy()
    for s in range(1, 6):
        total += in_order[s].numpy()
    assert alone[0] == total.tobytes()
    backwards = sum((in_order[s].numpy() for s in reversed(range(5))), in_order[5].numpy())
    assert backwards.astype(np.float32).tobytes() != alone[0]  # the order matters


def test_a_state_is_taken_over_and_others_only_wait(ring):
    source = [torch.randn(300, 40), torch.randn(7), torch.tensor(3.0)]

    def work(me: int, links: Links) -> Any:
        said = exchange.standings(Standing(step=me, state="x", held=(me,)), me=me, links=links)
        assert said[1] == Standing(step=1, state="x", held=(1,))
        if me == 2:
            exchange.hand_over(source, to=[0], links=links)
        elif me == 0:
            mine = [torch.zeros_like(t) for t in source]
            exchange.take_over(mine, source=2, links=links)
            return mine
        else:
            links.swap({})
        return None

    taken = ring(0, 1, 2).each(work)[0]
    assert all(torch.equal(a, b) for a, b in zip(taken, source, strict=True))


def test_whoever_vanishes_is_known_at_once_and_by_name(ring):
    def work(me: int, links: Links) -> Any:
        if me == 1:
            links.close()
            return "gone"
        began_s = time.monotonic()
        try:
            while time.monotonic() - began_s < 5.0:
                links.tell(b"x" * 100)
        except PeerGone as gone:
            return gone.replica
        return "never"

    assert ring(0, 1).each(work) == {0: 1, 1: "gone"}


def test_a_peer_that_never_comes_is_waited_for_until_an_order_comes(ring):
    three = ring(0, 1, 2)
    threading.Timer(0.3, three.interrupted.set).start()
    found = three.each(lambda me, links: "met", skip=(2,))
    assert {type(error) for error in found.values()} == {Interrupted}


def test_strangers_and_callers_of_an_older_epoch_are_refused(ring):
    pair = ring(0, 1)
    host, _, port = pair.addresses[0].rpartition(":")
    stranger = socket.create_connection((host, int(port)))
    stranger.sendall(b"\x00\x00\x00\x05hello")
    assert pair.each(lambda me, links: sorted(links.peers)) == {0: [1], 1: [0]}
    assert stranger.recv(1) == b""
    stranger.close()
    late = threading.Thread(target=lambda: pair.results.update(late=_meets(pair, 1, epoch=1)))
    late.start()
    time.sleep(0.1)
    assert pair.listeners[0].callers(2) == {}
    late.join(5.0)


def _meets(ring: Ring, me: int, *, epoch: int) -> bool:
    links = ring.meet(me, epoch)
    try:
        links.tell(b"?")
    except PeerGone:
        return False
    finally:
        links.close()
    return True
