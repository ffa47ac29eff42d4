"""A service that answers from posts alone, as a program: prints its address, until interrupted."""

from __future__ import annotations

import sys
from pathlib import Path

from gigafactory.chat.opening import Opening, open_service
from gigafactory.chat.server import Door, serve_service

if __name__ == "__main__":
    store = sys.argv[2] if len(sys.argv) > 2 else None
    service = open_service([], Opening(posts=Path(sys.argv[1]), store=store))
    serve_service(service, door=Door(port=0), on_ready=lambda url: print(url, flush=True))
