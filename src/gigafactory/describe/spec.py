"""The base of every description: frozen, strict, and spelled in files without unit suffixes.

A field is named with its unit (``memory_bytes``) and holds an SI float. In a file the value
carries the unit, so the key does not (``memory: 80 GB``); the alias is derived, not typed.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_SUFFIXES = (
    "_bytes_per_s", "_flops_per_s", "_usd_per_s", "_usd_per_j", "_kg_per_j", "_w_per_s",
    "_per_s",
    "_bytes", "_flops", "_usd", "_s", "_w", "_j",
)  # fmt: skip


def file_key(field: str) -> str:
    """``memory_bytes`` -> ``memory``: the key a person writes in a study file."""
    for suffix in _SUFFIXES:
        if field.endswith(suffix):
            return field.removesuffix(suffix)
    return field


class Spec(BaseModel):
    """A frozen description; unknown keys are refused, values are checked on construction."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=file_key,
        populate_by_name=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
