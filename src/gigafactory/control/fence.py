"""The executor's side of a token: what is done, what was done already, and what comes too late.

Whoever carries actions out (an agent on a host, the launcher of a gang, the repair crew) keeps one
`Fence` for each thing it acts upon. A controller may then ask twice after a crash, and a message
that lingered in the network can neither start a gang of the past nor stop that of the present.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from gigafactory.control.actions import (
    Action,
    EvictHosts,
    Finish,
    Hold,
    ProbeHost,
    Token,
    WakeAt,
)


class Admission(Enum):
    """What an executor does with an action."""

    NEW = "new"
    """Carry it out."""
    DUPLICATE = "duplicate"
    """It was carried out: answer again, and do nothing."""
    OLDER = "older"
    """Something newer was carried out: refuse it."""


@dataclass(slots=True)
class Fence:
    """Remembers the newest token that it let pass."""

    newest: Token | None = None

    def admit(self, token: Token) -> Admission:
        """Judge ``token``, and remember it where it is new."""
        if self.newest is None or token > self.newest:
            self.newest = token
            return Admission.NEW
        return Admission.DUPLICATE if token == self.newest else Admission.OLDER


class Fences:
    """One fence for the gang, and one for each host that was ever evicted."""

    def __init__(self) -> None:
        self._gang = Fence()
        self._hosts: dict[int, Fence] = {}

    def left_of(self, action: Action) -> Action | None:
        """What of ``action`` is new; None: nothing. Questions and own affairs carry no fence."""
        if isinstance(action, (ProbeHost, WakeAt, Hold, Finish)):
            return action
        if isinstance(action, EvictHosts):
            hosts = tuple(h for h in action.hosts if self._is_new(h, action.token))
            return replace(action, hosts=hosts) if hosts else None
        return action if self._gang.admit(action.token) is Admission.NEW else None

    def _is_new(self, host: int, token: Token) -> bool:
        return self._hosts.setdefault(host, Fence()).admit(token) is Admission.NEW
