"""A laboratory: a small fleet of which a test says only what it varies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.faults import Cause, FaultClass, Faults, Repair
from gigafactory.describe.study import Campaign, Study
from gigafactory.ledger.entries import Entry
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.simulate.campaign import CampaignResult, Stage, follow
from gigafactory.simulate.delays import Delays
from gigafactory.simulate.faults import Strike
from gigafactory.simulate.gang import Cadence
from gigafactory.simulate.kernel import Priority
from gigafactory.simulate.workload import Workload
from gigafactory.simulate.world import World
from gigafactory.units import DAY_S

STUDIES = Path(__file__).resolve().parents[2] / "studies"
GPUS = 8
CADENCE = Cadence(step_s=10.0, checkpoint_steps=30, blocking_s=1.0, write_s=20.0)


class Script(Stage):
    """What happens at which time, instead of dice; progress is reported at an even pace."""

    def __init__(self, *strikes: Strike, report_s: float | None = None) -> None:
        self.strikes = strikes
        self.report_s = report_s
        self.world: World

    def set_up(self, world: World) -> None:
        self.world = world
        for strike in self.strikes:
            happen = partial(world.troubles.strike, strike)
            world.kernel.schedule(happen, at_s=strike.at_s, priority=Priority.PHYSICS)
        self._report()

    def _report(self) -> None:
        self.world.training.catch_up()
        if self.report_s is not None:
            kernel = self.world.kernel
            kernel.after(self._report, wait_s=self.report_s, priority=Priority.OBSERVATION)


def strike(
    fault: FaultClass, at_s: float, *hosts: int, detect_s: float = 10.0, **more: Any
) -> Strike:
    """One fault at a certain time."""
    cause = Cause(name=fault.value, fault=fault, rate_per_s=0.0, detect_s=detect_s, source="test")
    return Strike(at_s, cause, hosts, **more)


@dataclass
class Lab:
    """Runs campaigns of 64 hosts and 8 spares, and keeps the last ledger."""

    base: Study
    entries: list[Entry] = field(default_factory=list)
    studies: Path = STUDIES

    def cause(
        self, fault: FaultClass = FaultClass.HOST, *, mtbf_s: float, detect_s: float = 10.0
    ) -> Cause:
        """A cause by the mean time between its strikes on the 64 hosts that train."""
        rate_per_s = 1.0 / (64 * mtbf_s)
        return Cause(
            name=fault.value, fault=fault, rate_per_s=rate_per_s, detect_s=detect_s, source="test"
        )

    def study(
        self, *causes: Cause, days: float = 5.0, num_spare_hosts: int = 8, **faults: Any
    ) -> Study:
        repair = Repair(median_s=600.0, mean_s=600.0, source="test")
        model = {"name": "test", "repair": repair, "source": "test"} | faults
        hosts = {"num_hosts": 64 + num_spare_hosts, "num_spare_hosts": num_spare_hosts}
        return self.base.model_copy(
            update={
                "cluster": self.base.cluster.model_copy(update=hosts),
                "faults": Faults(causes=causes, **model),
                "campaign": Campaign(duration_s=days * DAY_S),
            }
        )

    def workload(self, **changes: Any) -> Workload:
        plain = Workload(
            cadence=CADENCE,
            num_steps=10**8,
            num_gpus=64 * GPUS,
            host_gpus=GPUS,
            start_s=100.0,
            restore_s=10.0,
            flops_per_step=0.4 * 989e12 * CADENCE.step_s * 64 * GPUS,
            tokens_per_step=2**20,
            checkpoint_bytes=1e12,
            peak_flops_per_s=989e12,
        )
        return replace(plain, **changes)

    def campaign(
        self,
        study: Study,
        workload: Workload | None = None,
        *,
        seed: int = 0,
        path: Path | None = None,
        delays: Delays | None = None,
        script: Script | None = None,
    ) -> CampaignResult:
        with LedgerWriter(path) as ledger:
            found = follow(
                study, workload=workload or self.workload(), seed=seed, ledger=ledger,
                delays=delays, stage=script,
            )  # fmt: skip
        self.entries = ledger.entries
        return found

    def contents(self, kind: type) -> list[Entry]:
        """Entries of one kind in the last ledger."""
        return [entry for entry in self.entries if isinstance(entry.content, kind)]

    def told(self, name: str) -> list[Entry]:
        """Events of one type that the controller heard."""
        return [e for e in self.entries if type(getattr(e.content, "event", None)).__name__ == name]

    def asked(self, name: str) -> list[Entry]:
        """Actions of one type that it asked for."""
        return [
            e for e in self.entries if type(getattr(e.content, "action", None)).__name__ == name
        ]


@pytest.fixture
def lab() -> Lab:
    return Lab(load_study(STUDIES / "grok-1-512.yaml"))
