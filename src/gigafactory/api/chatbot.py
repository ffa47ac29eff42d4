"""The chatbot: serving it, asking it, its keys, and a load on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gigafactory.api.files import ANSWERS_FILE
from gigafactory.describe.errors import InputError

if TYPE_CHECKING:
    from gigafactory.chat.load import Load
    from gigafactory.chat.opening import Opening
    from gigafactory.chat.server import Door


def chat(
    folder: Path | None,
    *,
    port: int = 8080,
    on_ready: Callable[[str], object] | None = None,
    remotes: Sequence[str] = (),
    opening: Opening | None = None,
    door: Door | None = None,
    log: str | None = None,
) -> None:
    """Serve models until Ctrl-C: that trained in ``folder``, the pretrained one, and ``remotes``.

    ``remotes`` are services elsewhere, NAME=URL or NAME=URL#MODEL; with them and no ``folder``
    nothing is loaded here. ``opening`` brings keys and a ledger, ``door`` an address (else
    127.0.0.1 and ``port``). ``on_ready`` gets the address once it answers; ``log`` is a file or
    "-" for stderr.
    """
    from gigafactory.chat.engine import Origin
    from gigafactory.chat.engines import as_answerers, open_embedders, open_engines, open_remotes
    from gigafactory.chat.logs import start_logging
    from gigafactory.chat.opening import Opening, open_service
    from gigafactory.chat.server import Door, serve_service
    from gigafactory.chat.smollm import why_missing

    if log is not None:
        start_logging(log)
    elsewhere = open_remotes(remotes)
    engines = [] if elsewhere and folder is None else open_engines(folder)
    answerers = [*as_answerers(engines), *(open_embedders() if engines else ()), *elsewhere]
    talks = any(a.origin is not Origin.TRAINED for a in answerers if a.chats)
    service = open_service(answerers, opening or Opening(), notice=None if talks else why_missing())
    serve_service(service, door=door or Door(port=port), on_ready=on_ready)


def ask(folder: Path | None, *, question: str) -> list[dict[str, str]]:
    """One answer of every model; kept in ``folder``/answers.json for the report."""
    from gigafactory.chat.ask import ask as put
    from gigafactory.chat.engines import open_engines

    answers = [
        {"model": engine.name, "question": question, "answer": put(engine, question)}
        for engine in open_engines(folder)
    ]
    if folder:
        text = json.dumps(answers, indent=2, ensure_ascii=False)
        (folder / ANSWERS_FILE).write_text(text + "\n", encoding="utf-8")
    return answers


def add_key(
    store: str,
    name: str,
    *,
    scopes: Sequence[str] = (),
    requests_per_min: int | None = None,
    tokens_per_min: int | None = None,
    budget_tokens: int | None = None,
    budget_period: str = "month",
) -> dict[str, str]:
    """A new key in ``store``: its id, name and secret, which cannot be had again."""
    from gigafactory.chat.keys import Allowance, Period, Scope
    from gigafactory.chat.opening import add_key as add

    limits = (requests_per_min, tokens_per_min, budget_tokens)
    if any(limit is not None and limit < 1 for limit in limits):
        raise InputError("a limit is at least 1; leave it out for none")
    allowance = Allowance(
        requests_per_min=requests_per_min,
        tokens_per_min=tokens_per_min,
        budget_tokens=budget_tokens,
        budget_period=Period(budget_period),
    )
    key, secret = add(store, name, scopes=[Scope(s) for s in scopes], allowance=allowance)
    return {"id": key.id, "name": key.name, "key": secret}


def list_keys(store: str) -> list[dict[str, object]]:
    """The keys in ``store``, without secrets, and what they have used."""
    from gigafactory.chat.opening import list_keys as listed

    return listed(store)


def revoke_key(store: str, ident: str) -> None:
    """The key ``ident`` is good no longer; InputError where there is none."""
    from gigafactory.chat.opening import revoke_key as revoke

    revoke(store, ident)


def load_chat(load: Load) -> dict[str, object]:
    """Put a load on a chat service; TTFT, TPOT, ITL and goodput as vLLM's bench names them."""
    from gigafactory.chat.load import run_load

    return run_load(load)
