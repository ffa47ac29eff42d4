"""Posts and what is answered from them: importing, erasing, asking, verifying, scoring, rating."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafactory.describe.errors import InputError, JobError

if TYPE_CHECKING:
    from gigafactory.chat.truth.bridging import Rating
    from gigafactory.chat.truth.desk import Desk, Told


def import_posts(database: Path, paths: Sequence[Path]) -> dict[str, int]:
    """Add the posts of JSON-lines files to ``database``; all or, at the first wrong line, none."""
    from gigafactory.chat.truth.database import open_database
    from gigafactory.chat.truth.library import Library
    from gigafactory.chat.truth.posts import read_posts

    posts = [post for path in paths for post in read_posts(path)]
    connection = open_database(database)
    try:
        return dataclasses.asdict(Library(connection).add(posts))
    finally:
        connection.close()


def delete_posts(database: Path, idents: Sequence[str]) -> dict[str, int]:
    """Remove posts by id, with every trace of them."""
    from gigafactory.chat.truth.database import open_database
    from gigafactory.chat.truth.erasure import delete_posts as remove

    connection = open_database(_there(database))
    try:
        return dataclasses.asdict(remove(connection, idents, at_s=time.time()))
    finally:
        connection.close()


def erase_author(database: Path, author: str, *, opts_out: bool = False) -> dict[str, int]:
    """Remove all posts of ``author``, with every trace; ``opts_out``: and never import one
    again."""
    from gigafactory.chat.truth.database import open_database
    from gigafactory.chat.truth.erasure import erase_author as erase

    connection = open_database(_there(database))
    try:
        return dataclasses.asdict(erase(connection, author, at_s=time.time(), opts_out=opts_out))
    finally:
        connection.close()


def choose_retrieval(
    database: Path, *, words: str | None = None, order: str | None = None
) -> dict[str, Any]:
    """How ``database`` is searched from now on: words by fts5 or tantivy, order by words or
    meaning; None leaves it. InputError where a package is missing."""
    from gigafactory.chat.truth.database import open_database
    from gigafactory.chat.truth.library import Library
    from gigafactory.chat.truth.retrieval import (
        Order,
        Retrieval,
        Words,
        choose_retrieval,
        settings_of,
    )

    connection = open_database(_there(database))
    try:
        before = settings_of(connection)
        wanted = Retrieval(Words(words or before.words), Order(order or before.order))
        choose_retrieval(connection, wanted)
        num_posts = Library(connection).num_posts()
        return {"words": wanted.words, "order": wanted.order, "num_posts": num_posts}
    finally:
        connection.close()


def ask_posts(database: Path, question: str) -> dict[str, Any]:
    """An answer made of quotes, or the refusal; recorded."""
    with _desk(database) as desk:
        return _document(desk.ask(question))


def check_claim(database: Path, claim: str) -> dict[str, Any]:
    """Whether the posts support a statement; recorded."""
    with _desk(database) as desk:
        return _document(desk.check(claim))


def switch_answers(database: Path, *, off: str | None) -> None:
    """Throw the kill switch: ``off`` is the reason, None switches answers on again."""
    with _desk(database) as desk:
        if off is None:
            desk.switch.start(at_s=time.time())
        else:
            desk.switch.stop(off, at_s=time.time())


def verify_audit(database: Path, *, head: str | None = None) -> dict[str, Any]:
    """Check the chain of records; ``head`` is its last hash as noted earlier. JobError tells the
    faults."""
    with _desk(database) as desk:
        checked = desk.audit.check(head=head)
    if checked.faults:
        raise JobError(f"the audit chain does not hold: {'; '.join(checked.faults[:10])}")
    return {
        "num_records": checked.num_records,
        "num_erased": checked.num_erased,
        "head": checked.head,
    }


def audit_page(database: Path, out: Path, *, last: int = 200) -> int:
    """Write the newest records as one self-contained page; how many."""
    from gigafactory.api.files import whole
    from gigafactory.chat.truth.page import audit_html

    with _desk(database) as desk:
        records = list(desk.audit.records(last=last))
        html = audit_html(records, desk.library, desk.audit.check())
    with whole(out) as draft:
        assert draft is not None
        draft.write_text(html, encoding="utf-8")
    return len(records)


def score_support(lots: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Precision and recall of "supported" on the project's cases, by lot."""
    from gigafactory.chat.truth.scoring import Lot, read_cases, score

    wanted = [Lot(lot) for lot in lots] or list(Lot)
    return {str(lot): dataclasses.asdict(score(list(read_cases(lot)))) for lot in wanted}


def rate_answers(path: Path) -> list[dict[str, Any]]:
    """Rate answers by the bridging algorithm: from JSON lines of user, note, value, or from what
    was rated in the service of a database of posts."""
    from gigafactory.chat.truth.bridging import rate

    ratings = _kept_ratings(path) if _is_database(path) else _read_ratings(path)
    return [dataclasses.asdict(rated) for rated in rate(ratings)]


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise InputError(f"{path}: it cannot be read: {error}") from None


def _kept_ratings(database: Path) -> list[Rating]:
    with _desk(database) as desk:
        return desk.ratings.all()


def _read_ratings(path: Path) -> list[Rating]:
    from gigafactory.chat.truth.bridging import Rating

    ratings = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            fields = json.loads(line)
            value = float(fields["value"])
            ratings.append(Rating(str(fields["user"]), str(fields["note"]), value))
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}:{number}: a rating is {_RATING}") from None
        if value not in (0.0, 0.5, 1.0):
            raise InputError(f"{path}:{number}: value {value:g} is none of 0, 0.5 and 1")
    return ratings


_RATING = '{"user": "...", "note": "...", "value": 0, 0.5 or 1}'


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: it cannot be read: {error}") from None


def _there(database: Path) -> Path:
    if not database.is_file():
        raise InputError(
            f"{database}: there is no database of posts; giga chat posts import makes one"
        )
    return database


@contextmanager
def _desk(database: Path) -> Iterator[Desk]:
    from gigafactory.chat.truth.desk import Desk
    from gigafactory.chat.truth.switch import Stopped

    desk = Desk(_there(database))
    try:
        yield desk
    except Stopped as stopped:
        raise JobError(str(stopped)) from None
    finally:
        desk.close()


def _document(told: Told) -> dict[str, Any]:
    given = told.answer
    return {
        "decision": given.decision,
        "answer": given.text,
        "record": told.record,
        "quotes": [
            {
                "id": quote.post.id,
                "author": quote.post.author,
                "authority": quote.post.authority,
                "date": quote.post.date,
                "quote": quote.text,
                "verdict": quote.verdict,
                "why": quote.why,
                "num_copies": quote.num_copies,
            }
            for quote in given.quotes
        ],
    }
