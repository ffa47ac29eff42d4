from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from gigafactory.chat.app import make_app, make_gateway
from gigafactory.chat.server import address, listen
from gigafactory.chat.service import Service


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_parrot, _upstream = _beside("parrot"), _beside("upstream")


@pytest.fixture
def parrot() -> Any:
    return _parrot.Parrot()


@pytest.fixture
def client(parrot: Any) -> Iterator[TestClient]:
    app = make_app([parrot, _parrot.Parrot("second")], max_waiting=1)
    base_url = "http://127.0.0.1:8080"
    with TestClient(app, base_url=base_url, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def upstream() -> Iterator[Any]:
    upstream = _upstream.Upstream()
    yield upstream
    upstream.close()


@contextmanager
def _serving(service: Service, **options: Any) -> Iterator[str]:
    listening = listen("127.0.0.1", port=0)
    config = uvicorn.Config(
        make_gateway(service, **options), log_level="error", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield address(listening)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving() -> Any:
    """Serves a service in a thread of this process; gives its address."""
    return _serving
