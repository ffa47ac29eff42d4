"""Ranks on other hosts, through one agent a host that a scheduler started there.

What a broken connection means is found out at once: where the scheduler's own daemon on that host
still answers, only the agent is gone, and a new one is started; where the host says that nobody
listens, agent and daemon are both gone, which is explicit evidence; where nothing answers, the host
is silent, and others are asked.
"""

from __future__ import annotations

import queue
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gigafactory.describe.errors import JobError
from gigafactory.run.launchers import wire
from gigafactory.run.launchers.agent import BEAT_S, answers_at
from gigafactory.run.launchers.launcher import (
    Ended,
    HostHeard,
    HostLost,
    HostSilent,
    Line,
    RankCommand,
    Seats,
    Seen,
    Witnessed,
)
from gigafactory.run.launchers.links import Broken, Heard, Links

#: Ports of rendezvous stores, one a generation; below those the kernel gives away by itself.
PORTS = range(21000, 32000)
_KNOCK_S = 0.5
_MOST_KNOCKS = 32
_WITNESS_S = 2.0
_NUM_WITNESSES = 3
_STOP_S = 10.0
_AGENT_S = 30.0
#: A start is given the processors of its hosts for itself first.
_PREPARE_AFTER_S = 6.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Door:
    """Where the scheduler's daemon of a host answers."""

    address: str
    port: int


class Floor(Protocol):
    """An allocation: the hosts that a scheduler gave, and what it does for them."""

    name: str
    """Of the scheduler's daemon, for messages."""
    hosts: tuple[str, ...]
    """In the order of ranks, those to stand by last; their places are the hosts' numbers."""

    def raise_agents(self, hosts: Sequence[str]) -> None:
        """Start the agent on each of these; JobError where the scheduler refuses."""

    def door(self, host: str) -> Door | None:
        """Where its daemon answers; None: unknown."""

    def set_aside(self, host: str, *, reason: str) -> None:
        """Let nothing new start on the host; whatever comes of it, nothing is raised."""

    def close(self) -> None:
        """End the agents' job steps."""


@dataclass(slots=True)
class _Question:
    """Whether a host lives, put to several witnesses."""

    turn: int
    until_s: float
    num_open: int


