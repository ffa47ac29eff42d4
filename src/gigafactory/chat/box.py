"""Between whoever produces pieces and whoever sends them: neither waits for the other's pace.

What lies in the box is bounded by what an engine may say at all (its context), so that a slow
reader costs a few kilobytes and nobody else's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from gigafactory.chat.engine import Piece

Bunch = Sequence[Piece]
"""What was said since the last look; never empty."""


class Box:
    """Used within one event loop; one reader."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._error: BaseException | None = None
        self._is_closed = False
        self._reader: asyncio.Future[None] | None = None

    def put(self, pieces: Bunch) -> None:
        """Add to what lies there."""
        self._pieces.extend(pieces)
        self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more comes; ``error`` is raised behind what lies there."""
        self._is_closed, self._error = True, self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def bunches(self) -> AsyncGenerator[Bunch]:
        """Everything put in, as many pieces at a time as there are."""
        while True:
            if self._pieces:
                pieces, self._pieces = self._pieces, []
                yield pieces
            elif self._is_closed:
                if self._error is not None:
                    raise self._error
                return
            else:
                self._reader = asyncio.get_running_loop().create_future()
                await self._reader
