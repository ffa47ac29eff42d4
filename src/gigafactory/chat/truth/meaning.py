"""Putting hits into order by meaning: the nearness of vectors of sentences to the question.

A vector is made when its post is first found, and kept in the database beside it; a trigger removes
it with the post. Nearness decides what is read first, never what is supported.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gigafactory.chat import minilm
from gigafactory.chat.truth.finding import Hit
from gigafactory.chat.truth.posts import Post
from gigafactory.describe.errors import InputError

Vector = NDArray[np.float32]


class Meaning:
    """Vectors of the posts of one database; InputError where the model is not installed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        missing = minilm.why_missing()
        if missing:
            raise InputError(f"this database orders posts by meaning: {missing}")
        self._connection = connection
        self._model: minilm.MiniLM | None = None

    def ordered(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, nearest first; their score is the cosine to ``question``."""
        if not hits:
            return []
        asked = self._embedded(question)
        scored = [replace(hit, score=float(self._vector(hit.post) @ asked)) for hit in hits]
        return sorted(scored, key=lambda hit: (-hit.score, hit.post.id))

    def _vector(self, post: Post) -> Vector:
        sql = "SELECT vector FROM vectors WHERE post = ?"
        row = self._connection.execute(sql, (post.id,)).fetchone()
        if row is not None:
            return np.frombuffer(row[0], dtype=np.float32)
        vector = self._embedded(f"{post.title}. {post.text}" if post.title else post.text)
        # only while the post is there: another process may have erased it meanwhile
        self._connection.execute(
            "INSERT OR IGNORE INTO vectors SELECT id, ? FROM posts WHERE id = ? AND text = ?",
            (vector.tobytes(), post.id, post.text),
        )
        return vector

    def _embedded(self, text: str) -> Vector:
        if self._model is None:
            self._model = minilm.MiniLM()
        vector, _ = self._model.embed(text)
        return np.array(vector, dtype=np.float32)
