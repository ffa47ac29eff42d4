from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gigafactory.chat.truth.desk import Desk
from gigafactory.chat.truth.posts import Authority, Post

AT_S = 1_700_000_000.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "posts.db"


@pytest.fixture
def desk(database: Path) -> Iterator[Desk]:
    desk = Desk(database)
    yield desk
    desk.close()


def _post(ident: str, text: str, author: str = "ann", authority: str = "anyone") -> Post:
    return Post(ident, author, text, AT_S, Authority(authority))


@pytest.fixture
def post() -> object:
    """Makes a post of id, text, author and authority."""
    return _post
