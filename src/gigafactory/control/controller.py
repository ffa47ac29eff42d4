"""The one door of the brain: an event in, actions out.

Pure and total: no clock, no dice, no input or output, and no sequence of events, however absurd,
raises. The twin and the driver call exactly this.
"""

from __future__ import annotations

from collections.abc import Sequence

from gigafactory.control.actions import Action, HoldReason
from gigafactory.control.config import ControlConfig
from gigafactory.control.deadlines import expire, expire_hold, wake
from gigafactory.control.events import Event
from gigafactory.control.observe import FENCED, observe
from gigafactory.control.recovery import reconcile
from gigafactory.control.state import Ignored, Replica, State
from gigafactory.control.states import Membership, Phase


class Controller:
    """Decides about one campaign. Same events, same actions, same `state_hash`."""

    def __init__(self, config: ControlConfig) -> None:
        self._state = State(config)

    @property
    def phase(self) -> Phase:
        """Where the campaign stands."""
        return self._state.phase

    @property
    def generation(self) -> int:
        """The newest generation that was started."""
        return self._state.gang.generation

    @property
    def committed_step(self) -> int | None:
        """The checkpoint a restart would restore."""
        return self._state.progress.newest()

    @property
    def doubts_step(self) -> bool:
        """Whether a step is, or is about to be, computed again to see whether it was right."""
        return self._state.replay is not None or self._state.suspicion is not None

    @property
    def held(self) -> HoldReason | None:
        """Why nothing happens, while HOLDING."""
        return self._state.held

    @property
    def config(self) -> ControlConfig:
        """What it may do and how long it waits."""
        return self._state.config

    @property
    def hosts(self) -> Sequence[int]:
        """The host of every seat."""
        return self._state.fleet.hosts()

    @property
    def replicas(self) -> dict[int, tuple[Membership, int]]:
        """Membership and incarnation (0: it came with the gang) of every replica of the gang."""
        known, new = self._state.gang.replicas, Replica()
        found = (known.get(number, new) for number in range(self._state.num_replicas()))
        return {number: (one.membership, one.incarnation) for number, one in enumerate(found)}

    @property
    def ignored(self) -> dict[str, int]:
        """How many events changed nothing, by `state.Ignored` value."""
        return {why.value: num for why, num in sorted(self._state.ignored.items())}

    def state_hash(self) -> str:
        """sha256 over everything the controller knows, in hexadecimal."""
        return self._state.fingerprint()

    def handle(self, event: Event) -> list[Action]:
        """Take one observation in; the actions that are missing towards the goal."""
        state = self._state
        state.out = []
        if state.phase is Phase.FINISHED:
            state.ignore(Ignored.FINISHED)
            return []
        state.now_s = max(state.now_s, event.at_s)
        if not isinstance(event, FENCED) or self._is_current(event.generation):
            observe(state, event)
        expire(state)
        reconcile(state)
        expire_hold(state)
        wake(state)
        return state.out

    def _is_current(self, generation: int) -> bool:
        """Fence: whatever another generation reports is counted and forgotten."""
        current = self._state.gang.generation
        if generation != current:
            stale = generation < current
            self._state.ignore(Ignored.STALE if stale else Ignored.FUTURE)
        return generation == current
