"""From tokens to readable text, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from gigafactory.chat.engine import Finish, Piece

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER_TOKENS = 4
"""UTF-8 has at most four bytes and a token at least one; longer waiting is a wrong byte."""
_WINDOW_TOKENS = 32


class Decoder:
    """From tokens to text, one by one; together the texts are decode(all), less a last character
    that never became complete.

    Only a window is decoded again each time, so the work grows with the length and not with
    its square.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._shown = ""
        self._held = 0

    def hear(self, token: int) -> str:
        """What ``token`` adds; "" while a character is incomplete."""
        self._window.append(token)
        text = self._decode(self._window)
        self._held += 1
        if text.endswith(_UNFINISHED) and self._held < _LONGEST_CHARACTER_TOKENS:
            return ""
        added = text[len(self._shown) :]
        self._shown, self._held = text, 0
        if len(self._window) > 2 * _WINDOW_TOKENS:
            self._window = self._window[-_WINDOW_TOKENS:]
            self._shown = self._decode(self._window)
        return added


def texts(tokens: Iterable[int], *, decode: Callable[[list[int]], str]) -> Iterator[str]:
    """One text a token, "" while a character is incomplete."""
    decoder = Decoder(decode)
    for token in tokens:
        yield decoder.hear(token)


def as_pieces(said: Iterable[str], *, max_tokens: int) -> Iterator[Piece]:
    """One piece a token; the end is "length" at ``max_tokens`` and "stop" before."""
    for num_tokens, text in enumerate(said, start=1):
        finish = Finish.LENGTH if num_tokens == max_tokens else None
        yield Piece(text, finish=finish)
        if finish:
            return
    yield Piece("", 0, Finish.STOP)


class StopWatch:
    """Ends an answer before the first of ``stops``; what may begin one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""

    def pass_on(self, piece: Piece) -> Piece:
        """What of ``piece`` may be shown; it has ``finish`` where a stop was found."""
        if not self._stops:
            return piece
        text = self._held + piece.text
        at = min((i for stop in self._stops if (i := text.find(stop)) >= 0), default=None)
        if at is not None:
            return Piece(text[:at], piece.num_tokens, Finish.STOP)
        keep = 0 if piece.finish else overlap(text, self._stops)
        self._held = text[len(text) - keep :]
        return Piece(text[: len(text) - keep], piece.num_tokens, piece.finish, piece.more)


def until_stop(pieces: Iterable[Piece], *, stops: Sequence[str]) -> Iterator[Piece]:
    """End before the first of ``stops``; what may be the beginning of one is held back."""
    watch = StopWatch(stops)
    for piece in pieces:
        shown = watch.pass_on(piece)
        yield shown
        if shown.finish:
            return


def overlap(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that begins one of ``stops``."""
    longest = max((len(stop) - 1 for stop in stops), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
