"""Laws of the controller in a world that carries out what it asks for, while everything breaks.

Unlike in `test_brain_random_events`, the events fit together here: ranks join, steps are done,
copies are made, replicas come and go, links heal or do not. So the long ways of recovery are
walked: shrinking and growing, replicas that leave and join, tiers that are lost.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig
from gigafactory.control.controller import Controller
from gigafactory.control.prices import Prices
from gigafactory.control.states import LIVE, Phase
from gigafactory.control.timeouts import ladder
from gigafactory.describe.policy import Recovery

NUM_STEPS = 400
LADDER = ladder(
    heartbeat_floor_s=10, collective_floor_s=60, join_floor_s=300, report_s=1, start_s=30
)
FOR_A_PERSON = (act.HoldReason.NO_PROGRESS, act.HoldReason.NO_CLEAN_CHECKPOINT)
#: What may happen; time passes in ``idle``.
KINDS = (
    "die", "die", "rack", "silent", "exit", "exit", "hang", "slow", "failing", "cut", "heal",
    "repair", "maintenance", "nan", "anomaly", "corrupt", "store", "lost", "reattach", "idle",
    "idle", "idle", "idle", "commit", "refuse",
)  # fmt: skip


class World:
    """Ground truth about a few hosts, and an executor that does as it is told."""

    def __init__(self, config: ControlConfig, *, num_hosts: int, num_spares: int, seed: int):
        self.brain, self.config = Controller(config), config
        self.dice = random.Random(seed)
        self.now_s, self.wake_s = 0.0, math.inf
        self.hosts = list(range(num_hosts + num_spares))
        self.dead: set[int] = set()
        self.told_dead: set[int] = set()
        self.evicted: set[int] = set()
        self.cut: set[int] = set()
        self.announced: set[int] = set()
        self.hinted: set[int] = set()
        """Hosts against which something was said that may justify their exchange."""
        self.seats: list[int] = []
        self.generation, self.step, self.size = 0, 0, 0
        self.is_up = self.is_broken = False
        self.out: set[int] = set()
        self.incarnations: dict[int, int] = {}
        self.copied: dict[act.Tier, list[int]] = {}
        """Who sat where when the newest copies were made in each near tier."""
        self.left: dict[act.Tier, set[int]] = {}
        """Hosts that were lost or exchanged since."""
        self.tokens = [act.Token(0, 0)]
        self.good = {0}
        self.first_bad = math.inf
        self.todo: list[ev.Event] = []
        self.outcome: act.Finish | None = None
        self.block = config.prices.replica_hosts or num_hosts
        self.num_seats = num_hosts
        everyone = tuple(self.hosts)
        self.tell(
            ev.Launched(
                at_s=0.0, hosts=everyone[:num_hosts], spares=everyone[num_hosts:],
                num_steps=NUM_STEPS,
            )
        )  # fmt: skip

    # -- speaking and listening

    def tell(self, event: ev.Event) -> None:
        event = replace(event, at_s=self.now_s)
        was_live = self.brain.phase in LIVE
        for action in self.brain.handle(event):
            self.check(action, event, was_live=was_live)
            self.carry_out(action)

    def check(self, action: act.Action, event: ev.Event, *, was_live: bool) -> None:
        if action.token in self.tokens:
            assert isinstance(event, (ev.Reattached, ev.ActionFailed, ev.Ticked)), "unasked repeat"
        else:
            assert action.token > self.tokens[-1], "tokens increase"
            self.tokens.append(action.token)
        if isinstance(action, act.EvictHosts):
            assert set(action.hosts) <= self.hinted, "nobody leaves without evidence"
        if isinstance(action, act.StartGang) and action.token.generation > self.generation:
            self.check_start(action, event, was_live=was_live)
        if isinstance(action, act.JoinReplica):
            hosts = [host for _, host in action.seated]
            assert not set(hosts) & (self.evicted | self.known_dead()), "a lost host was seated"

    def check_start(self, action: act.StartGang, event: ev.Event, *, was_live: bool) -> None:
        assert not was_live or not self.is_up or isinstance(event, ev.GangStopped), "one gang"
        hosts = action.hosts
        assert len(set(hosts)) == len(hosts), "one seat a host"
        assert len(hosts) % self.block == 0
        assert 0 < len(hosts) <= self.num_seats
        if not self.config.prices.can_shrink:
            assert len(hosts) == self.num_seats
        assert len(hosts) // self.block >= min(
            self.config.prices.min_replicas, self.num_seats // self.block
        )
        assert not set(hosts) & (self.evicted | self.known_dead()), "a lost host was seated"
        if action.step is not None:
            assert action.step in self.good, "restores good steps alone"
            assert action.step < self.first_bad, "nothing tainted is restored"
            assert self.is_whole(action.tier), f"{action.tier} did not survive"

    def is_whole(self, tier: act.Tier) -> bool:
        """Whether every host's state can still be found in the tier."""
        if tier is act.Tier.STORE:
            return True
        seats, left = self.copied[tier], self.left[tier] | self.told_dead | self.evicted
        if tier is act.Tier.LOCAL:
            return not left & set(seats)
        stride = self.config.prices.peer_stride
        keepers = (seats[(seat + stride) % len(seats)] for seat in range(len(seats)))
        return not any(
            host in left and keeper in left for host, keeper in zip(seats, keepers, strict=True)
        )

    def known_dead(self) -> set[int]:
        return self.dead & self.told_dead

    def carry_out(self, action: act.Action) -> None:  # noqa: PLR0912
        match action:
            case act.StartGang(token=token, hosts=hosts, step=step):
                if token.generation > self.generation:
                    self.generation, self.seats = token.generation, list(hosts)
                    self.step, self.out, self.incarnations = step or 0, set(), {}
                    self.first_bad = math.inf
                    self.is_up, self.is_broken = True, False
                    self.todo.append(
                        ev.GangReady(at_s=0.0, generation=token.generation, step=step or 0)
                    )
            case act.StopGang(token=token):
                self.is_up = False
                self.todo.append(ev.GangStopped(at_s=0.0, generation=token.generation))
            case act.DropReplicas(replicas=replicas):
                self.out |= set(replicas)
                self.is_broken = self.seats_hurt()
            case act.JoinReplica(token=token, replica=number, seated=seated):
                for seat, host in seated:
                    self.seats[seat] = host
                said = {"generation": token.generation, "replica": number}
                self.todo.append(self.joined(number, incarnation=token.attempt, **said))
            case act.ProbeHost(host=host, token=token):
                if self.dice.random() < 0.8:
                    alive = host not in self.dead
                    if not alive:
                        self.hinted.add(host)
                    self.todo.append(ev.WitnessSpoke(at_s=0.0, host=host, alive=alive, token=token))
            case act.EvictHosts(hosts=hosts):
                self.evicted |= set(hosts)
                for left in self.left.values():
                    left |= set(hosts)
                self.announced -= set(hosts)
            case act.ReplaySteps(token=token, localise=localise):
                self.todo.append(self.replayed(token, localise=localise))
            case act.SaveNow():
                self.todo.append(ev.CheckpointCommitted(at_s=0.0, generation=0, step=-1))
            case act.WakeAt(at_s=at_s):
                self.wake_s = min(self.wake_s, at_s)
            case act.Finish():
                self.outcome = action

    def joined(self, number: int, *, incarnation: int, generation: int, replica: int) -> ev.Event:
        begin = number * self.block
        if set(self.seats[begin : begin + self.block]) & self.dead:
            return ev.ReplicaLost(
                at_s=0.0, generation=generation, replica=replica, incarnation=incarnation
            )
        return ev.ReplicaReady(
            at_s=0.0, generation=generation, replica=replica, incarnation=incarnation
        )

    def replayed(self, token: act.Token, *, localise: bool) -> ev.Event:
        differs = self.dice.random() < 0.5
        hosts: tuple[int, ...] = ()
        if differs and localise and self.seats and self.dice.random() < 0.7:
            hosts = (self.dice.choice(self.seats),)
            self.hinted |= set(hosts)
        return ev.Replayed(at_s=0.0, token=token, differs=differs, hosts=hosts)

    def seats_hurt(self) -> bool:
        return any(
            host in self.dead
            for seat, host in enumerate(self.seats)
            if seat // self.block not in self.out
        )

    # -- time

    def advance(self) -> None:
        """A second, or until something is due where nothing else goes on."""
        self.now_s += 1.0
        if self.todo:
            self.answer(self.todo.pop(0))
        elif self.is_up and self.brain.phase in (Phase.RUNNING, Phase.DRAINING):
            self.train()
        if self.now_s >= self.wake_s or not (self.todo or self.is_up):
            if math.isfinite(self.wake_s):
                self.now_s = max(self.now_s, min(self.wake_s, self.now_s + 600.0))
            self.wake_s = math.inf if self.now_s >= self.wake_s else self.wake_s
            self.tell(ev.Ticked(at_s=0.0))

    def answer(self, event: ev.Event) -> None:
        if isinstance(event, ev.GangReady) and (self.seats_hurt() or not self.is_up):
            return
        if isinstance(event, ev.ReplicaReady):
            if event.generation == self.generation:
                self.out.discard(event.replica)
                self.incarnations[event.replica] = event.incarnation
            self.is_broken = self.seats_hurt()
        if isinstance(event, ev.CheckpointCommitted):
            if not self.is_up or self.is_broken:
                return
            self.train()
            event = replace(event, generation=self.generation, step=self.step)
        self.tell(event)

    def train(self) -> None:
        cut = {host for host in self.cut if host in self.seats}
        if self.is_broken or self.seats_hurt() or cut or not self.is_up:
            self.is_broken = self.is_broken or self.seats_hurt()
            if self.now_s < self.wake_s < math.inf:
                self.now_s = self.wake_s
            return
        self.step = min(self.step + 1, NUM_STEPS)
        if self.step < self.first_bad:
            self.good.add(self.step)
        prices = self.config.prices
        has_peer = bool(prices.peer_stride) and not self.out
        has_local = prices.has_local and not self.out and self.step % 5 == 0
        for tier, is_new in ((act.Tier.PEER, has_peer), (act.Tier.LOCAL, has_local)):
            if is_new:
                self.copied[tier], self.left[tier] = list(self.seats), set()
        self.tell(
            ev.StepsDone(
                at_s=0.0, generation=self.generation, step=self.step,
                peer_step=self.step if has_peer else None,
                local_step=self.step if has_local else None,
                lease_s=self.dice.choice([0.0, 100.0]),
            )
        )  # fmt: skip
        if self.step % 10 == 0 or self.step == NUM_STEPS:
            self.tell(ev.CheckpointCommitted(at_s=0.0, generation=self.generation, step=self.step))

    # -- what goes wrong

    def strike(self, kind: str) -> None:
        getattr(self, f"do_{kind}")(self.dice.choice(self.hosts))

    def do_die(self, host: int) -> None:
        self.kill((host,))

    def do_rack(self, host: int) -> None:
        self.kill(tuple(self.hosts[host // 4 * 4 : host // 4 * 4 + 4]))

    def kill(self, hosts: tuple[int, ...]) -> None:
        hosts = tuple(h for h in hosts if h not in self.evicted)
        self.dead |= set(hosts)
        self.told_dead |= set(hosts)
        self.hinted |= set(hosts)
        self.is_broken = self.is_broken or self.seats_hurt()
        self.tell(ev.HostsDied(at_s=0.0, hosts=hosts, cause="xid 79"))

    def do_silent(self, host: int) -> None:
        if self.dice.random() < 0.5:
            self.dead.add(host)
            self.is_broken = self.is_broken or self.seats_hurt()
        self.tell(ev.HostUnreachable(at_s=0.0, host=host))
        if host not in self.dead and self.dice.random() < 0.8:
            self.todo.append(ev.HostReachable(at_s=0.0, host=host))

    def do_exit(self, host: int) -> None:
        if host in self.seats and self.is_up:
            self.is_broken = True
            number = self.seats.index(host) // self.block
            self.tell(
                ev.RankExited(
                    at_s=0.0, generation=self.generation, host=host, exit=ev.Exit.ERROR,
                    signature=self.dice.choice(["", "OOM", f"odd {self.now_s}"]),
                    incarnation=self.incarnations.get(number, 0),
                )
            )  # fmt: skip

    def do_hang(self, host: int) -> None:
        if host in self.seats and self.is_up:
            self.is_broken = True
            self.hinted.add(host)  # said twice, it is a witness of itself
            others = tuple(h for h in self.seats if h != host)
            self.tell(
                ev.HangSuspected(
                    at_s=0.0, generation=self.generation, groups=(tuple(self.seats), (host,)),
                    waiting=others,
                )
            )  # fmt: skip

    def do_slow(self, host: int) -> None:
        slowdown = self.dice.choice([1.0, 1.001, 1.5])
        if slowdown > 1.4:
            self.hinted.add(host)
        self.tell(ev.HostSlow(at_s=0.0, host=host, slowdown=slowdown))

    def do_failing(self, host: int) -> None:
        self.hinted.add(host)
        self.tell(ev.HostFailing(at_s=0.0, host=host, cause="row remap"))

    def do_cut(self, host: int) -> None:
        hosts = (host,) if self.dice.random() < 0.5 else tuple(self.hosts[host : host + 6])
        self.cut |= set(hosts)
        self.hinted |= set(hosts)
        self.tell(ev.LinksDown(at_s=0.0, hosts=hosts, cause="leaf"))

    def do_heal(self, _host: int) -> None:
        hosts, self.cut = tuple(self.cut), set()
        self.tell(ev.LinksUp(at_s=0.0, hosts=hosts))

    def do_repair(self, _host: int) -> None:
        if self.evicted:
            self.repair(min(self.evicted))

    def repair(self, host: int) -> None:
        for table in (self.evicted, self.dead, self.told_dead, self.hinted, self.cut):
            table.discard(host)
        if host in self.announced:
            self.hinted.add(host)  # maintenance takes it all the same
        self.tell(ev.HostRepaired(at_s=0.0, host=host))

    def do_maintenance(self, host: int) -> None:
        self.hinted.add(host)
        self.announced.add(host)
        self.tell(ev.MaintenanceAnnounced(at_s=0.0, host=host, by_s=self.now_s + 90.0))

    def do_nan(self, _host: int) -> None:
        if self.is_up and not self.is_broken and self.brain.phase is Phase.RUNNING:
            self.taint(self.step)
            self.tell(
                ev.StepsDone(at_s=0.0, generation=self.generation, step=self.step + 1, finite=False)
            )

    def do_anomaly(self, _host: int) -> None:
        self.tell(ev.AnomalySeen(at_s=0.0, generation=self.generation, step=self.step))

    def do_corrupt(self, host: int) -> None:
        clean_step = max(self.step - 7, 0)
        if host in self.seats and self.is_up:
            self.hinted.add(host)
            self.taint(clean_step)
            self.tell(
                ev.CorruptionFound(
                    at_s=0.0, generation=self.generation, host=host, clean_step=clean_step
                )
            )

    def taint(self, clean_step: int) -> None:
        self.good = {step for step in self.good if step <= clean_step}
        self.first_bad = min(self.first_bad, clean_step + 1)

    def do_store(self, _host: int) -> None:
        self.tell(ev.StorageSeen(at_s=0.0, slowdown=self.dice.choice([1.0, 3.0, math.inf])))

    def do_lost(self, _host: int) -> None:
        step, tier = self.brain.committed_step, self.dice.choice(list(act.Tier))
        if step is not None:
            self.tell(ev.CheckpointLost(at_s=0.0, step=step, tier=tier))

    def do_reattach(self, _host: int) -> None:
        self.tell(ev.Reattached(at_s=0.0))

    def do_idle(self, _host: int) -> None:
        for _ in range(self.dice.randint(1, 30)):
            if self.outcome is None:
                self.advance()

    def do_commit(self, _host: int) -> None:
        if self.is_up and self.step in self.good:
            self.tell(ev.CheckpointCommitted(at_s=0.0, generation=self.generation, step=self.step))

    def do_refuse(self, _host: int) -> None:
        self.tell(ev.ActionFailed(at_s=0.0, token=self.tokens[-1], reason="refused"))

    def calm(self) -> None:
        """Faults stop; the store answers, links heal, every host is repaired."""
        self.tell(ev.StorageSeen(at_s=0.0, slowdown=1.0))
        self.do_heal(0)
        for host in self.hosts:
            if host in self.evicted | self.dead:
                self.repair(host)
            self.tell(ev.HostReachable(at_s=0.0, host=host))
            self.tell(ev.HostSlow(at_s=0.0, host=host, slowdown=1.0))


shape = st.sampled_from([(4, 1, 0), (4, 1, 2), (4, 2, 1), (3, 4, 2), (8, 2, 4), (1, 6, 2)])


@st.composite
def world(draw):
    num_replicas, replica_hosts, num_spares = draw(shape)
    prices = Prices(
        recovery=draw(st.sampled_from(list(Recovery))),
        can_shrink=draw(st.booleans()),
        num_replicas=num_replicas,
        replica_hosts=replica_hosts,
        min_replicas=draw(st.integers(1, max(1, num_replicas // 2))),
        peer_stride=draw(st.sampled_from([0, 1, replica_hosts])),
        has_local=draw(st.booleans()),
        mtbf_s=draw(st.sampled_from([100.0, 86400.0])),
        cold_s=60.0,
        warm_s=20.0,
        join_s=30.0,
        restore_store_s=30.0,
        store_every_s=10.0,
        repair_s=draw(st.sampled_from([10.0, 86400.0])),
    )
    config = ControlConfig(
        ladder=LADDER, prices=prices, max_hold_s=3 * 86400.0,
        max_evictions_per_h=draw(st.sampled_from([2, 30])),
    )  # fmt: skip
    return World(
        config, num_hosts=num_replicas * replica_hosts, num_spares=num_spares,
        seed=draw(st.integers(0, 2**20)),
    )  # fmt: skip


@given(world(), st.lists(st.sampled_from(KINDS), max_size=80))
@settings(max_examples=300, deadline=None)
def test_whatever_breaks_it_stays_safe_and_gets_done_when_faults_stop(one, kinds):
    for kind in kinds:
        if one.outcome is None:
            one.strike(kind)
    for _ in range(6000):
        if one.outcome is not None:
            break
        if one.brain.phase is Phase.HOLDING or one.dice.random() < 0.02:
            one.calm()
        if one.brain.held in FOR_A_PERSON:
            one.tell(ev.ResumeRequested(at_s=0.0))
        one.advance()
    assert one.outcome is not None, f"stuck in {one.brain.phase} ({one.brain.held})"


def test_the_kinds_are_all_known():
    assert all(hasattr(World, f"do_{kind}") for kind in KINDS)
