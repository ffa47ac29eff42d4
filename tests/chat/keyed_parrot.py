"""Parrots behind keys and a ledger, as a program: prints its address, serves until it is ended.

One of them says where it has its words from, as an answerer that looks things up does.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from dataclasses import replace

from parrot import Parrot

from gigafactory.chat.box import Bunch
from gigafactory.chat.completion import Job
from gigafactory.chat.engine import More, Source
from gigafactory.chat.line import Line
from gigafactory.chat.opening import Opening, open_service
from gigafactory.chat.server import Door, serve_service

SOURCES = (
    Source(id="post-7", quote="It was one.", first=0, last=3, title="A post"),
    Source(id="post-9", quote="<b>two</b>", url="javascript:alert(1)"),
)


class Sourced(Line):
    async def said(self, job: Job) -> AsyncGenerator[Bunch]:
        async for bunch in super().said(job):
            more = More(sources=SOURCES)
            yield [replace(piece, more=more) if piece.finish else piece for piece in bunch]


if __name__ == "__main__":
    plain = Parrot(context_tokens=100_000, step_s=0.002)
    sourced = Sourced(Parrot("sourced", context_tokens=100_000), max_waiting=8)
    service = open_service([Line(plain, max_waiting=8), sourced], Opening(store=sys.argv[1]))
    serve_service(service, door=Door(port=0), on_ready=lambda url: print(url, flush=True))
