"""From tokens to readable text, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from gigafactory.chat.engine import Finish, Piece

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER_TOKENS = 4
"""UTF-8 has at most four bytes and a token at least one; longer waiting is a wrong byte."""
_WINDOW_TOKENS = 32


def texts(tokens: Iterable[int], *, decode: Callable[[list[int]], str]) -> Iterator[str]:
    """One text a token, "" while a character is incomplete; together they are
    decode(all), less a last character that never became complete.

    Only a window is decoded again each time, so the work grows with the length and not with
    its square.
    """
    window: list[int] = []
    shown = ""
    held = 0
    for token in tokens:
        window.append(token)
        text = decode(window)
        held += 1
        if text.endswith(_UNFINISHED) and held < _LONGEST_CHARACTER_TOKENS:
            yield ""
            continue
        yield text[len(shown) :]
        shown, held = text, 0
        if len(window) > 2 * _WINDOW_TOKENS:
            window = window[-_WINDOW_TOKENS:]
            shown = decode(window)


def as_pieces(said: Iterable[str], *, max_tokens: int) -> Iterator[Piece]:
    """One piece a token; the end is "length" at ``max_tokens`` and "stop" before."""
    for num_tokens, text in enumerate(said, start=1):
        finish = Finish.LENGTH if num_tokens == max_tokens else None
        yield Piece(text, finish=finish)
        if finish:
            return
    yield Piece("", 0, Finish.STOP)


def until_stop(pieces: Iterable[Piece], *, stops: Sequence[str]) -> Iterator[Piece]:
    """End before the first of ``stops``; what may be the beginning of one is held back."""
    held = ""
    for piece in pieces:
        text = held + piece.text
        at = min((i for stop in stops if (i := text.find(stop)) >= 0), default=None)
        if at is not None:
            yield Piece(text[:at], piece.num_tokens, Finish.STOP)
            return
        keep = 0 if piece.finish else _overlap(text, stops)
        held = text[len(text) - keep :]
        yield Piece(text[: len(text) - keep], piece.num_tokens, piece.finish)


def _overlap(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that begins one of ``stops``."""
    longest = max((len(stop) - 1 for stop in stops), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
