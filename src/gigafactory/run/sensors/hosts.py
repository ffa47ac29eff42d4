"""What a launcher sees of its hosts, as events for the brain and entries of the book."""

from __future__ import annotations

from gigafactory.control import events as ev
from gigafactory.describe.faults import FaultClass
from gigafactory.ledger import entries as book
from gigafactory.run.launchers.launcher import (
    HostHeard,
    HostLost,
    HostReady,
    HostSilent,
    OfHost,
    Witnessed,
)
from gigafactory.run.sensors.gang import Note, Seen


def seen_of_host(item: OfHost, at_s: float) -> list[Seen]:
    """Events and entries, in the order in which they are to be told."""
    match item:
        case HostLost(host=host, cause=cause):
            fault = book.FaultStruck(cause=cause, fault=FaultClass.HOST.value, hosts=(host,))
            return [Note(at_s, fault), ev.HostsDied(at_s=at_s, hosts=(host,), cause=cause)]
        case HostSilent(host=host):
            return [ev.HostUnreachable(at_s=at_s, host=host)]
        case HostHeard(host=host):
            return [ev.HostReachable(at_s=at_s, host=host)]
        case HostReady(host=host):
            return [ev.HostRepaired(at_s=at_s, host=host)]
        case Witnessed(host=host, alive=alive):
            return [ev.WitnessSpoke(at_s=at_s, host=host, alive=alive)]
