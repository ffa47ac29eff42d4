"""Which models answer here."""

from __future__ import annotations

from pathlib import Path

from gigafactory.chat.engine import Engine
from gigafactory.chat.ours import Trained
from gigafactory.chat.smollm import SmolLM2, why_missing
from gigafactory.describe.errors import InputError


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
