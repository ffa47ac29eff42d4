"""Structured logs: one JSON object a line, about requests and never with what was said in them."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

NAME = "gigafactory.chat"


class JsonLines(logging.Formatter):
    """``extra={"fields": {...}}`` becomes the line's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {"at_s": round(record.created, 3), "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        line |= fields if fields is not None else {"message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def start_logging(where: str) -> None:
    """Write the service's log to the file ``where``; "-" is stderr."""
    out = logging.StreamHandler(sys.stderr) if where == "-" else logging.FileHandler(Path(where))
    out.setFormatter(JsonLines())
    log = logging.getLogger(NAME)
    log.handlers[:] = [out]
    log.setLevel(logging.INFO)
    log.propagate = False
