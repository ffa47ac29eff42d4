"""From conversations to two streams of token ids, kept in the run directory.

The tokenizer is a byte-level BPE trained on the corpus itself, lower-cased: a small vocabulary
then goes further. Everything here is a pure function of corpus and vocabulary size, so that a
restarted job reads what the first one wrote, or makes the same again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from gigafactory.describe.job import Corpus
from gigafactory.net.dialogue import Mark, mark_id, turn_ids
from gigafactory.train.corpus import Conversation, read_corpus

Ids = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Text:
    """The tokenizer and the two streams, (N,) each."""

    tokenizer: Tokenizer
    train: Ids
    held_out: Ids


def prepare(corpus: Corpus, *, vocab: int, directory: Path) -> Text:
    """Read the prepared text from ``directory``, or make it there; whole or not at all."""
    tokenizer_file = directory / "tokenizer.json"
    if not tokenizer_file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        train, held_out = read_corpus(corpus)
        tokenizer = train_tokenizer((turn for c in train for turn in c), vocab=vocab)
        for name, conversations in (("train", train), ("held_out", held_out)):
            _write_array(directory / f"{name}.npy", encode(tokenizer, conversations))
        beside = directory / "tokenizer.json.tmp"
        tokenizer.save(str(beside))
        beside.rename(tokenizer_file)  # last: its presence says that all is here
    return load(directory)


def load(directory: Path) -> Text:
    """What ``prepare`` made."""
    return Text(
        Tokenizer.from_file(str(directory / "tokenizer.json")),
        np.load(directory / "train.npy", mmap_mode="r"),
        np.load(directory / "held_out.npy", mmap_mode="r"),
    )


def train_tokenizer(turns: Iterable[str], *, vocab: int) -> Tokenizer:
    """Byte-level BPE of ``vocab`` entries, the marks of a dialogue first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(Mark),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(turns, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, conversations: Iterable[Conversation]) -> Ids:
    """All conversations one after the other, the first speaker being the user."""
    ids: list[int] = []
    bos = mark_id(tokenizer, Mark.BOS)
    for conversation in conversations:
        ids.append(bos)
        for index, turn in enumerate(conversation):
            speaker = Mark.ASSISTANT if index % 2 else Mark.USER
            ids.extend(turn_ids(tokenizer, speaker, turn))
    return np.array(ids, dtype=np.uint32)


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Bytes of text that each token stands for, (V,); 0 for the marks.

    A byte-level token is spelled with one character a byte.
    """
    marks = {mark_id(tokenizer, mark) for mark in Mark}
    size = tokenizer.get_vocab_size()
    spelled = [tokenizer.id_to_token(i) or "" for i in range(size)]
    return np.array([0 if i in marks else len(spelled[i]) for i in range(size)], dtype=np.int64)


def _write_array(path: Path, array: Ids) -> None:
    beside = path.with_name(path.name + ".tmp")
    with beside.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
