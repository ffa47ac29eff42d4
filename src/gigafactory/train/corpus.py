"""Text to train on: conversations that install from a package index, cleaned.

The conversations name things their speakers might regret, so turns with profanity or with
personal details (addresses, numbers, links) are left out, and what follows such a turn too:
an answer without its question teaches nothing.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gigafactory.describe.errors import InputError
from gigafactory.describe.job import Corpus

Conversation = list[str]
"""Turns, alternating between two speakers."""

#: One conversation in this many is kept for evaluation.
HELD_OUT_EVERY = 50
MIN_TURNS = 2
MAX_TURN_CHARS = 400

_PERSONAL = re.compile(
    r"""[\w.+-]+@[\w-]+\.\w+      # mail address
      | https?:// | www\. | \b[\w-]+\.(?:com|org|net|edu|gov|io)\b
      | (?:\d[\s().-]*){7,}       # telephone or card number
      | @\w{3,}                   # account name""",
    re.VERBOSE,
)
_PROFANE = re.compile(
    r"\b(?:fuck|shit|bitch|cunt|nigg|fag|whore|slut|dick|pussy|cock|bastard|rape|porn|asshole"
    r"|goddam|boob|horny|nude|naked|sex)\w*|\b(?:wtf|stfu|fml)\b",
    re.IGNORECASE,
)


def read_corpus(corpus: Corpus) -> tuple[list[Conversation], list[Conversation]]:
    """(for training, held out), always in the same order; InputError if it is not installed."""
    readers = {Corpus.CHITCHAT: _read_chitchat}
    conversations = list(readers[corpus]())
    held_out = conversations[::HELD_OUT_EVERY]
    return [c for i, c in enumerate(conversations) if i % HELD_OUT_EVERY], held_out


def _read_chitchat() -> Iterator[Conversation]:
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise InputError(
            "train.corpus chitchat needs the package chitchat-dataset; "
            "install it with: pip install 'gigafactory[train]'"
        )
    raw = json.loads((Path(spec.origin).parent / "dataset.json").read_text(encoding="utf-8"))
    for key in sorted(raw):
        turns = (_join(part["text"] for part in turn) for turn in raw[key]["messages"])
        conversation = clean(turns)
        if len(conversation) >= MIN_TURNS:
            yield conversation


def _join(parts: Iterable[str]) -> str:
    """Messages sent in a row become sentences of one turn."""
    sentences = [tidy(part) for part in parts]
    return " ".join(s if s[-1] in ".?!" else f"{s}." for s in sentences if s)


def clean(turns: Iterator[str]) -> Conversation:
    """The turns up to the first that is empty, profane or personal."""
    kept: Conversation = []
    for turn in turns:
        if not turn or is_unfit(turn):
            break
        kept.append(turn)
    return kept


def is_unfit(turn: str) -> bool:
    """Whether the turn holds personal details, profanity, or is a wall of text."""
    return bool(len(turn) > MAX_TURN_CHARS or _PERSONAL.search(turn) or _PROFANE.search(turn))


def tidy(text: str) -> str:
    """Plain quotes, no emoji or other signs outside ASCII, single spaces."""
    text = text.translate(str.maketrans("’‘“”–—…", "''\"\"--."))
    return " ".join(text.encode("ascii", "ignore").decode().split())
