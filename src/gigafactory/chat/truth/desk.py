"""Asking: the switch, the search, the answer, the record. What every way in goes through."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigafactory.chat.truth import drafts
from gigafactory.chat.truth.answers import Answer, Quote, answer, check
from gigafactory.chat.truth.audit import Audit, Kind
from gigafactory.chat.truth.database import open_database
from gigafactory.chat.truth.finding import Hit
from gigafactory.chat.truth.library import Library
from gigafactory.chat.truth.prompts import Prompt, load_all
from gigafactory.chat.truth.questions import read_question
from gigafactory.chat.truth.ratings import Ratings
from gigafactory.chat.truth.switch import Switch


@dataclass(frozen=True, slots=True)
class Writer:
    """A model that rephrased, for the record."""

    name: str
    sha256: str
    """Of its weights or, for a service elsewhere, of its name and address."""
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """An answer and the number of its record."""

    answer: Answer
    record: int
    num_cut: int = 0


class Desk:
    """One database, opened; refuses to open with a prompt that was changed."""

    def __init__(self, path: Path, *, prompts: Path | None = None) -> None:
        self.prompts = load_all(folder=prompts)
        self.connection: sqlite3.Connection = open_database(path)
        self.library = Library(self.connection)
        self.audit = Audit(self.connection)
        self.switch = Switch(self.connection)
        self.ratings = Ratings(self.connection)
        self._note_prompts()

    def _note_prompts(self) -> None:
        """The chain says from when on which prompts were in force."""
        hashes = {name: prompt.sha256 for name, prompt in self.prompts.items()}
        noted = self._setting("prompts")
        if noted != json.dumps(hashes, sort_keys=True):
            self.audit.append(Kind.PROMPTS, {"prompts": hashes}, at_s=time.time())
            self.connection.execute(
                "INSERT OR REPLACE INTO settings VALUES ('prompts', ?)",
                (json.dumps(hashes, sort_keys=True),),
            )

    def _setting(self, name: str) -> str | None:
        row = self.connection.execute("SELECT value FROM settings WHERE name = ?", (name,))
        found = row.fetchone()
        return str(found[0]) if found else None

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    def find(self, question: str) -> list[Hit]:
        """What the library has on it; Stopped while answers are off."""
        self.switch.check()
        return self.library.search(question)

    def ask(self, question: str, *, at_s: float | None = None) -> Told:
        """Answer from quotes alone."""
        hits = self.find(question)
        return self._tell(question, hits, answer(read_question(question), hits), at_s=at_s)

    def check(self, claim: str, *, at_s: float | None = None) -> Told:
        """Whether a statement is supported."""
        hits = self.find(claim)
        return self._tell(claim, hits, check(claim, hits), at_s=at_s)

    def rephrase(
        self,
        question: str,
        hits: Sequence[Hit],
        draft: str,
        *,
        writer: Writer,
        prompt: Prompt,
        at_s: float | None = None,
    ) -> Told:
        """Keep of a model's draft what the hits support, else the quotes; recorded with both
        hashes."""
        self.switch.check()  # it may have been thrown while the model wrote
        plain = answer(read_question(question), hits)
        grounded = drafts.ground(draft, hits, otherwise=plain)
        return self._tell(
            question,
            hits,
            grounded.answer,
            at_s=at_s,
            writer=writer,
            prompt=prompt,
            num_cut=grounded.num_cut,
        )

    def _tell(
        self,
        question: str,
        hits: Sequence[Hit],
        given: Answer,
        *,
        at_s: float | None,
        writer: Writer | None = None,
        prompt: Prompt | None = None,
        num_cut: int = 0,
    ) -> Told:
        posts = [hit.post.id for hit in hits]
        details = _details(question, hits, given, writer=writer, prompt=prompt, num_cut=num_cut)
        when = time.time() if at_s is None else at_s
        record = self.audit.append(Kind.ANSWER, details, at_s=when, posts=posts)
        return Told(given, record, num_cut)


def _details(
    question: str,
    hits: Sequence[Hit],
    given: Answer,
    *,
    writer: Writer | None,
    prompt: Prompt | None,
    num_cut: int,
) -> dict[str, Any]:
    return {
        # the words of a question are its author's: the record keeps only their hash
        "question_sha256": hashlib.sha256(question.encode("utf-8", "replace")).hexdigest(),
        "answer_sha256": hashlib.sha256(given.text.encode("utf-8", "replace")).hexdigest(),
        "retrieved": [{"id": hit.post.id, "score": round(hit.score, 6)} for hit in hits],
        "decision": given.decision,
        "quotes": [_quoted(quote) for quote in given.quotes],
        "num_cut": num_cut,
        "prompt": {"name": prompt.name, "sha256": prompt.sha256} if prompt else None,
        "model": {"name": writer.name, "sha256": writer.sha256} if writer else None,
        "cost_usd": writer.cost_usd if writer else 0.0,
    }


def _quoted(quote: Quote) -> dict[str, Any]:
    return {
        "id": quote.post.id,
        "first": quote.first,
        "last": quote.last,
        "verdict": quote.verdict,
        "why": quote.why,
        "authority": quote.post.authority,
    }
