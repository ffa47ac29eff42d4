"""Lay one description over another, key by key."""

from __future__ import annotations

from typing import Any


def merge(base: Any, over: Any) -> Any:
    """``over`` on top of ``base``, mappings key by key, everything else replaced.

    A mapping over a catalog name is a variation of that entry; a mapping with its own
    ``extends`` starts afresh; ``{"0": ...}`` over a list changes its first element.
    """
    if not isinstance(over, dict) or "extends" in over:
        return over
    if isinstance(base, str):
        return {"extends": base, **over}
    if isinstance(base, list) and over and all(k.isdigit() and int(k) < len(base) for k in over):
        return [merge(v, over[str(i)]) if str(i) in over else v for i, v in enumerate(base)]
    if not isinstance(base, dict):
        return over
    return base | {key: merge(base.get(key), value) for key, value in over.items()}


def nest(path: tuple[str, ...], value: Any) -> Any:
    """``nest(("job", "seq_len"), 8)`` -> ``{"job": {"seq_len": 8}}``."""
    for key in reversed(path):
        value = {key: value}
    return value
