"""A bench on which the controller is driven by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig
from gigafactory.control.controller import Controller
from gigafactory.control.timeouts import Ladder, ladder

LADDER = ladder(
    heartbeat_floor_s=10.0,
    collective_floor_s=60.0,
    join_floor_s=300.0,
    report_s=1.0,
    start_s=30.0,
)


@dataclass
class Bench:
    """Time moves only by hand; ``said`` is what the last event was answered with."""

    config: ControlConfig
    now_s: float = 0.0
    said: list[act.Action] = field(default_factory=list)
    everything: list[act.Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.brain = Controller(self.config)

    @property
    def ladder(self) -> Ladder:
        return self.config.ladder

    def tell(self, kind: type[ev.Event], *, after_s: float = 1.0, **content: object) -> None:
        self.now_s += after_s
        if "generation" in kind.__dataclass_fields__ and kind is not ev.Launched:
            content.setdefault("generation", self.brain.generation)
        self.said = self.brain.handle(kind(at_s=self.now_s, **content))  # type: ignore[arg-type]
        self.everything += self.said

    def sleep(self) -> None:
        """Let time pass until the moment the controller asked for."""
        wakes = [a.at_s for a in self.everything if isinstance(a, act.WakeAt)]
        self.tell(ev.Ticked, after_s=wakes[-1] - self.now_s)

    def launch(self, *, num_hosts: int = 4, num_spares: int = 2, **content: object) -> None:
        everyone = tuple(range(num_hosts + num_spares))
        content.setdefault("num_steps", 1000)
        self.tell(ev.Launched, hosts=everyone[:num_hosts], spares=everyone[num_hosts:], **content)

    def run(self, *, step: int = 100, **content: object) -> None:
        """Launch, join, reach ``step`` and commit it."""
        self.launch(**content)
        self.ready()
        self.commit(step)

    def ready(self) -> None:
        self.tell(ev.GangReady, step=self.brain.committed_step or 0)

    def commit(self, step: int) -> None:
        self.tell(ev.StepsDone, step=step)
        self.tell(ev.CheckpointCommitted, step=step)

    def asked(self, kind: type[act.Action]) -> list[act.Action]:
        """What of ``kind`` the last event was answered with."""
        return [action for action in self.said if isinstance(action, kind)]

    def kinds(self) -> list[str]:
        """Names of the answer, requests for time apart."""
        return [type(action).__name__ for action in self.said if type(action) is not act.WakeAt]

    def start(self) -> act.StartGang:
        """The one StartGang of the last answer."""
        (found,) = self.asked(act.StartGang)
        assert isinstance(found, act.StartGang)
        return found

    def why(self) -> act.HoldReason:
        (found,) = self.asked(act.Hold)
        assert isinstance(found, act.Hold)
        assert found.reason
        return found.why


@pytest.fixture
def bench() -> Bench:
    return Bench(ControlConfig(ladder=LADDER))


@pytest.fixture
def bench_with():  # type: ignore[no-untyped-def]
    def make(**bounds: object) -> Bench:
        return Bench(ControlConfig(ladder=LADDER, **bounds))  # type: ignore[arg-type]

    return make
