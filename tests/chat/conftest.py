from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gigafactory.chat.app import make_app

_spec = importlib.util.spec_from_file_location("parrot", Path(__file__).with_name("parrot.py"))
assert _spec is not None
assert _spec.loader is not None
_parrot = importlib.util.module_from_spec(_spec)
sys.modules["parrot"] = _parrot
_spec.loader.exec_module(_parrot)


@pytest.fixture
def parrot() -> Any:
    return _parrot.Parrot()


@pytest.fixture
def client(parrot: Any) -> Iterator[TestClient]:
    app = make_app([parrot, _parrot.Parrot("second")], max_waiting=1)
    base_url = "http://127.0.0.1:8080"
    with TestClient(app, base_url=base_url, raise_server_exceptions=False) as client:
        yield client
