"""What a plan is to achieve, and within which bounds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gigafactory.describe.spec import Spec
from gigafactory.units import Seconds, Usd, Watts


class Goal(StrEnum):
    """What the best layout is best at."""

    FASTEST = "fastest"
    CHEAPEST = "cheapest"
    """Fewest dollars for all tokens, at the rent."""
    TOKENS_PER_JOULE = "tokens-per-joule"


class EngineKind(StrEnum):
    """The training program whose rules decide what is legal."""

    ANY = "any"
    """Legal for at least one of megatron, torchtitan, ours."""
    MEGATRON = "megatron"
    TORCHTITAN = "torchtitan"
    OURS = "ours"
    RESEARCH = "research"
    """Schedules that only the code of their papers runs: ZB-H1, DualPipe."""


def _num_gpus(value: Any) -> Any:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if value is None or value == "free" or is_count:
        return value
    raise PydanticCustomError("gpus", "must be a number of GPUs above 0, or free")


class Aim(Spec):
    """Goal and bounds of `giga plan`; bounds are on the whole job with its expected failures."""

    goal: Goal = Goal.FASTEST
    engine: EngineKind = EngineKind.ANY
    gpus: Annotated[int | Literal["free"] | None, BeforeValidator(_num_gpus)] = None
    """GPUs at most; ``free``: as few of the cluster's as the goal likes; default: all of them."""
    deadline_s: Seconds | None = Field(default=None, gt=0)
    """Wall time until the last token."""
    budget_usd: Usd | None = Field(default=None, gt=0)
    """Rent until the last token."""
    power_w: Watts | None = Field(default=None, gt=0)
    """Draw at the site of the hosts that take part and their share of network and storage."""
