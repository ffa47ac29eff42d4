"""What the controller may do and how long it waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gigafactory.control.timeouts import Ladder
from gigafactory.describe.errors import InputError
from gigafactory.describe.policy import Recovery
from gigafactory.units import DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What each way to go on takes, in seconds, as far as that is known beforehand."""

    recovery: Recovery = Recovery.RESTART
    """The most that the program, or its launcher, is able to."""
    can_shrink: bool = False
    num_replicas: int = 1
    """Data-parallel replicas at the launch; seats belong to them in blocks of ``replica_hosts``."""
    replica_hosts: int = 0
    """Hosts of one replica; 0: all."""
    min_replicas: int = 1
    step_s: float = 1.0
    mtbf_s: float = DAY_S
    """Between interruptions of the whole job."""
    cold_s: float = 60.0
    """Processes, rendezvous, communicators; the restore comes on top."""
    warm_s: float = 60.0
    """New communicators among processes that stayed."""
    join_s: float = 60.0
    """From JoinReplica until the replica computes; the others go on meanwhile."""
    drop_s: float = 1.0
    """The others stand still for this when a replica is dropped or joins."""
    restore_peer_s: float = 0.0
    restore_store_s: float = 0.0
    repair_s: float = DAY_S
    """Mean time until an evicted host is back."""
    peer_stride: int = 0
    """Seats from a host to the keeper of its copy; 0: no copies in memory."""
    has_local: bool = False
    """Hosts checkpoint to their own disks."""
    local_every_s: float = 0.0
    """Work between such copies."""
    local_blocking_s: float = 0.0
    """Training stands still for this long at one."""
    local_write_s: float = 0.0
    """From the end of the stall until it is on every disk."""
    restore_local_s: float = 0.0
    store_every_s: float = 0.0
    """Work between checkpoints in the store while all is well."""
    slow_from: float = 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Every bound of the brain. `from_study.config_from_study` fills it in."""

    ladder: Ladder
    prices: Prices = Prices()
    max_restarts_without_progress: int = 3
    """Starts after unexplained failures, without a new checkpoint between them."""
    max_evictions_per_h: int = 30
    """Incidents, not hosts: a dead rack is one."""
    max_probes: int = 3
    """Questions to the witness before a silent host blocks the start (NO_WITNESS)."""
    max_stops: int = 5
    """Times StopGang is repeated before the generation counts as fenced off."""
    max_accused: int = 64
    """A hang that accuses more hosts accuses nobody."""
    max_replays_per_h: int = 4
    """Anomalies beyond these are taken for odd text."""
    accusation_s: float = DAY_S
    """Two accusations of one host within this, in different generations, condemn it."""
    max_hold_s: float = 7 * DAY_S
    """A HOLD that nobody lifts, and during which no host comes back, for so long ends the campaign
    as FAILED."""


def config_to_json(config: ControlConfig) -> dict[str, Any]:
    """Plain JSON, for the ledger's first entry."""
    return asdict(config)


def config_from_json(source: dict[str, Any]) -> ControlConfig:
    """The inverse; InputError where a key is missing or unknown."""
    try:
        prices = dict(source.get("prices", {}))
        prices["recovery"] = Recovery(prices.get("recovery", Recovery.RESTART))
        ladder_of = Ladder(**source["ladder"])
        return ControlConfig(**{**source, "ladder": ladder_of, "prices": Prices(**prices)})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"controller: not a configuration of this controller: {error}") from None
