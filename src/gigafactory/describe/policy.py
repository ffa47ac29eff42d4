"""What the controller may do when something breaks, and how long it waits."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt, model_validator

from gigafactory.describe.spec import Spec
from gigafactory.units import Seconds


class Recovery(StrEnum):
    """What a failure costs those that it did not hit."""

    RESTART = "restart"
    """Everything ends and starts cold, from the store: plain checkpoint and restart."""
    HOT = "hot"
    """Healthy processes stay, a spare steps in, all restore from the nearest copy."""
    REPLICAS = "replicas"
    """Replica groups: the others go on without the broken one, which joins them again."""


class Policy(Spec):
    """What the controller may do, and how long it waits; see control/."""

    recovery: Recovery = Recovery.HOT
    shrink: bool = True
    """Train on with fewer data-parallel replicas where too few hosts are left."""
    peer_copies: bool = True
    """After each step every host keeps a copy of another host's state in its memory."""
    local_copies: bool = False
    """Every host keeps copies of its own state on its own disk: they outlive a process, and go
    with a host that is lost."""
    local_interval_s: Seconds | None = Field(default=None, gt=0)
    """Work between copies on the hosts' disks; default: Young/Daly from their blocking part and
    the failures that they mend."""
    checkpoint_interval_s: Seconds | None = Field(default=None, gt=0)
    """Work between checkpoints in the store; default: Young/Daly from the failures that need it."""
    min_replicas_share: float = Field(default=0.5, gt=0, le=1)
    """With fewer of the replicas than this share, waiting for hosts beats training on."""
    slow_from: float = Field(default=1.02, ge=1)
    """A host is slow when its steps take so many times its peers'."""
    max_restarts_without_progress: PositiveInt = 3
    max_evictions_per_h: PositiveInt = 30
    heartbeat_timeout_s: Seconds = Field(default=10.0, gt=0)
    progress_timeout_s: Seconds = Field(default=600.0, gt=0)
    """No step for this long while RUNNING is a hang."""
    start_timeout_s: Seconds = Field(default=1800.0, gt=0)
    """Rendezvous and restore must end within this."""

    @model_validator(mode="after")
    def _interval_has_copies(self) -> Policy:
        if self.local_interval_s is not None and not self.local_copies:
            raise ValueError("local_interval says how often; local_copies must be true with it")
        return self

    @model_validator(mode="after")
    def _copies_have_a_use(self) -> Policy:
        kept = [name for name in _COPIES if name in self.model_fields_set and getattr(self, name)]
        if self.recovery is Recovery.RESTART and kept:
            raise ValueError(
                f"with recovery restart all is read from the store, and {' and '.join(kept)} would "
                "do nothing; write recovery hot or replicas, or "
                f"{' and '.join(f'{name}: false' for name in kept)}"
            )
        return self

    def plain(self) -> Policy:
        """Checkpoint and restart: the same bounds, and no copies near the hosts."""
        without = {"peer_copies": False, "local_copies": False, "local_interval_s": None}
        return self.model_copy(update={"recovery": Recovery.RESTART} | without)


#: Near the hosts, by the field that asks for them.
_COPIES = ("peer_copies", "local_copies")
