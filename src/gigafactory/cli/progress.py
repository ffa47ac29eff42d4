"""How far things are, on stderr: a real run with whatever happens, and what is only counted."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from gigafactory.units import show

if TYPE_CHECKING:
    from gigafactory.run.progress import Progress


class Screen:
    """Shows snapshots of a run; where stderr is no terminal, a line every tenth of the way."""

    def __init__(self) -> None:
        # messages come from anywhere, and a bracket in one is a bracket
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar = Bar(
            TextColumn("{task.fields[stage]:<10}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._told = 0

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, seen: Progress) -> None:
        """Move the bar; a message becomes a line of its own above it."""
        if self._task is None:
            self._task = self._bar.add_task("", total=seen.num_steps, stage="", words="")
        words = _words(seen)
        self._bar.update(self._task, completed=seen.step, stage=seen.stage.value, words=words)
        if seen.message:
            self._console.print(f"{seen.at_s:7.1f} s  {seen.message}", soft_wrap=True)
        elif not self._console.is_terminal and self._tenth(seen) > self._told:
            self._told = self._tenth(seen)
            self._console.print(
                f"{seen.at_s:7.1f} s  step {seen.step} of {seen.num_steps}  {words}", soft_wrap=True
            )

    @staticmethod
    def _tenth(seen: Progress) -> int:
        return 10 * seen.step // max(1, seen.num_steps)


class Counting:
    """How much of it is done; a line every tenth of the way where stderr is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._console = Console(stderr=True, highlight=False)
        self._bar = Bar(
            TextColumn(what),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, words="")
        self._told = 0

    def __enter__(self) -> Counting:
        self._bar.start()
        if not self._console.is_terminal:
            self._console.print(f"{self._what} ...", style="dim")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, num_done: int, num_all: int) -> None:
        """Move the bar to so many of so many."""
        self._move(num_done / num_all, f"{num_done:,} of {num_all:,}")

    def show_share(self, share: float) -> None:
        """Move the bar to this share of the way."""
        self._move(share, f"{share:.0%}")

    def _move(self, share: float, words: str) -> None:
        self._bar.update(self._task, completed=share, words=words)
        tenth = int(10 * share + 1e-9)
        if not self._console.is_terminal and tenth > self._told:
            self._told = tenth
            self._console.print(words, style="dim")


def _words(seen: Progress) -> str:
    parts = []
    if seen.loss is not None:
        parts.append(f"loss {seen.loss:.3f}")
    if seen.tokens_per_s:
        parts.append(show(seen.tokens_per_s, "tokens/s"))
    if seen.committed_step is not None:
        parts.append(f"safe up to {seen.committed_step}")
    return "  ".join(parts)
