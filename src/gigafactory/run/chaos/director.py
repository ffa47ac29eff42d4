"""Chaos with a seed: a real run is shot at from outside, and afterwards held to its laws.

The director starts the driver as a process of its own, so that the driver can be shot too. Which
blow falls next, on whom and when comes from the seed; what it meets depends on the machine, so
two soaks of one seed differ in their course and not in their laws. One group at least is always
left, but for blows that are meant to end everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from gigafactory.describe.errors import JobError
from gigafactory.describe.group import SHOW_MEMORY_VARIABLE, STEPS_UNTIL_USUAL
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.replay import replay
from gigafactory.run.chaos import injuries
from gigafactory.run.chaos.verdict import Blow, Findings, judge, states_of
from gigafactory.run.chaos.watch import Watch, pids

#: A run that does not get over a blow within this is lost.
PATIENCE_S = 300.0
#: The job is made so long that it outlasts its faults on a quick machine.
STEPS_A_FAULT = 100
_LOOK_EVERY_S = 0.02
_STRIKE_AGAIN = 0.3
_END_S = 120.0


class Kind(StrEnum):
    """What is done to the run."""

    KILL = "kill"
    """SIGKILL to one group."""
    KILL_FIRST = "kill_first"
    """To the lowest one, which writes checkpoints."""
    KILL_TWO = "kill_two"
    """At the same moment."""
    KILL_AGAIN = "kill_again"
    """One, and once more while it starts."""
    KILL_OTHER = "kill_other"
    """One, and another while it starts."""
    STOP = "stop"
    """SIGSTOP."""
    HANG = "hang"
    """The main thread stands still, the heart beats."""
    FLIP = "flip"
    """A bit of a parameter."""
    DEFECT = "defect"
    """The processor computes wrong gradients from now on, finite ones; only in a script, for it is
    seen only by members that know what is usual."""
    NAN = "nan"
    """In the gradients."""
    FULL = "full"
    """No file may grow for a while, neither of groups nor of the driver."""
    TORN = "torn"
    """A piece of the newest checkpoint is cut off."""
    STORE = "store"
    """The files where processes met are gone."""
    DRIVER = "driver"
    """SIGKILL to the driver, and another one takes over."""
    ALL = "all"
    """Power off: everybody at once."""


#: How often each falls, of the sum.
WEIGHTS: dict[Kind, int] = {
    Kind.KILL: 4, Kind.KILL_FIRST: 3, Kind.KILL_TWO: 3, Kind.KILL_AGAIN: 2, Kind.KILL_OTHER: 2,
    Kind.STOP: 3, Kind.HANG: 3, Kind.FLIP: 3, Kind.NAN: 3, Kind.FULL: 2, Kind.TORN: 1,
    Kind.STORE: 1, Kind.DRIVER: 3, Kind.ALL: 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """How it went."""

    seed: int
    num_faults: int
    by_kind: dict[str, int]
    findings: Findings
    num_compared: int
    """Steps whose weights were compared with those of an undisturbed run."""

    @property
    def broken(self) -> list[str]:
        """Laws that were not kept, in words."""
        return self.findings.broken

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        stalls = sorted(self.findings.stalls_s)
        found = asdict(self.findings)
        found.pop("stalls_s")
        return {
            "seed": self.seed,
            "num_faults": self.num_faults,
            "by_kind": self.by_kind,
            "num_steps_compared": self.num_compared,
            "median_stall_s": stalls[len(stalls) // 2] if stalls else None,
            **found,
        }


@dataclass(slots=True)
class Director:
    """One soak; ``run`` returns how it went."""

    argv: Sequence[str]
    """The driver's command line, but for its folder."""
    folder: Path
    seed: int
    num_faults: int
    watcher: Callable[[str], None]
    script: Sequence[Kind] = ()
    """These blows in this order, as soon as enough are well; (): as the dice fall."""
    calm_s: float | None = None
    """Before each blow of the script all groups have been well for so long; None: need not be."""
    dice: Random = field(init=False)
    blows: list[Blow] = field(default_factory=list)
    _driver: subprocess.Popen[bytes] | None = None
    _watch: Watch = field(init=False)
    _struck: set[int] = field(default_factory=set)
    """Replicas that were hit and did not come back yet."""

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        self._watch = Watch(self.place / "ledger.jsonl")

    @property
    def place(self) -> Path:
        """The folder of the run that is shot at."""
        return self.folder / "shot"

    def run(self) -> Soak:
        """Shoot, stop the run, and compare; JobError where the undisturbed one ends early."""
        injuries.adopt_orphans()
        self.folder.mkdir(parents=True, exist_ok=True)
        lost = ""
        try:
            self._start()
            self._shoot()
        except _Lost as error:
            lost = str(error)
        finally:
            self._end()
        findings = judge(read_ledger(self.place / "ledger.jsonl", tolerate_torn=True), self.blows)
        if lost:
            findings.broken.insert(0, lost)
        self._replay(findings)
        num_compared = self._compare(findings)
        counts = Counter(blow.kind for blow in self.blows)
        return Soak(
            seed=self.seed,
            num_faults=len(self.blows),
            by_kind=dict(sorted(counts.items())),
            findings=findings,
            num_compared=num_compared,
        )

    # -- the driver ------------------------------------------------------------------------

    def _start(self) -> None:
        self._driver = self._begin(self.place)
        self._until(lambda: self._watch.step >= 2, "the run does not begin")

    def _begin(self, place: Path) -> subprocess.Popen[bytes]:
        place.mkdir(exist_ok=True)
        prepared = self.folder / "corpus"
        if not prepared.exists() and place != self.place:
            prepared = self.place / "corpus"
        if prepared.exists() and not (place / "corpus").exists():
            (place / "corpus").symlink_to(prepared.resolve())
        with (self.folder / f"{place.name}.log").open("ab") as log:
            return subprocess.Popen(
                [*self.argv, "--dir", str(place)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {SHOW_MEMORY_VARIABLE: "1"},
                start_new_session=True,
                preexec_fn=injuries.end_with_parent,  # noqa: PLW1509 - a single system call
            )

    def _end(self) -> None:
        """The driver stops at a checkpoint; nothing is left of the run."""
        if self._driver is not None:
            self._stop(self._driver)
        for pid in pids(self.place).values():
            injuries.kill(pid)

    def _stop(self, driver: subprocess.Popen[bytes]) -> None:
        driver.terminate()
        try:
            driver.wait(_END_S)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()

    # -- blows -----------------------------------------------------------------------------

    def _shoot(self) -> None:
        for kind in self.script:
            self._until_whole(None if self.calm_s is not None else _NUM_NEEDED.get(kind, 1))
            self._rest(self.calm_s or 0.0)
            self._rest(self.dice.uniform(0.0, 0.3))
            self._strike(kind)
        if not self.script:
            self._shoot_by_dice()
        self._until_whole()

    def _shoot_by_dice(self) -> None:
        kinds, weights = zip(*WEIGHTS.items(), strict=True)
        while len(self.blows) < self.num_faults:
            (kind,) = self.dice.choices(kinds, weights)
            if self.dice.random() > _STRIKE_AGAIN or len(self._whole()) < 2:
                self._until_whole()
            self._rest(self.dice.uniform(0.0, 1.0))
            self._strike(kind)

    def _strike(self, kind: Kind) -> None:
        self._watch.look()
        victims = self._victims(2 if kind in _ON_TWO else 1, kind)
        if victims is not None:
            _BLOWS[kind](self, kind, victims)

    def _whole(self) -> list[int]:
        self._watch.look()
        self._struck -= {r for r in self._struck if self._is_back(r)}
        return sorted((self._watch.training - self._struck) & pids(self.place).keys())

    def _victims(self, num: int, kind: Kind) -> tuple[int, ...] | None:
        """Groups to be hit; None where too few would be left."""
        whole = self._whole()
        if kind not in _ON_GROUPS:
            return ()
        if len(whole) - num < 1:
            return None
        if kind is Kind.KILL_FIRST:
            return (whole[0],)
        return tuple(sorted(self.dice.sample(whole, num)))

    _left: dict[int, int] = field(default_factory=dict)
    """Process of a struck replica; it is back when another one trains in its place."""

    def _is_back(self, replica: int) -> bool:
        old = self._left.get(replica)
        return replica in self._watch.training and pids(self.place).get(replica) not in (None, old)

    def note(
        self, kind: Kind, replicas: tuple[int, ...] = (), *, driver: bool = False,
        everybody: bool = False,
    ) -> None:  # fmt: skip
        """Write a blow down, before it falls."""
        self._watch.look()
        blow = Blow(
            at_s=self._watch.at_s,
            struck_s=self._watch.now_s(),
            kind=kind.value,
            replicas=replicas,
            ends_driver=driver,
            ends_all=everybody,
            may_end_all=kind is Kind.FLIP and len(self._whole()) < _MAJORITY,
        )
        self.blows.append(blow)
        for replica in replicas:
            self._struck.add(replica)
            self._left[replica] = pids(self.place).get(replica, -1)
        with (self.folder / "blows.jsonl").open("a") as stream:
            stream.write(json.dumps(asdict(blow)) + "\n")
        named = f" group {', '.join(map(str, replicas))}" if replicas else ""
        self.watcher(f"{len(self.blows):4d}  step {self._watch.step:5d}  {kind.value}{named}")

    def pid(self, replica: int) -> int:
        """Of a replica's process; 0 is nobody's."""
        return pids(self.place).get(replica, 0)

    def _kill(self, kind: Kind, victims: tuple[int, ...]) -> None:
        self.note(kind, victims)
        for pid in [self.pid(victim) for victim in victims]:
            injuries.kill(pid)

    def _kill_again(self, kind: Kind, victims: tuple[int, ...]) -> None:
        """The second blow falls while the first victim starts."""
        first, *others = victims
        self._kill(kind, (first,))
        old = self._left[first]
        self._until(lambda: self.pid(first) not in (0, old), f"group {first} is not started again")
        self._rest(self.dice.uniform(0.0, 3.0))
        second = others[0] if others else first
        if others and second not in self._whole():
            return
        self._kill(kind, (second,))

    def _stand_still(self, kind: Kind, victims: tuple[int, ...]) -> None:
        self.note(kind, victims)
        pid = self.pid(victims[0])
        if kind is Kind.HANG:
            injuries.hang(pid)
        else:
            injuries.pause(pid)

    def _corrupt(self, kind: Kind, victims: tuple[int, ...]) -> None:
        """Memory is written to until the run notices: a gradient may be overwritten in time."""
        self.note(kind, victims)
        (victim,) = victims
        deadline_s = time.monotonic() + PATIENCE_S
        while victim in self._watch.training:
            self._check(deadline_s, f"group {victim} computes with broken memory")
            try:
                if kind is Kind.FLIP:
                    injuries.flip_bit(self.place, victim, dice=self.dice)
                    self._rest(0.5)
                else:
                    injuries.poison_gradients(self.place, victim, dice=self.dice)
                    self._rest(0.002)
            except OSError:
                pass  # its process ends just now
            self._watch.look()

    def _make_defective(self, kind: Kind, victims: tuple[int, ...]) -> None:
        """Once the members know what gradients are usual."""
        step = self._watch.step
        self._until(lambda: self._watch.step > step + STEPS_UNTIL_USUAL, "the run does not go on")
        self.note(kind, victims)
        injuries.make_defective(self.place, self.pid(victims[0]))

    def _fill(self, kind: Kind, victims: tuple[int, ...]) -> None:
        self.note(kind)
        driver = self._driver.pid if self._driver else 0
        with injuries.full_disk([*pids(self.place).values(), driver]):
            time.sleep(self.dice.uniform(1.0, 4.0))

    def _tear(self, kind: Kind, victims: tuple[int, ...]) -> None:
        if injuries.tear_newest(self.place / "checkpoints", dice=self.dice):
            self.note(kind)

    def _empty_store(self, kind: Kind, victims: tuple[int, ...]) -> None:
        self.note(kind)
        injuries.empty(self.place / "rendezvous")

    def _shoot_driver(self, kind: Kind, victims: tuple[int, ...]) -> None:
        assert self._driver is not None
        self.note(kind, driver=True, everybody=kind is Kind.ALL)
        self._driver.kill()
        self._driver.wait()
        if kind is Kind.ALL:
            self._struck.clear()
            for pid in pids(self.place).values():
                injuries.kill(pid)
        time.sleep(self.dice.uniform(0.0, 2.0))
        self._watch.look()
        before = self._watch.num_entries
        self._driver = self._begin(self.place)
        self._until(lambda: self._watch.num_entries > before + 1, "no driver takes over")

    # -- time ------------------------------------------------------------------------------

    def _rest(self, for_s: float) -> None:
        time.sleep(for_s)

    def _until_whole(self, num_whole: int | None = None) -> None:
        """So many groups are well (default: all), and a step was done since."""
        step, num = self._watch.step, num_whole or self._watch.num_replicas
        self._until(
            lambda: len(self._whole()) >= num and self._watch.step > step,
            "the run does not get over it",
        )

    def _until(self, condition: Callable[[], bool], else_: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        self._watch.look()
        while not condition():
            self._check(deadline_s, else_)
            time.sleep(_LOOK_EVERY_S)
            self._watch.look()

    def _check(self, deadline_s: float, else_: str) -> None:
        driver = self._driver
        if driver is not None and (status := driver.poll()) is not None:
            raise _Lost(f"the driver ended with status {status} at step {self._watch.step}")
        if time.monotonic() > deadline_s:
            raise _Lost(f"{else_} (step {self._watch.step}, {PATIENCE_S:g} s)")

    # -- what must be so afterwards --------------------------------------------------------

    def _replay(self, findings: Findings) -> None:
        result = replay(read_ledger(self.place / "ledger.jsonl", tolerate_torn=True))
        if not result.same:
            findings.broken.append(f"the book does not replay: {result.text()}")

    def _compare(self, findings: Findings) -> int:
        """An undisturbed run of the same study up to the same step: equal weights at each."""
        shot = states_of(read_ledger(self.place / "ledger.jsonl", tolerate_torn=True))
        still = self._undisturbed(max(shot, default=0))
        for step in sorted(shot.keys() & still.keys()):
            if shot[step] != still[step]:
                findings.broken.append(f"the weights after step {step} are others than undisturbed")
                break
        return len(shot.keys() & still.keys())

    def _undisturbed(self, last_step: int) -> dict[int, str]:
        place = self.folder / "undisturbed"
        watch = Watch(place / "ledger.jsonl")
        self.watcher(f"      an undisturbed run, to compare {last_step} steps")
        driver = self._begin(place)
        try:
            while watch.step < last_step and driver.poll() is None:
                time.sleep(_LOOK_EVERY_S)
                watch.look()
        finally:
            self._stop(driver)
        if watch.step < last_step:
            raise JobError(f"the undisturbed run ended at step {watch.step}; see {self.folder}")
        return states_of(read_ledger(place / "ledger.jsonl", tolerate_torn=True))


class _Lost(Exception):  # noqa: N818 - the finding of a soak
    """The run did not survive."""


_ON_TWO = frozenset({Kind.KILL_TWO, Kind.KILL_OTHER})
_ON_GROUPS = frozenset(Kind) - {Kind.FULL, Kind.TORN, Kind.STORE, Kind.DRIVER, Kind.ALL}
#: So many members tell one that differs from the others.
_MAJORITY = 3
#: Groups that are well before a blow of a script falls; 1 for those that hit no group.
_NUM_NEEDED = (
    dict.fromkeys(_ON_GROUPS, 2)
    | dict.fromkeys(_ON_TWO, 3)
    | dict.fromkeys((Kind.FLIP, Kind.DEFECT), _MAJORITY)
)
_BLOWS: dict[Kind, Callable[[Director, Kind, tuple[int, ...]], None]] = {
    Kind.KILL: Director._kill,
    Kind.KILL_FIRST: Director._kill,
    Kind.KILL_TWO: Director._kill,
    Kind.KILL_AGAIN: Director._kill_again,
    Kind.KILL_OTHER: Director._kill_again,
    Kind.STOP: Director._stand_still,
    Kind.HANG: Director._stand_still,
    Kind.FLIP: Director._corrupt,
    Kind.DEFECT: Director._make_defective,
    Kind.NAN: Director._corrupt,
    Kind.FULL: Director._fill,
    Kind.TORN: Director._tear,
    Kind.STORE: Director._empty_store,
    Kind.DRIVER: Director._shoot_driver,
    Kind.ALL: Director._shoot_driver,
}
