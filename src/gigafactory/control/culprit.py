"""Who is to blame for a hang: never the rank that timed out, but whom the others wait for.

A rank that stops, stops its whole job: its group waits for it, and every group of theirs for
them. So nearly everybody waits, and the culprit is among the few who do not; where nobody is seen
that does not wait, the smallest parallel group in which somebody waits is where the chain ends,
for the large groups wait for members of the small ones.

Source: ByteRobust (arXiv:2509.16293), section 5: machines are isolated by the smallest parallel
group that the outliers share.
"""

from __future__ import annotations

from collections.abc import Iterable


def suspects(
    *,
    silent: Iterable[int],
    groups: Iterable[tuple[int, ...]] = (),
    waiting: Iterable[int] = (),
) -> tuple[int, ...]:
    """Hosts to be asked about, in order of their number; empty where nothing tells them apart.

    ``silent``: hosts that a sensor misses; ``groups``: the parallel groups in which somebody waits;
    ``waiting``: hosts whose ranks wait. A host that waits is accused only where all of its
    smallest group do.
    """
    victims = frozenset(waiting)
    missed = set(silent) - victims
    if missed:
        return tuple(sorted(missed))
    by_size = sorted({frozenset(group) for group in groups if group}, key=len)
    for group in by_size:
        if absent := group - victims:
            return tuple(sorted(absent))
    return tuple(sorted(_smallest(by_size)))


def _smallest(by_size: list[frozenset[int]]) -> frozenset[int]:
    """What the smallest groups share; nothing where they share nothing, or all groups are alike."""
    if not by_size:
        return frozenset()
    least = [group for group in by_size if len(group) == len(by_size[0])]
    if len(least) == len(by_size) > 1:
        return frozenset()
    return frozenset.intersection(*least)
