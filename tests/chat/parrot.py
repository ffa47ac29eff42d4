"""An engine that says back what it hears, word by word: deterministic, with failures on demand.

As a program it serves two parrots on a free port and prints the address, until interrupted.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence

from gigafactory.chat.engine import Finish, Message, Origin, Piece, Sampling
from gigafactory.chat.server import serve


class Parrot:
    origin = Origin.TRAINED
    about = "It says back what it hears."

    def __init__(
        self, name: str = "parrot", *, context_tokens: int = 40, step_s: float = 0.0
    ) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.step_s = step_s
        self.heard: list[tuple[Sequence[Message], Sampling]] = []
        self.num_steps = 0
        self.was_closed = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.threads: set[str] = set()

    def num_tokens(self, messages: Sequence[Message]) -> int:
        """A token a word, and one that opens each turn."""
        return sum(1 + len(message.content.split()) for message in messages)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Piece]:
        self.heard.append((messages, sampling))
        try:
            yield from self._said(messages[-1].content, sampling.max_tokens)
        finally:
            self.was_closed.set()

    def _said(self, question: str, max_tokens: int) -> Iterator[Piece]:
        words = self._words(question)
        for num_tokens, word in enumerate(words, start=1):
            self.may_go_on.wait(10)
            time.sleep(self.step_s)
            self.num_steps += 1
            self.threads.add(threading.current_thread().name)
            finish = Finish.LENGTH if num_tokens == max_tokens else None
            yield Piece(word, finish=finish)
            if finish:
                return
        yield Piece("", 0, Finish.STOP)

    def _words(self, question: str) -> Iterator[str]:
        if question == "say nothing":
            return
        if question == "only blanks":
            yield from (" ", "\n")
            return
        words = question.split()
        while True:
            for index, word in enumerate(words):
                yield word if index == 0 and question != "for ever" else f" {word}"
            if question == "break down":
                raise RuntimeError("the parrot fell off its perch")
            if question != "for ever":
                return


def main() -> None:
    slow = Parrot("slow-parrot", context_tokens=100_000, step_s=0.05)
    quick = Parrot("parrot", context_tokens=100_000, step_s=0.005)
    serve([quick, slow], port=int(sys.argv[1]), on_ready=lambda url: print(url, flush=True))
    print("closed", flush=True)


if __name__ == "__main__":
    main()
