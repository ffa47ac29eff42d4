"""A service through its day: people, router, schedulers, controller, failures, on virtual time.

The controller, and the replicas that it orders, drains and loses, are those of the whole fleet.
Requests are followed on a few of its replicas: of the people, so many are followed as those
replicas' share of all that take requests at the moment. So a followed replica has the load that it
would have among all of them, whatever the number of either.

At one instant the fleet goes first, then steps end, then people ask.
"""

from __future__ import annotations

import gc
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gigafactory.control.batching import ServingLimits
from gigafactory.control.scaling import RoleRule, ScalingRules, ServeController
from gigafactory.cost.token_batching import fill_share, host_first_token_s
from gigafactory.describe.serve import FleetStudy, Role
from gigafactory.plan.fleet import Fleet, hourly_per_s, num_needed
from gigafactory.plan.fleet_replicas import ReplicaPlan, deployed, step_tokens, transfer_s
from gigafactory.simulate.rng import stream
from gigafactory.simulate.serving.asking import Asking
from gigafactory.simulate.serving.clock import picoseconds
from gigafactory.simulate.serving.engine import Groups
from gigafactory.simulate.serving.fleet import WholeFleet, perils_of
from gigafactory.simulate.serving.outcome import Outcome
from gigafactory.simulate.serving.people import (
    EVERY_S,
    Requests,
    block_keys,
    demand_of,
    requests_of,
)
from gigafactory.simulate.serving.sample import Agenda, Follower, Sample
from gigafactory.simulate.serving.step_times import equation_times
from gigafactory.simulate.serving.tally import Tally
from gigafactory.simulate.traffic import Series

#: The demand may need fewer replicas than the plan's quietest hour; who is followed is drawn first.
_LEAST_SHARE = 0.8


