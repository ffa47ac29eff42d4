"""Which models answer here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gigafactory.chat.answerer import Answerer
from gigafactory.chat.batch import Batch
from gigafactory.chat.engine import Engine
from gigafactory.chat.line import Line
from gigafactory.chat.ours import Trained
from gigafactory.chat.smollm import SmolLM2, SmolLM2Batch, why_missing
from gigafactory.describe.errors import InputError

UPSTREAM_KEY = "GIGA_UPSTREAM_KEY"
"""Environment variable with the key for the services named with ``--engine``."""


def open_engines(run_dir: Path | None) -> list[Engine]:
    """Load the pretrained model, where it is installed, and the one that ``run_dir`` trained.

    The first is the default of the page. InputError where ``run_dir`` holds no model, or where
    nothing at all can answer; the message then says what to install.
    """
    missing = why_missing()
    if missing and run_dir is None:
        raise InputError(f"no model to talk to: name a run directory, or install one: {missing}")
    trained: list[Engine] = [] if run_dir is None else [Trained(run_dir)]
    return trained if missing else [SmolLM2(), *trained]


def open_remotes(specs: Sequence[str]) -> list[Answerer]:
    """Services elsewhere, each ``NAME=URL`` or ``NAME=URL#MODEL``; several of one name share its
    requests out. InputError where one is not such a text, or is there twice."""
    from gigafactory.chat.remote import Remote
    from gigafactory.chat.replicas import Replicas

    by_name: dict[str, dict[str, Remote]] = {}
    for spec in specs:
        name, _, address = spec.partition("=")
        url, _, model = address.partition("#")
        if not name or not url:
            raise InputError(f"engine {spec!r}: write NAME=URL or NAME=URL#MODEL")
        known = by_name.setdefault(name, {})
        if address in known:
            raise InputError(f"engine {name!r} is named twice with the same address")
        key = os.environ.get(UPSTREAM_KEY)
        known[address] = Remote(name, base_url=url, model=model or None, api_key=key)
    answerers: list[Answerer] = []
    for known in by_name.values():
        found = list(known.values())
        answerers.append(Replicas(found) if len(found) > 1 else found[0])
    return answerers


def open_embedders() -> list[Answerer]:
    """The small model of sentences, where it is installed; it is loaded when it is first asked."""
    from gigafactory.chat import minilm

    return [] if minilm.why_missing() else [minilm.Embedder()]


def as_answerers(engines: Sequence[Engine], *, max_waiting: int = 8) -> list[Answerer]:
    """Each engine as an answerer: those that can compute many conversations at once in a batch,
    the others with a queue."""
    return [_answerer(engine, max_waiting=max_waiting) for engine in engines]


def _answerer(engine: Engine, *, max_waiting: int) -> Answerer:
    if isinstance(engine, Trained):
        from gigafactory.chat.ours_batch import PagedTrained

        return Batch(PagedTrained(engine))
    if isinstance(engine, SmolLM2):
        return Batch(SmolLM2Batch(engine))
    return Line(engine, max_waiting=max_waiting)
