"""The fake on a loopback port, in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from gigafactory.chat.x.fake import make_fake
from gigafactory.chat.x.fake_state import World

_START_S = 20.0


@contextmanager
def served(world: World) -> Iterator[str]:
    """Its address while the context lasts."""
    config = uvicorn.Config(
        make_fake(world),
        host="127.0.0.1",
        port=0,
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="fake-x", daemon=True)
    thread.start()
    deadline_s = time.monotonic() + _START_S
    while not server.started:
        if time.monotonic() > deadline_s or not thread.is_alive():
            raise RuntimeError("the fake X did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
