"""How long the world takes for small things; assumptions where no source is named."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Seconds."""

    stop_s: float = 2.0
    """SIGKILL, and the confirmation that no process is left."""
    probe_s: float = 2.0
    """A second witness (BMC, switch) answers."""
    job_detect_s: float = 1.0
    """A process exits with an error of its own (ByteRobust, arXiv:2509.16293, table 3)."""
    notice_s: float = 3600.0
    """Between the announcement of maintenance and the host being taken."""
    flap_s: float = 20.0
    """Heartbeats of a healthy host are back this long after a false alarm."""
    person_s: float = 1800.0
    """A person who was called lifts a hold."""
