"""What lies between brain and hosts: messages that get lost, doubled, late, old, or out of order.

`Wire` stands where the twin expects its controller. Every event on its way in and every action on
its way out is one numbered message, and the dice of a number are its own: leaving one trouble out
changes nobody else's, which is what lets a failing run be shrunk.

Three things are taken as given, because production has them too:

- a *fact* (a host died, was repaired, is announced) is told again until it was heard, so that a
  loss makes it late; a *moment* (a process ended, a gang is ready) is gone when its message is;
- a report of good steps stands in the twin for one message a step, so it may be doubled, old or
  of a wrong clock, but its loss would be that of hundreds in a row, which is the twin's own
  fault class CONTROL;
- the book and the alarm clock belong to the controller's own process.

The controller itself may die between any two entries of its book: before the event was written,
or after any of the actions. The next one is fed the book, and then told `Reattached`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Protocol

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig
from gigafactory.control.controller import Controller
from gigafactory.control.fence import Admission, Fence
from gigafactory.simulate.rng import stream

_BLOCK = 1024
#: Seconds after which a fact that was not acknowledged is told again.
RETELL_S = 300.0


class Trouble(StrEnum):
    """What may happen to one message."""

    LOST = "lost"
    DOUBLED = "doubled"
    LATE = "late"
    """Held back; whatever is sent meanwhile overtakes it."""
    STALE = "stale"
    """Told in time, and much later once more: a cache, a replayed queue."""
    SKEWED = "skewed"
    """The sender's clock is wrong."""
    CRASHED = "crashed"
    """The controller dies over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The share of messages that meets each trouble (their sum at most 1), and how bad it is."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    stale: float = 0.0
    skewed: float = 0.0
    crashed: float = 0.0
    late_s: float = 30.0
    """At most so late; the delays are spread evenly."""
    stale_s: float = 1800.0
    skew_s: float = 5.0
    """At most so wrong, either way."""
    down_s: float = 60.0
    """At most so long without a controller."""
    max_crashes: int = 8
    until_s: float = math.inf
    """From then on the wire is perfect."""
    only: frozenset[int] | None = None
    """Numbers of the messages that may meet trouble; None: all."""

    def shares(self) -> tuple[tuple[Trouble, float], ...]:
        """Trouble and the upper end of its part of the unit interval."""
        found, upper = [], 0.0
        for trouble in Trouble:
            upper += getattr(self, trouble.value)
            found.append((trouble, upper))
        return tuple(found)


class Executors(Protocol):
    """Whoever carries actions out, and owns the clock."""

    @property
    def now_s(self) -> float:
        """The time."""

    def after(self, wait_s: float, happening: Callable[[], None]) -> None:
        """Let something happen later."""

    def carry_out(self, actions: list[act.Action]) -> None:
        """Do what is asked for."""

    def answer_again(self, action: act.Action) -> list[ev.Event]:
        """What an executor says of an action that it carried out before."""

    def is_fit(self, host: int) -> bool:
        """The host is up."""

    def is_cut_off(self, host: int) -> bool:
        """Its links are down."""

    @property
    def storage(self) -> float:
        """How many times its usual time the store takes."""

    def keeps(self, event: ev.Event) -> bool:
        """Whether nobody can be told now: it tells ``event`` when somebody can."""

    def report(self) -> None:
        """Let the gang tell its progress until now, which every message finds told already."""

    def report_soon(self) -> None:
        """Let the gang tell its progress within a few steps."""


class Observer(Protocol):
    """Sees everything that passes; see laws.py."""

    def heard(self, event: ev.Event, actions: list[act.Action], *, now_s: float) -> None:
        """The controller took ``event`` in and asked for ``actions``."""

    def reached(self, action: act.Action, admission: Admission, *, now_s: float) -> None:
        """An action arrived at its executor."""


#: Enters one turn of the controller in the book.
Scribe = Callable[[ev.Event, list[act.Action], Controller], None]

#: Belong to the process of the controller: no wire carries them.
_OWN_EVENTS = (ev.Launched, ev.Ticked, ev.Reattached, ev.StopRequested, ev.ResumeRequested)
_OWN_ACTIONS = (act.WakeAt, act.Hold, act.Finish)
#: True of a moment only: nobody tells them again.
_MOMENTS = (
    ev.RankExited,
    ev.GangReady,
    ev.GangStopped,
    ev.CheckpointCommitted,
    ev.HangSuspected,
    ev.WitnessSpoke,
    ev.ReplicaReady,
    ev.ReplicaLost,
    ev.Replayed,
    ev.AnomalySeen,
)
#: Sensors look at these all the time, so that an old word of them is soon followed by a new one.
_STATES = (ev.HostUnreachable, ev.HostRepaired, ev.LinksDown, ev.StorageSeen)
_HARMLESS_TO_STEPS = (Trouble.DOUBLED, Trouble.STALE, Trouble.SKEWED, Trouble.CRASHED)


class Wire:
    """A controller at the end of a bad line. Call it with an event, like the controller itself."""

    def __init__(
        self,
        config: ControlConfig,
        *,
        noise: Noise,
        seed: int,
        scribe: Scribe,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.controller = Controller(config)
        self.history: list[ev.Event] = []
        """Every event in the book."""
        self.met: list[tuple[int, Trouble, str]] = []
        """Number, trouble and kind of the messages that met one."""
        self.num_crashes = 0
        self._config = config
        self._noise = noise
        self._shares = noise.shares()
        self._dice = _pairs(seed)
        self._num_messages = 0
        self._scribe = scribe
        self._observers = observers
        self._fences: dict[int, Fence] = {}
        self._repaired_s: dict[int, float] = {}
        """When a host last came back."""
        self._is_down = False
        self._waiting: list[ev.Event] = []
        self._alarm: act.WakeAt | None = None
        self._world: Executors | None = None

    def attach(self, world: Executors) -> None:
        """Name the other end."""
        self._world = world

    # -- towards the controller --------------------------------------------------------------

    def __call__(self, event: ev.Event) -> list[act.Action]:
        """An event is sent; the actions that reach their executors at once."""
        if isinstance(event, _OWN_EVENTS):
            return self._hear(event)
        if isinstance(event, ev.HostRepaired):
            self._repaired_s[event.host] = event.at_s
        trouble, share = self._draw(event)
        if trouble is Trouble.LOST:
            self._lose(event)
            return []
        if trouble is Trouble.LATE:
            self._tell_later(event, share * self._noise.late_s)
            return []
        if trouble is Trouble.DOUBLED:
            self._tell_later(event, share * self._noise.late_s)
        elif trouble is Trouble.STALE:
            self._tell_later(event, share * self._noise.stale_s)
        elif trouble is Trouble.SKEWED:
            shift_s = (2.0 * share - 1.0) * self._noise.skew_s
            event = replace(event, at_s=max(0.0, event.at_s + shift_s))
        elif trouble is Trouble.CRASHED:
            return self._crash(event, share)
        return self._hear(event)

    def _draw(self, message: ev.Event | act.Action) -> tuple[Trouble | None, float]:
        """What happens to this message, and a share in [0, 1) that says how badly."""
        number, (draw, share) = self._num_messages, next(self._dice)
        self._num_messages += 1
        noise = self._noise
        if self._world is None or self._world.now_s >= noise.until_s:
            return None, 0.0
        if noise.only is not None and number not in noise.only:
            return None, 0.0
        trouble = next((known for known, upper in self._shares if draw < upper), None)
        if trouble is None or not _may_meet(message, trouble):
            return None, 0.0
        if trouble is Trouble.CRASHED and (self._is_down or self.num_crashes >= noise.max_crashes):
            return None, 0.0
        self.met.append((number, trouble, type(message).__name__))
        return trouble, share

    def _lose(self, event: ev.Event) -> None:
        assert self._world is not None
        if not isinstance(event, _MOMENTS):
            self._tell_later(event, RETELL_S)
        elif isinstance(event, ev.GangReady):
            self._world.report_soon()

    def _tell_later(self, event: ev.Event, wait_s: float) -> None:
        assert self._world is not None
        self._world.after(wait_s, partial(self._arrive, event))

    def _arrive(self, event: ev.Event) -> None:
        assert self._world is not None
        self._world.report()
        if not self._world.keeps(event):
            self._world.carry_out(self._hear(event))
        if isinstance(event, _STATES):
            self._world.after(RETELL_S, partial(self._look_again, event))

    def _look_again(self, event: ev.Event) -> None:
        """Things are as they are, whatever an old message said of them."""
        world, now_s = self._world, self._now_s
        assert world is not None
        match event:
            case ev.HostUnreachable(host=host) if world.is_fit(host):
                self._again(ev.HostReachable(at_s=now_s, host=host))
            case ev.HostRepaired(host=host) if not world.is_fit(host):
                self._again(ev.HostUnreachable(at_s=now_s, host=host))
            case ev.LinksDown(hosts=hosts):
                up = tuple(h for h in hosts if world.is_fit(h) and not world.is_cut_off(h))
                if up:
                    self._again(ev.LinksUp(at_s=now_s, hosts=up))
            case ev.StorageSeen(slowdown=told) if told != world.storage:
                self._again(ev.StorageSeen(at_s=now_s, slowdown=world.storage))

    def _hear(self, event: ev.Event) -> list[act.Action]:
        """The controller takes it in, and both are in the book."""
        if self._is_down:
            if not isinstance(event, _MOMENTS):
                self._waiting.append(event)
            return []
        actions = self.controller.handle(event)
        self._set_alarm(actions)
        self._enter(event, actions)
        self._watch(event, actions)
        return self._send(actions)

    def _enter(self, event: ev.Event, actions: list[act.Action]) -> None:
        self.history.append(event)
        self._scribe(event, actions, self.controller)

    def _watch(self, event: ev.Event, actions: list[act.Action]) -> None:
        now_s = self._world.now_s if self._world else event.at_s
        for observer in self._observers:
            observer.heard(event, actions, now_s=now_s)

    # -- a controller that dies --------------------------------------------------------------

    def _crash(self, event: ev.Event, share: float) -> list[act.Action]:
        """The controller dies over ``event``; what it had sent by then."""
        assert self._world is not None
        self.num_crashes += 1
        actions = self.controller.handle(event)
        # -1: the event itself was not written down; 0: it was, and no action, and so forth
        num_written = math.floor(share * (len(actions) + 2)) - 1
        sent = actions[: max(0, num_written)]
        if num_written >= 0:
            self._enter(event, sent)
            self._watch(event, sent)
        elif not isinstance(event, _MOMENTS):
            self._waiting.append(event)
        self._is_down = True
        self._world.after(1.0 + share * self._noise.down_s, self._come_back)
        return self._send(sent)

    def _come_back(self) -> None:
        """The next controller: fed with the book, and told what nobody knows."""
        assert self._world is not None
        controller, last = Controller(self._config), list[act.Action]()
        self._alarm = None
        for event in self.history:
            last = controller.handle(event)
            self._set_alarm(last)
        self.controller, self._is_down = controller, False
        self._world.carry_out([a for a in last if isinstance(a, (act.Hold, act.Finish))])
        waiting, self._waiting = self._waiting, []
        # what was said meanwhile comes first, or its absence would look like silence
        for event in (*waiting, ev.Reattached(at_s=self._world.now_s)):
            self._arrive(event)
        if self._alarm is not None:
            self._world.carry_out([self._alarm])

    def _set_alarm(self, actions: list[act.Action]) -> None:
        """Only the latest request for time counts; its process may die before it is due."""
        for action in actions:
            if isinstance(action, act.WakeAt):
                self._alarm = action

    # -- towards the executors ---------------------------------------------------------------

    def _send(self, actions: list[act.Action]) -> list[act.Action]:
        """Those of ``actions`` that are to be carried out at once."""
        arrived: list[act.Action] = []
        for action in actions:
            if isinstance(action, _OWN_ACTIONS):
                arrived.append(action)
            elif self._travels(action) and (admitted := self._admit(action)):
                arrived.append(admitted)
        return arrived

    def _travels(self, action: act.Action) -> bool:
        """Whether it arrives now; it may arrive later as well, or instead."""
        trouble, share = self._draw(action)
        if trouble in (Trouble.DOUBLED, Trouble.LATE, Trouble.STALE):
            self._do_later(action, share * self._noise.late_s)
        elif trouble is Trouble.LOST and isinstance(action, act.EvictHosts):
            # the sender waits for an answer here, and says so when there is none
            failed = ev.ActionFailed(
                at_s=self._now_s, token=action.token, reason="no answer from the repair crew"
            )
            self._tell_later(replace(failed, at_s=self._now_s), self._noise.late_s)
        return trouble not in (Trouble.LOST, Trouble.LATE)

    @property
    def _now_s(self) -> float:
        return self._world.now_s if self._world else 0.0

    def _do_later(self, action: act.Action, wait_s: float) -> None:
        assert self._world is not None
        self._world.after(wait_s, partial(self._do, action, self._now_s))

    def _do(self, action: act.Action, sent_s: float) -> None:
        assert self._world is not None
        if isinstance(action, act.EvictHosts):
            # a crew takes no host away that it has brought back since it was asked to
            kept = tuple(h for h in action.hosts if self._repaired_s.get(h, -1.0) <= sent_s)
            action = replace(action, hosts=kept)
        if admitted := self._admit(action):
            self._world.carry_out([admitted])

    def _admit(self, action: act.Action) -> act.Action | None:
        """What is left to do of ``action``: new is done, doubled answered, old refused."""
        if isinstance(action, act.EvictHosts):
            return self._admit_eviction(action)
        is_question = isinstance(action, act.ProbeHost)
        verdict = Admission.NEW if is_question else self._fence(_GANG).admit(action.token)
        self._report(action, verdict)
        if verdict is not Admission.OLDER and self._world is not None:
            for event in self._world.answer_again(action):
                self._world.after(0.0, partial(self._again, event))
        return action if verdict is Admission.NEW else None

    def _admit_eviction(self, action: act.EvictHosts) -> act.EvictHosts | None:
        """Every host has a crew of its own."""
        verdicts = {host: self._fence(host).admit(action.token) for host in action.hosts}
        hosts = tuple(host for host, found in verdicts.items() if found is Admission.NEW)
        self._report(action, Admission.NEW if hosts else Admission.OLDER)
        return replace(action, hosts=hosts) if hosts else None

    def _report(self, action: act.Action, verdict: Admission) -> None:
        for observer in self._observers:
            observer.reached(action, verdict, now_s=self._now_s)

    def _again(self, event: ev.Event) -> None:
        assert self._world is not None
        if not self._world.keeps(event):
            self._world.carry_out(self(event))

    def _fence(self, key: int) -> Fence:
        return self._fences.setdefault(key, Fence())


#: The launcher of the gang; hosts have their own numbers, from 0 on.
_GANG = -1


def _may_meet(message: ev.Event | act.Action, trouble: Trouble) -> bool:
    if isinstance(message, act.Action):
        return trouble in (Trouble.LOST, Trouble.DOUBLED, Trouble.LATE, Trouble.STALE)
    if isinstance(message, ev.StepsDone) and message.finite and message.replicas_agree:
        return trouble in _HARMLESS_TO_STEPS
    return True


def _pairs(seed: int) -> Iterator[tuple[float, float]]:
    dice = stream("wire", seed=seed)
    while True:
        yield from map(tuple, dice.random((_BLOCK, 2)).tolist())
