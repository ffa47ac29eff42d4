"""A parrot behind keys and a ledger, as a program: prints its address, serves until it is ended."""

from __future__ import annotations

import sys

from parrot import Parrot

from gigafactory.chat.line import Line
from gigafactory.chat.opening import Opening, open_service
from gigafactory.chat.server import Door, serve_service

if __name__ == "__main__":
    parrot = Parrot(context_tokens=100_000, step_s=0.002)
    service = open_service([Line(parrot, max_waiting=8)], Opening(store=sys.argv[1]))
    serve_service(service, door=Door(port=0), on_ready=lambda url: print(url, flush=True))