@dataclass(slots=True)
class RemoteLauncher:
    """Implements ``Launcher`` on the hosts of a ``Floor``, numbered as they stand there."""

    floor: Floor
    links: Links
    first_port: int
    """Of ``PORTS``: jobs that share a host begin at different ones."""
    heartbeat_timeout_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    """For every rank, what the network asks for."""
    modules: tuple[str, ...] = ()
    """What a rank spends most of its start with importing; processes that did are kept ready."""
    _ranks: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Running ones, by host."""
    _gone: set[str] = field(default_factory=set)
    """Lost or set aside: never used again."""
    _silent: set[str] = field(default_factory=set)
    _seen: list[Seen] = field(default_factory=list)
    _questions: dict[str, _Question] = field(default_factory=dict)
    _awaited: dict[str, float] = field(default_factory=dict)
    """Their agents were started then, and did not come yet."""
    _knocks: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_MOST_KNOCKS, "knock")
    )
    _knocked: queue.SimpleQueue[tuple[str, bool | None]] = field(default_factory=queue.SimpleQueue)
    _stopped: set[str] = field(default_factory=set)
    _turn: int = 0
    _is_closed: bool = False
    _beaten_s: float = 0.0
    _place: dict[str, int] = field(init=False)
    _on_examined: Callable[[str, wire.Examined], None] | None = None

    def __post_init__(self) -> None:
        self._place = {host: place for place, host in enumerate(self.floor.hosts)}

    # -- hosts -----------------------------------------------------------------------------

    def meet(self, *, num_needed: int, timeout_s: float, grace_s: float) -> tuple[str, ...]:
        """Start the agents and wait for them; the hosts that are waited for in vain are returned.

        Once ``num_needed`` are there, the others have ``grace_s`` left. JobError where fewer came.
        """
        self._raise(self.floor.hosts)
        self._until(lambda: self._num_there() >= num_needed, timeout_s)
        self._until(lambda: self._num_there() == len(self.floor.hosts), grace_s)
        missing = tuple(host for host in self.floor.hosts if host not in self.links)
        if self._num_there() < num_needed:
            raise JobError(
                f"{len(missing)} of {len(self.floor.hosts)} hosts did not start their agent "
                f"within {timeout_s:g} s ({', '.join(missing[:8])}), and {num_needed} are needed"
            )
        self._gone.update(missing)
        return missing

    def present(self) -> list[str]:
        """Hosts that may take ranks, by name."""
        return [host for host in self.floor.hosts if self._is_usable(host)]

    def examine(
        self,
        argvs: Mapping[str, Sequence[str]],
        *,
        environment: Mapping[str, str],
        timeout_s: float,
    ) -> dict[str, tuple[str, str, float]]:
        """Run a command on every host at once: (report, reason why there is none, clock offset).

        The offset is the host's clock minus this one's, the time on the way included.
        """
        found: dict[str, tuple[str, str, float]] = {}

        def keep(host: str, said: wire.Examined) -> None:
            found[host] = said.report, said.reason, said.clock_s - time.time()

        self._on_examined = keep
        for host, argv in argvs.items():
            own = _without_interface(environment) | _interfaces(self.links.hello(host).interface)
            order = wire.Examine(argv=tuple(argv), environment=own, timeout_s=timeout_s)
            self.links.say(host, order)
        self._until(lambda: len(found) == len(argvs), timeout_s + 2 * BEAT_S)
        self._on_examined = None
        return {host: found.get(host, ("", "it did not answer", 0.0)) for host in argvs}

    def meeting_for_talk(self, host: str, number: int) -> tuple[str, int]:
        """Address and port where two hosts can meet, far from those of generations."""
        place = (self.first_port - PORTS.start + len(PORTS) // 2 + number) % len(PORTS)
        return self.links.hello(host).address, PORTS[place]

    def leave_out(self, hosts: Sequence[str]) -> None:
        """Do not use these, which did not pass."""
        self._gone.update(hosts)
        for host in hosts:
            self.links.say(host, wire.Leave())
            self.links.hang_up(host)

    def seats(self, num_hosts: int) -> Seats:
        """The first ones that came train, the others stand by."""
        have = [i for i, host in enumerate(self.floor.hosts) if self._is_usable(host)]
        if len(have) < num_hosts:
            raise JobError(f"{num_hosts} hosts are needed to train, and {len(have)} are left")
        return Seats(tuple(have[:num_hosts]), tuple(have[num_hosts:]))

    def rendezvous(self, directory: Path, *, generation: int, host: int) -> str:
        """The host of rank 0 holds the store, at a port that no earlier generation used."""
        address, port = self._meeting_point(host, generation)
        return f"tcp://{address}:{port}"

    def probe(self, host: int) -> None:
        """Its own word counts most; else other hosts knock at the door of its daemon."""
        name = self.floor.hosts[host]
        if name in self.links and self.links.silence_s(name) < 2 * BEAT_S:
            self._seen.append(Witnessed(host=host, alive=True))
            return
        door = self.floor.door(name)
        peers = [h for h in self.floor.hosts if h != name and self._is_usable(h)][:_NUM_WITNESSES]
        if door is None or not peers:
            return  # nobody can tell, and that is no evidence
        self._turn += 1
        self._questions[name] = _Question(self._turn, time.monotonic() + _WITNESS_S, len(peers))
        order = wire.Knock(turn=self._turn, host=name, address=door.address, port=door.port)
        for peer in peers:
            self.links.say(peer, order)

    def set_aside(self, hosts: Sequence[int], *, reason: str) -> None:
        """They are told to leave, and the scheduler to give them to nobody."""
        names = [self.floor.hosts[host] for host in hosts]
        self.leave_out(names)
        for name in names:
            self._ranks.pop(name, None)
            self.floor.set_aside(name, reason=reason)

    # -- ranks -----------------------------------------------------------------------------

    def start(self, commands: Sequence[RankCommand], *, generation: int) -> None:
        """See ``Launcher``; waits a little for an agent that is being started again."""
        by_host: dict[str, list[RankCommand]] = defaultdict(list)
        for command in commands:
            by_host[self.floor.hosts[command.host]].append(command)
        self._raise([host for host in by_host if host not in self.links])
        self._until(lambda: all(h in self.links or h in self._gone for h in by_host), _AGENT_S)
        absent = [host for host in by_host if not self._is_usable(host)]
        if absent:
            raise OSError(f"no agent on {', '.join(absent[:8])}")
        address, port = self._meeting_point(commands[0].host, generation)
        common = dict(self.environment) | {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
        for host, own in by_host.items():
            here = common | _interfaces(self.links.hello(host).interface)
            ranks = tuple(_rank(command, here) for command in own)
            self._ranks[host] = {command.rank for command in own}
            self.links.say(host, wire.Start(generation=generation, ranks=ranks))
        if self.modules:
            self._prepare(commands[0], num_each=max(map(len, by_host.values())))

    def _prepare(self, command: RankCommand, *, num_each: int) -> None:
        """On every host, spares first of all: which one the next start needs, nobody knows."""
        order = wire.Prepare(
            count=num_each,
            modules=self.modules,
            environment=_without_interface(command.environment),
            after_s=_PREPARE_AFTER_S,
        )
        for host in self.present():
            self.links.say(host, order)

    def poll(self, timeout_s: float) -> list[Seen]:
        """See ``Launcher``."""
        self._pump(0.0 if self._seen else min(timeout_s, _POLL_S))
        found, self._seen = self._seen, []
        return found

    def signal(self, rank: int, number: int) -> None:
        """See ``Launcher``."""
        for host, ranks in self._ranks.items():
            if rank in ranks:
                self.links.say(host, wire.Signal(rank=rank, number=number))

    def stop(self) -> None:
        """Every agent that is there ends its ranks and says so.

        One that does not answer is hung up on: it ends its ranks by itself, and itself.
        """
        self._turn += 1
        self._stopped.clear()
        hosts = [host for host in self.floor.hosts if host in self.links]
        for host in hosts:
            self.links.say(host, wire.Stop(turn=self._turn))
        self._until(lambda: all(h in self._stopped or h not in self.links for h in hosts), _STOP_S)
        for host in hosts:
            if host in self.links and host not in self._stopped:
                self.links.hang_up(host)
                self._fall_silent(host)
        self._ranks.clear()
        self._seen = [seen for seen in self._seen if not isinstance(seen, Line | Ended)]

    def close(self) -> None:
        """Send the agents home and give their job steps back; no effect the second time."""
        if self._is_closed:
            return
        self._is_closed = True
        for host in self.floor.hosts:
            self.links.say(host, wire.Leave())
        self.links.listen(0.0)
        self.links.close()
        self._knocks.shutdown(wait=False, cancel_futures=True)
        self.floor.close()

    # -- what comes in ---------------------------------------------------------------------

    def _num_there(self) -> int:
        return sum(host in self.links for host in self.floor.hosts)

    def _is_usable(self, host: str) -> bool:
        return host in self.links and host not in self._gone

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline_s:
            self._pump(_POLL_S)

    def _pump(self, timeout_s: float) -> None:
        for item in self.links.listen(timeout_s):
            if isinstance(item, Broken):
                self._lose(item.host)
            else:
                self._hear(item)
        while not self._knocked.empty():
            self._judge(*self._knocked.get())
        self._watch(time.monotonic())

    def _watch(self, now_s: float) -> None:
        """Beats in both directions, and questions that nobody answered in time."""
        if now_s - self._beaten_s < BEAT_S:
            return
        self._beaten_s = now_s
        for host in self.floor.hosts:
            if host in self.links:
                self.links.say(host, wire.Beat())
                if self.links.silence_s(host) > self.heartbeat_timeout_s:
                    self._fall_silent(host)
        for host, question in list(self._questions.items()):
            if now_s > question.until_s:
                self._answer(host, alive=False)
        for host, since_s in list(self._awaited.items()):
            self._await(host, now_s - since_s)

    def _await(self, host: str, waited_s: float) -> None:
        """A daemon may have answered with its last breath: as long as its agent does not come, it
        is asked again."""
        if waited_s > _AGENT_S:
            del self._awaited[host]
            self._fall_silent(host)
        elif waited_s >= BEAT_S:
            self._lose(host)

    def _hear(self, heard: Heard) -> None:
        host, said = heard.host, heard.said
        if host in self._silent:
            self._silent.discard(host)
            self._seen.append(HostHeard(host=self._number(host)))
        match said:
            case wire.Hello():
                self._awaited.pop(host, None)
            case wire.Told(rank=rank, text=text):
                if rank in self._ranks[host]:
                    self._seen.append(Line(rank=rank, text=text.encode()))
            case wire.Over(rank=rank, status=status):
                if rank in self._ranks[host]:
                    self._ranks[host].discard(rank)
                    self._seen.append(Ended(rank=rank, status=status))
            case wire.NotStarted():
                self._end_ranks(host, status=1)
            case wire.Stopped(turn=turn) if turn == self._turn:
                self._stopped.add(host)
            case wire.Knocked():
                self._hear_knock(said)
            case wire.Examined() if self._on_examined is not None:
                self._on_examined(host, said)
            case _:
                pass

    def _hear_knock(self, said: wire.Knocked) -> None:
        question = self._questions.get(said.host)
        if question is None or question.turn != said.turn:
            return
        question.num_open -= 1
        if said.answers or not question.num_open:
            self._answer(said.host, alive=said.answers)

    def _answer(self, host: str, *, alive: bool) -> None:
        del self._questions[host]
        self._seen.append(Witnessed(host=self._number(host), alive=alive))

    def _lose(self, host: str) -> None:
        """The agent is gone: is its host? Asked aside, because a silent host answers late."""
        if host in self._gone:
            return
        door = self.floor.door(host)
        if door is None:
            self._fall_silent(host)
            return

        def knock() -> None:
            answers = answers_at(door.address, door.port, timeout_s=_KNOCK_S)
            self._knocked.put((host, answers))

        self._knocks.submit(knock)

    def _judge(self, host: str, answers: bool | None) -> None:
        """What the knock at the door of a host without an agent came to."""
        if host in self._gone or host in self.links:
            return
        if answers is False:
            self._gone.add(host)
            self._awaited.pop(host, None)
            self._ranks.pop(host, None)
            cause = f"{host}: its agent's connection broke and no {self.floor.name} answers there"
            self._seen.append(HostLost(host=self._number(host), cause=cause))
        elif host in self._awaited:
            pass
        elif answers:
            self._end_ranks(host, status=-signal.SIGKILL)
            self._raise([host])
        else:
            self._fall_silent(host)

    def _end_ranks(self, host: str, *, status: int) -> None:
        ended = sorted(self._ranks.pop(host, ()))
        self._seen += [Ended(rank=rank, status=status) for rank in ended]

    def _fall_silent(self, host: str) -> None:
        if host not in self._silent and host not in self._gone:
            self._silent.add(host)
            self._seen.append(HostSilent(host=self._number(host)))

    def _raise(self, hosts: Sequence[str]) -> None:
        """Have agents started, once each until they come."""
        wanted = [host for host in hosts if host not in self._awaited and host not in self._gone]
        if wanted:
            self._awaited.update(dict.fromkeys(wanted, time.monotonic()))
            self.floor.raise_agents(wanted)

    def _number(self, host: str) -> int:
        return self._place[host]

    def _meeting_point(self, host: int, generation: int) -> tuple[str, int]:
        name = self.floor.hosts[host]
        address = self.links.hello(name).address if name in self.links else "127.0.0.1"
        place = (self.first_port - PORTS.start + generation) % len(PORTS)
        return address, PORTS[place]


def _interfaces(name: str) -> dict[str, str]:
    """Sockets of gloo and NCCL's bootstrap go the way that reached the driver."""
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} if name else {}


def _without_interface(environment: Mapping[str, str]) -> dict[str, str]:
    """An engine's choice is right for one machine only."""
    return {key: value for key, value in environment.items() if key != "GLOO_SOCKET_IFNAME"}


def _rank(command: RankCommand, here: Mapping[str, str]) -> wire.Rank:
    environment = _without_interface(command.environment)
    return wire.Rank(
        rank=command.rank,
        host=command.host,
        argv=command.argv,
        environment=environment | dict(here),
    )