@dataclass(slots=True)
class ServingTwin:
    """One run; `follow` is the way in."""

    study: FleetStudy
    plan: Fleet
    demand: Series
    requests: Requests
    share: float
    """Of the people, those in ``requests``."""
    seed: int
    tally: Tally
    agenda: Agenda = field(default_factory=Agenda)
    samples: dict[Role, Sample] = field(default_factory=dict)
    fleet: WholeFleet = field(init=False)
    _alarms: list[tuple[int, int, Callable[[int], None]]] = field(default_factory=list)
    _num_alarms: int = 0
    _asking: Asking = field(init=False)
    _first: Role = Role.WHOLE
    _continues: list[float] = field(default_factory=list)
    _first_token: int = 0
    _fill_share: float = 0.0
    """Of a step with prompts: the last part of a prompt leaves the stages so much later."""
    _transfer_ps_per_token: int = 0
    _num_common: int = 0

    def __post_init__(self) -> None:
        serve, roles = self.study.serve, self.plan.roles
        self.fleet = _whole_fleet(self.study, self.plan, seed=self.seed, alarm=self._alarm)
        self.fleet.on_death = self._died
        counts = followed_counts(self.plan, serve.cut.replicas)
        self.samples = {
            r.role: _sample(self.study, r, num=n, agenda=self.agenda)
            for r, n in zip(roles, counts, strict=True)
        }
        self._first = roles[0].role
        at = deployed(self.study, roles[0].replica)
        self._first_token = picoseconds(host_first_token_s(at))
        self._fill_share = fill_share(roles[0].replica)
        if self.plan.is_split:
            one = transfer_s(self.study, roles[0].replica, tokens=1.0)
            self._transfer_ps_per_token = picoseconds(one)
            dice = stream("serve.handover", seed=self.seed)
            self._continues = dice.random(len(self.requests)).tolist()
        self._num_common = serve.conversation.system_tokens // serve.block_tokens
        self._asking = Asking(self.requests)

    def run(self) -> Outcome:
        """Through warm-up and window."""
        end = picoseconds(len(self.demand.at_s) * EVERY_S)
        self.fleet.open(float(self.demand.requests_per_s[0]))
        self._match(0)
        every = max(1, round(self.study.serve.scaling.watch_s / EVERY_S))
        for number in range(every, len(self.demand.at_s), every):
            at = picoseconds(number * EVERY_S)
            self._alarm(at, partial(self._look, number - every, number))
        warm = picoseconds(math.ceil(self.study.serve.cut.warm_s / EVERY_S) * EVERY_S)
        self._alarm(warm, self._begin)
        self._follow(end)
        self.tally.close(self.samples, at=end)
        self.fleet.close(end)
        return self.tally.outcome(self.plan, self.fleet)

    # ---- the loop ----

    def _follow(self, end: int) -> None:
        alarms, steps, asking = self._alarms, self.agenda.heap, self._asking
        never = end + 1
        take, stepped_on = heapq.heappop, self._stepped
        while True:
            asked = asking.next_at
            stepped = steps[0][0] if steps else never
            rung = alarms[0][0] if alarms else never
            if stepped < rung and stepped <= asked:
                if stepped > end:
                    return
                _, _, who, schedule = take(steps)
                if schedule == who.schedule:
                    stepped_on(who, stepped)
            elif rung <= asked:
                if rung > end:
                    return
                take(alarms)[2](rung)
            else:
                self._ask(asking.take(), asked)

    def _alarm(self, at: int, call: Callable[[int], None]) -> None:
        self._num_alarms += 1
        heapq.heappush(self._alarms, (at, self._num_alarms, call))

    # ---- requests ----

    def _ask(self, index: int, at: int) -> None:
        """The next request goes to a replica that computes its prompt."""
        requests, sample = self.requests, self.samples[self._first]
        prompt, conversation = requests.prompt_tokens[index], requests.conversation[index]
        num_blocks = prompt // sample.limits.block_tokens
        is_split = self._transfer_ps_per_token > 0
        self.tally.asked(index)
        who = sample.ask(
            index,
            conversation=conversation,
            at=at,
            prompt_tokens=prompt,
            answer_tokens=1 if is_split else requests.answer_tokens[index],
            keys=block_keys(conversation, num_blocks=num_blocks, num_common=self._num_common),
        )
        if who is None:
            self.tally.refused(index, at)
        elif who.engine.heard.refused:
            self._refusals(who, at)

    def _refusals(self, who: Follower, at: int) -> None:
        for ident in self.samples[who.role].refused(who):
            self.tally.refused(ident, at)

    def _stepped(self, who: Follower, at: int) -> None:
        heard = self.samples[who.role].finish(who, at)
        out = at
        if self._fill_share and who.role is not Role.DECODE:
            out += int(self._fill_share * who.engine.step_time)
        if who.role is Role.PREFILL:
            for index in heard.ended:
                self._hand_over(index, who, out)
            return
        if who.role is Role.WHOLE:
            for index in heard.first:
                self.tally.spoke(index, out + self._first_token)
        for index in heard.ended:
            self.tally.ended(index, out + self._first_token)
        for index in heard.refused:
            self.tally.refused(index, at)

    def _hand_over(self, index: int, who: Follower, at: int) -> None:
        """A prompt is computed: its cache moves to a replica that decodes. Of the followed prompts,
        as many answers are followed as belong to the replicas that are."""
        requests = self.requests
        begins = at if at > who.sends_until else who.sends_until
        there = begins + self._transfer_ps_per_token * requests.prompt_tokens[index]
        who.sends_until = there
        self.tally.spoke(index, there + self._first_token)
        if requests.answer_tokens[index] == 1:
            self.tally.ended(index, there + self._first_token)
        elif self._continues[index] < self._share_of(Role.DECODE) / self._share_of(self._first):
            self._alarm(there, partial(self._decode, index))
        else:
            self.tally.left(index)

    def _decode(self, index: int, at: int) -> None:
        requests, sample = self.requests, self.samples[Role.DECODE]
        prompt = requests.prompt_tokens[index]
        who = sample.ask(
            index,
            conversation=requests.conversation[index],
            at=at,
            prompt_tokens=prompt + 1,
            answer_tokens=requests.answer_tokens[index] - 1,
            ready_tokens=prompt,
        )
        if who is None:
            self.tally.refused(index, at)
        elif who.engine.heard.refused:
            self._refusals(who, at)

    # ---- the fleet around them ----

    def _share_of(self, role: Role) -> float:
        """Of those that serve, the ones that are followed."""
        followed, serving = self.samples[role].num_replicas, len(self.fleet.serving[role])
        return followed / serving if followed < serving else 1.0

    def _match(self, at: int) -> None:
        """Follow whoever takes requests now, and as many people as belong to them."""
        for sample in self.samples.values():
            for index in sample.match(self.fleet.serving[sample.role]):
                # it drains: its answers end elsewhere in the fleet, and are not followed on
                self.tally.left(index)
        is_served = bool(self.fleet.serving[self._first])
        follows = self._share_of(self._first) / self.share if is_served else 1.0
        self._asking.follow(follows, at=at)

    def _died(self, replica: int, role: Role, at: int) -> None:
        """What it had begun to say breaks off; what waits is sent elsewhere when it is missed."""
        sample = self.samples[role]
        self.tally.deaths(role, sample.num_inside / max(1, len(sample.followed)))
        for index in sample.leave(replica):
            if self.tally.has_spoken(index) or role is Role.DECODE:
                self.tally.broke(index)
            else:
                self._alarm(at + self.fleet.detect, partial(self._ask_again, index))
        self._alarm(at, self._match)

    def _ask_again(self, index: int, at: int) -> None:
        self._ask(index, at)
        self.tally.resent(index)

    def _look(self, first: int, last: int, at: int) -> None:
        """What came since the last look, in the demand from point ``first`` up to ``last``."""
        late = self.tally.look(self.samples, self.fleet, at=at)
        rate = float(self.demand.requests_per_s[first:last].mean())
        self.fleet.look(at, requests_per_s=rate, late_shares=late)
        self._match(at)

    def _begin(self, at: int) -> None:
        self.tally.begin(self.samples, at=at)
        self.fleet.reset(at)


