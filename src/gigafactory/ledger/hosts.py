"""Hosts as runs of numbers, in their order: ``"0-41,12500,43-12499"``.

A gang of 12,500 hosts stays a line that a person can read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

#: From here on numbers are compared by the column.
_MANY = 48


def runs_text(hosts: tuple[int, ...]) -> str:
    """``(0, 1, 2, 9)`` -> ``"0-2,9"``; order is kept, only rising neighbours join."""
    if len(hosts) == 1:
        return str(hosts[0])
    return _few(hosts) if len(hosts) < _MANY else _many(hosts)


def runs_tuple(text: Any) -> tuple[int, ...]:
    """The inverse of `runs_text`; ValueError on anything else."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a list of hosts like '0-41,57'")
    hosts: list[int] = []
    for run in text.split(",") if text else ():
        first, dash, last = run.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{run!r} is not a host or a run of hosts like '0-41'")
        hosts.extend(range(int(first), int(last or first) + 1))
    return tuple(hosts)


def seats_after(
    before: tuple[int, ...], seated: Iterable[tuple[int, int]], *, num_hosts: int | None = None
) -> tuple[int, ...]:
    """The host of every seat, after (seat, host) pairs were seated anew.

    ``num_hosts``: seats that there are now; a gang that shrinks gives up its last seats, one that
    grows names the hosts of the new ones. Without it no seat is given up. ValueError where a seat
    would have no host.
    """
    hosts = list(before if num_hosts is None else before[:num_hosts])
    for seat, host in sorted(seated):
        if seat < len(hosts):
            hosts[seat] = host
        elif seat == len(hosts):
            hosts.append(host)
        else:
            raise ValueError(f"seat {len(hosts)} has no host: no line before seated one there")
    if num_hosts is None or len(hosts) == num_hosts:
        return tuple(hosts)
    if len(hosts) > num_hosts:
        raise ValueError(f"seat {len(hosts) - 1} lies beyond the {num_hosts} seats of this gang")
    raise ValueError(f"seat {len(hosts)} has no host: no line before seated one there")


def _few(hosts: tuple[int, ...]) -> str:
    found: list[str] = []
    first = last = -2
    for host in (*hosts, -2):
        if host == last + 1 and first >= 0:
            last = host
            continue
        if first >= 0:
            found.append(f"{first}" if first == last else f"{first}-{last}")
        first = last = host
    return ",".join(found)


@lru_cache(maxsize=32)
def _many(hosts: tuple[int, ...]) -> str:
    column = np.frombuffer(array("q", hosts), dtype=np.int64)
    ends = np.append(np.flatnonzero(np.diff(column) != 1), len(hosts) - 1)
    starts = np.append(0, ends[:-1] + 1)
    pairs = zip(column[starts].tolist(), column[ends].tolist(), strict=True)
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)
