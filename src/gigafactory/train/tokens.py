"""From documents to streams of token ids, two a source, kept in the run directory.

The tokenizer is a byte-level BPE trained on the sources themselves, lower-cased: a small
vocabulary then goes further. Everything here is a pure function of sources and vocabulary size,
so that a restarted job reads what the first one wrote, or makes the same again.

A stream says all there is to know: a document begins with its mark, and what an assistant says
stands between two marks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from gigafactory.describe.job import Train
from gigafactory.net.dialogue import Mark, mark_id, text_ids, turn_ids
from gigafactory.net.export import TOKENIZER
from gigafactory.train.corpus import read_source
from gigafactory.train.files import Document

Ids = NDArray[np.uint32]
_MAX_TOKENIZER_CHARS = 1 << 25
"""Of one source: more text does not change a tokenizer much, and takes memory."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One source as tokens, (N,) each."""

    name: str
    weight: float
    train: Ids
    held_out: Ids


@dataclass(frozen=True, slots=True)
class Text:
    """The tokenizer and every source."""

    tokenizer: Tokenizer
    streams: tuple[Stream, ...]


def prepare(train: Train, *, directory: Path) -> None:
    """Make the text in ``directory``, unless it is there; whole or not at all."""
    if (directory / TOKENIZER).exists():
        return
    read = {source.name: read_source(source) for source in train.sources}
    if train.base is not None:
        tokenizer = Tokenizer.from_file(str(Path(train.base) / "model" / TOKENIZER))
    else:
        tokenizer = train_tokenizer(
            _sample(for_training for for_training, _ in read.values()), vocab=train.vocab
        )
    keep(directory, tokenizer=tokenizer, documents=read)


def keep(
    directory: Path,
    *,
    tokenizer: Tokenizer,
    documents: Mapping[str, tuple[Sequence[Document], Sequence[Document]]],
) -> None:
    """Write the streams (for training, held out) of every source by name, then the tokenizer."""
    for name, (for_training, held_out) in documents.items():
        (directory / name).mkdir(parents=True, exist_ok=True)
        _write_array(directory / name / "train.npy", encode(tokenizer, for_training))
        _write_array(directory / name / "held_out.npy", encode(tokenizer, held_out))
    beside = directory / (TOKENIZER + ".tmp")
    tokenizer.save(str(beside))
    beside.rename(directory / TOKENIZER)  # last: its presence says that all is here


def load(train: Train, *, directory: Path) -> Text:
    """What ``prepare`` made."""
    streams = tuple(
        Stream(
            source.name,
            source.weight,
            np.load(directory / source.name / "train.npy", mmap_mode="r"),
            np.load(directory / source.name / "held_out.npy", mmap_mode="r"),
        )
        for source in train.sources
    )
    return Text(Tokenizer.from_file(str(directory / TOKENIZER)), streams)


def _sample(sources: Iterable[Sequence[Document]]) -> Iterator[str]:
    for documents in sources:
        num_chars = 0
        for document in documents:
            for text in (document,) if isinstance(document, str) else document:
                num_chars += len(text)
                if num_chars <= _MAX_TOKENIZER_CHARS:
                    yield text


def train_tokenizer(texts: Iterable[str], *, vocab: int) -> Tokenizer:
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
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Iterable[Document]) -> Ids:
    """All documents one after the other; of a conversation, the first speaker is the user."""
    ids: list[int] = []
    bos = mark_id(tokenizer, Mark.BOS)
    for document in documents:
        ids.append(bos)
        if isinstance(document, str):
            ids.extend(text_ids(tokenizer, document))
            continue
        for index, turn in enumerate(document):
            speaker = Mark.ASSISTANT if index % 2 else Mark.USER
            ids.extend(turn_ids(tokenizer, speaker, turn))
    return np.array(ids, dtype=np.uint32)


def by_assistant(ids: NDArray[np.integer], *, tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Which tokens (N,) an assistant says, the mark that ends its turn among them."""
    assistant = mark_id(tokenizer, Mark.ASSISTANT)
    begins = np.isin(ids, [mark_id(tokenizer, m) for m in Mark if m is not Mark.END])
    index = np.arange(len(ids))
    last_begun = np.maximum.accumulate(np.where(begins, index, -1))
    has_begun = last_begun >= 0
    return np.asarray(has_begun & (ids[last_begun] == assistant) & ~begins)


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
