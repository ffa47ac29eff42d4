"""Dry and local by default; going live takes a switch, an https address and a token."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from gigafactory import api
from gigafactory.api.x import run_x_bot
from gigafactory.chat.x.opening import TOKEN_VARIABLE, BotPlan
from gigafactory.cli.main import status
from gigafactory.describe.errors import InputError

FORBIDDEN = ("gigafactory.chat.x", "gigafactory.chat.truth", "xdk")
SRC = Path(api.__file__).parents[1]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    posts, database = tmp_path / "p.jsonl", tmp_path / "p.db"
    rows = [
        {
            "id": "7",
            "author": "Survey",
            "text": "The lake is 30 metres deep.",
            "at": "2026-01-02",
            "authority": "official",
        },
        {"id": "x:55", "author": "ann", "text": "Snow fell.", "at": "2026-01-02"},
    ]
    posts.write_text("\n".join(map(json.dumps, rows)))
    api.import_posts(database, [posts])
    return database


def test_the_command_answers_on_a_fake_and_leaves_nothing_behind(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mentions = tmp_path / "m.jsonl"
    mentions.write_text(json.dumps({"author": "bob", "text": "@quotesbot How deep is the lake?"}))
    for _ in range(2):  # the second run starts from nothing again, also after a live one
        assert status(["chat", "x", str(database), "--mentions", str(mentions), "--live"]) == 0
        assert "The lake is 30 metres deep." in capsys.readouterr().out
    assert api.ask_posts(database, "Did snow fall?")["quotes"][0]["id"] == "x:55"


@pytest.mark.parametrize(
    ("fields", "token", "told"),
    [
        (
            {"api": "https://api.x.com"},
            "",
            f"access token in the environment variable {TOKEN_VARIABLE}",
        ),
        ({"api": "http://api.x.com"}, "t", "https addresses only"),
        ({"api": "https://api.x.com", "mentions": Path("m")}, "t", "leave it out with --api"),
        ({"usd_per_day": -1.0}, "", "it is 0 or more"),
        ({"mentions": Path("/nowhere/m")}, "", "no mentions can be read"),
        ({"database": Path("/nowhere/p.db")}, "", "there is no database of posts"),
    ],
)
def test_what_is_missing_for_going_live_is_said(
    database: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], token: str, told: str
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    plan = BotPlan(**{"database": database, "is_live": True, **fields})
    with pytest.raises(InputError, match=told):
        list(run_x_bot(plan))


def test_no_token_is_ever_written(
    scene: Any, database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "token-of-the-test")
    scene.ask("@quotesbot How deep is the lake?")
    for plan in ([], ["--live"]):
        assert status(["chat", "x", str(database), "--api", scene.url, *plan]) == 0
    said = capsys.readouterr()
    kept = b"".join(path.read_bytes() for path in database.parent.glob("p.db*"))
    assert "token-of-the-test" not in said.out + said.err
    assert b"token-of-the-test" not in kept
    assert len(scene.replies()) == 1


def test_nothing_of_x_reaches_training(database: Path) -> None:
    for room in ("train", "net", "run"):
        for path in (SRC / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(name.startswith(FORBIDDEN) for name in names), path
