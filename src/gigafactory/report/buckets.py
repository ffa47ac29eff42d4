"""The buckets of the ledger as the page shows them: order, words, colours."""

from __future__ import annotations

from collections.abc import Iterable

#: bucket -> (what it means, colour). Work first, then upkeep, recovery, slowness, waiting.
_SHOWN = {
    "productive": ("productive", "blue"),
    "init": ("start", "sky"),
    "data_wait": ("waiting for data", "green-pale"),
    "checkpoint": ("checkpoint", "green"),
    "detect": ("detecting", "red"),
    "decide": ("deciding", "red-pale"),
    "replace": ("replacing", "orange"),
    "rendezvous": ("rendezvous", "orange-pale"),
    "restore": ("restoring", "yellow"),
    "rework": ("redone work", "pink"),
    "degraded": ("degraded", "pink-pale"),
    "straggler": ("stragglers", "blue-pale"),
    "sdc_replay": ("corruption replay", "sky-pale"),
    "hold": ("on hold", "ink"),
    "planned": ("planned stop", "grey"),
    "idle_spare": ("idle spares", "grey-pale"),
    "other": ("other", "yellow-pale"),
}
PRODUCTIVE = "productive"
IDLE_SPARE = "idle_spare"


def in_order(buckets: Iterable[str]) -> list[str]:
    """Buckets in the order of the page, unknown ones last by name."""
    places = {bucket: place for place, bucket in enumerate(_SHOWN)}
    return sorted(set(buckets), key=lambda b: (places.get(b, len(places)), b))


def words(bucket: str) -> str:
    """What to call it."""
    return _SHOWN.get(bucket, (bucket.replace("_", " "), ""))[0]


def tone(bucket: str) -> str:
    """Its colour class."""
    return _SHOWN.get(bucket, ("", "grey"))[1]
