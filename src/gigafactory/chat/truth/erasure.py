"""Taking posts back: out of the index, the remembered answers, the audit details and the file
itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from gigafactory.chat.truth.audit import Audit
from gigafactory.chat.truth.library import Library


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure removed."""

    num_posts: int
    num_answers: int
    """Remembered answers that quoted them."""
    num_records: int
    """Audit records whose details are gone; the chain still verifies."""


def delete_posts(connection: sqlite3.Connection, idents: Sequence[str], *, at_s: float) -> Erased:
    """Remove these posts and every trace of them."""
    library, audit = Library(connection), Audit(connection)
    num_records = audit.erase(idents, at_s=at_s)
    num_posts, num_answers = library.remove(idents)
    num_records += audit.erase(idents, at_s=at_s)  # an answer given in between
    if num_posts or num_records:
        library.wipe()
    return Erased(num_posts, num_answers, num_records)


def erase_author(
    connection: sqlite3.Connection, author: str, *, at_s: float, opts_out: bool = False
) -> Erased:
    """Remove all that ``author`` posted and every trace of it; ``opts_out``: and take nothing
    again."""
    library = Library(connection)
    if opts_out:
        library.opt_out(author)
    return delete_posts(connection, library.ids_by(author), at_s=at_s)
