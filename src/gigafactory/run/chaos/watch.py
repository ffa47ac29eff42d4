"""Following a run by its book, as anybody can from outside."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gigafactory.ledger.hosts import runs_tuple


@dataclass(slots=True)
class Watch:
    """What the book says so far; ``look`` reads what is new."""

    book: Path
    at_s: float = 0.0
    step: int = 0
    training: set[int] = field(default_factory=set)
    """Replicas that compute, as the brain knows."""
    num_replicas: int = 0
    is_closed: bool = False
    num_entries: int = 0
    _offset: int = 0
    _origin_s: float = math.inf
    """When the book began, by our clock."""

    def look(self) -> None:
        """Whole lines since the last look."""
        try:
            with self.book.open("rb") as stream:
                stream.seek(self._offset)
                chunk = stream.read()
        except FileNotFoundError:
            return
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def now_s(self) -> float:
        """The time of the book now, as far as its lines tell: they come some moments late."""
        return max(self.at_s, time.monotonic() - self._origin_s)

    def _take(self, entry: dict[str, Any]) -> None:
        self.at_s = entry["at_s"]
        # a line is seen some time after it was written: the earliest sight is the best one
        self._origin_s = min(self._origin_s, time.monotonic() - self.at_s)
        self.num_entries += 1
        match entry["kind"]:
            case "opened":
                self.num_replicas = entry["controller"]["prices"]["num_replicas"]
            case "steps":
                self.step = entry["step"]
            case "closed" | "resumed":
                self.is_closed = entry["kind"] == "closed"
                # another driver counts its own time
                self._origin_s = math.inf
            case "event":
                self._hear(entry["event"])
            case "action":
                self._see(entry["action"])

    def _hear(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "GangReady":
                self.training = set(range(self.num_replicas))
            case "ReplicaReady":
                self.training.add(event["replica"])

    def _see(self, action: dict[str, Any]) -> None:
        match action["type"]:
            case "DropReplicas":
                self.training -= set(runs_tuple(action["replicas"]))
            case "StopGang" | "StartGang":
                self.training.clear()


def pids(place: Path) -> dict[int, int]:
    """Process of each replica's first rank that lives."""
    try:
        members = json.loads((place / "members.json").read_text())
    except (OSError, ValueError):
        return {}
    return {member["replica"]: member["pid"] for member in members if member["rank"] == 0}