def follow(study: FleetStudy, *, plan: Fleet, seed: int = 0) -> Outcome:
    """The study's window with the fleet of ``plan``; same study, plan and seed, same outcome."""
    serve = study.serve
    demand = demand_of(serve, seed=seed)
    share = drawn_share(study, plan)
    requests = requests_of(serve, demand, share=share, context=study.model.context, seed=seed)
    tally = Tally(slo=serve.slo, requests=requests, demand=demand, study=study)
    twin = ServingTwin(study, plan, demand, requests, share=share, seed=seed, tally=tally)
    # nothing in it goes round in circles, so that looking for circles only takes time
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        return twin.run()
    finally:
        if was_collecting:
            gc.enable()


def followed_counts(plan: Fleet, wanted: int) -> tuple[int, ...]:
    """Replicas followed by role: of two roles in the ratio of the plan, answers rather less."""
    if not plan.is_split:
        return (min(wanted, plan.peak_replicas[0]),)
    prompts, answers = plan.peak_replicas
    first = min(prompts, max(wanted, math.ceil(prompts / answers)))
    return first, max(1, first * answers // prompts)


def drawn_share(study: FleetStudy, plan: Fleet) -> float:
    """Of all people, those that may have to be followed at some time of the window."""
    first = plan.roles[0]
    count = followed_counts(plan, study.serve.cut.replicas)[0]
    if not study.serve.scaling.is_on:
        return count / plan.peak_replicas[0]
    quiet = float(hourly_per_s(study.serve.demand).min()) * study.serve.demand.weekend_factor
    least = max(1, math.floor(_LEAST_SHARE * num_needed(first, quiet, study=study)))
    return min(1.0, count / least)


def _whole_fleet(
    study: FleetStudy, plan: Fleet, *, seed: int, alarm: Callable[..., None]
) -> WholeFleet:
    scaling = study.serve.scaling
    fixed = (None,) * len(plan.roles) if scaling.is_on else plan.peak_replicas
    rules = ScalingRules(
        roles=tuple(
            RoleRule(
                role=r.role,
                num_gpus=r.num_gpus,
                requests_per_s=r.requests_per_s,
                min_replicas=scaling.min_replicas,
                fixed_replicas=n,
            )
            for r, n in zip(plan.roles, fixed, strict=True)
        ),
        headroom=scaling.headroom,
        lead_s=scaling.cold_start_s + scaling.watch_s,
        cooldown_s=scaling.cooldown_s,
        late_share=1 - study.serve.slo_share,
    )
    longest_s = study.serve.conversation.answer.most_tokens * (study.serve.slo.tpot_s or 0.0)
    return WholeFleet(
        controller=ServeController(rules),
        alarm=alarm,
        perils=perils_of(study.faults, cluster=study.cluster),
        host_gpus=study.cluster.host.num_gpus,
        cold_start=picoseconds(scaling.cold_start_s),
        drain=picoseconds(longest_s),
        detect=picoseconds(scaling.detect_s),
        seed=seed,
        num_gpus=study.cluster.num_gpus,
        gpus={r.role: r.num_gpus for r in plan.roles},
    )


def _sample(study: FleetStudy, plan: ReplicaPlan, *, num: int, agenda: Agenda) -> Sample:
    limits = ServingLimits(
        max_running=plan.max_running,
        max_waiting=study.serve.max_waiting,
        num_blocks=plan.num_blocks,
        block_tokens=study.serve.block_tokens,
        max_step_tokens=step_tokens(plan),
        max_chunk_tokens=plan.replica.max_num_tokens * plan.replica.pp,
    )
    at, dp = deployed(study, plan.replica), plan.replica.dp
    times = equation_times(
        at,
        max_running=plan.max_running,
        max_step_tokens=limits.max_step_tokens,
    )
    groups = Groups(dp, at.constants.dp_stall) if dp > 1 else None
    return Sample(plan.role, num, limits, times, agenda, groups=groups)
