"""A fleet that answers people: how they talk, what they are promised, how it follows them."""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gigafactory.describe.cluster import Cluster, Precision
from gigafactory.describe.faults import Faults
from gigafactory.describe.model import Model
from gigafactory.describe.money import Money
from gigafactory.describe.pool import Demand
from gigafactory.describe.serving import Replica, Runtime, Slo, Traffic
from gigafactory.describe.spec import Spec
from gigafactory.units import DAY_S, Ratio, Seconds


class Lengths(Spec):
    """Tokens of a text: a lognormal with this mean, cut off at ``most_tokens``."""

    mean_tokens: float = Field(ge=1)
    spread: float = Field(default=0.8, ge=0, le=3)
    """Standard deviation of the logarithm; 0: all are alike."""
    most_tokens: PositiveInt = 4096

    @model_validator(mode="after")
    def _mean_is_possible(self) -> Lengths:
        if self.mean_tokens > self.most_tokens:
            raise ValueError(
                f"mean_tokens {self.mean_tokens:g} is above most_tokens {self.most_tokens}"
            )
        return self

    @property
    def squared_variation(self) -> float:
        """Variance over the squared mean, before the cut."""
        return math.expm1(self.spread**2)


class Conversation(Spec):
    """What people and the model say to each other.

    A prompt is the system's part, all turns so far with their answers, and the new question. The
    number of turns is geometric.
    """

    system_tokens: NonNegativeInt = 0
    """Before every conversation, the same for all."""
    question: Lengths
    """What one turn adds: the user's words and the posts that are looked up for them."""
    answer: Lengths
    mean_turns: float = Field(default=1.0, ge=1, le=100)
    think_s: Seconds = Field(default=60.0, gt=0)
    """Mean time from one question of a conversation to its next."""
    source: str

    @property
    def mean_prompt_tokens(self) -> float:
        """Of all requests: the turn that a request is has the same geometric law."""
        more = self.mean_turns - 1
        asked, said = self.question.mean_tokens, self.answer.mean_tokens
        return self.system_tokens + self.mean_turns * asked + more * said

    def mean_known_tokens(self, kept_share: float = 1.0) -> float:
        """Of a prompt, what is in the cache: the system's part, and the prompt of the turn before
        where it is kept still, in a share ``kept_share`` of the cases."""
        more = self.mean_turns - 1
        earlier = more * (1 - 1 / self.mean_turns)
        asked, said = self.question.mean_tokens, self.answer.mean_tokens
        return self.system_tokens + kept_share * (more * asked + earlier * said)


class Role(StrEnum):
    """What a replica computes."""

    WHOLE = "whole"
    """Prompts and answers."""
    PREFILL = "prefill"
    DECODE = "decode"


class Disaggregation(StrEnum):
    """Whether prompts and answers are computed by the same replicas."""

    NEVER = "never"
    ALWAYS = "always"
    CHOOSE = "choose"
    """Whichever needs fewer GPUs."""


class Scaling(Spec):
    """How the number of replicas follows the demand."""

    is_on: bool = True
    """False: as many as the busiest hour needs, all day."""
    headroom: Ratio = Field(default=0.15, ge=0, le=10)
    """Replicas are kept for so much more than the demand that is expected."""
    min_replicas: PositiveInt = 1
    watch_s: Seconds = Field(default=60.0, ge=1)
    """The demand is looked at so often."""
    cold_start_s: Seconds = Field(default=300.0, ge=0)
    """From the order of a host until its replica answers: boot, weights, warm-up."""
    cooldown_s: Seconds = Field(default=900.0, ge=0)
    """Nothing is given up that was needed within this time."""
    detect_s: Seconds = Field(default=5.0, ge=0)
    """Until the gateway knows that a replica died; what waits there is then sent elsewhere."""


class Cut(Spec):
    """The part of the fleet and of the time that the twin follows request by request.

    The number of replicas, their starts and their failures are followed for the whole fleet; the
    requests of some of them alone.
    """

    replicas: PositiveInt = 2
    """Of the replicas that compute prompts, so many are followed."""
    begin_s: Seconds = Field(default=0.0, ge=0, lt=7 * DAY_S)
    """Since Monday at midnight."""
    duration_s: Seconds = Field(default=DAY_S, gt=0, le=7 * DAY_S)
    warm_s: Seconds = Field(default=300.0, ge=0)
    """Before that: caches fill, nothing is counted."""


class Serve(Spec):
    """The service."""

    demand: Demand
    conversation: Conversation
    slo: Slo
    slo_share: Ratio = Field(default=0.99, gt=0, lt=1)
    """Share of the requests that must keep both limits."""
    disaggregation: Disaggregation = Disaggregation.CHOOSE
    replica: Replica | None = None
    """Fixes how a replica lies on its GPUs; default: the planner chooses."""
    precision: Precision = Precision.FP8
    """Of the weights, and of keys and values, where the planner chooses."""
    runtime: Runtime = Runtime.TUNED
    max_waiting: PositiveInt = 256
    """Requests that may queue at one replica; more are refused."""
    block_tokens: PositiveInt = 128
    """Tokens of one block of keys and values."""
    transfer_share: Ratio = Field(default=0.8, gt=0, le=1)
    """Of the hosts' network rate, what moves a cache from a prompt's host to its answer's."""
    scaling: Scaling = Scaling()
    cut: Cut = Cut()

    def traffic(self, kept_share: float = 1.0) -> Traffic:
        """The mean request where so many of the earlier turns are kept in the cache."""
        talk = self.conversation
        whole = talk.mean_prompt_tokens
        # the last block of what is known is filled in part, and part of a block is not known
        known = max(0.0, talk.mean_known_tokens(kept_share) - self.block_tokens / 2)
        return Traffic(
            input_tokens=whole,
            output_tokens=talk.answer.mean_tokens,
            cached_share=known / whole,
        )

    @model_validator(mode="after")
    def _limits_are_given(self) -> Serve:
        missing = [name for name in ("ttft", "tpot") if getattr(self.slo, f"{name}_s") is None]
        if missing:
            raise ValueError(f"slo.{missing[0]} is missing; write for example 450 ms")
        return self


class FleetStudy(Spec):
    """A study of a service: cluster, model, people and money, and no training job."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    cluster: Cluster
    model: Model
    serve: Serve
    faults: Faults
    money: Money

    @model_validator(mode="after")
    def _parts_agree(self) -> FleetStudy:
        told, gpu = self.serve.replica, self.cluster.host.gpu
        try:
            gpu.peak(told.precision if told else self.serve.precision)
        except ValueError as error:
            raise ValueError(f"serve.precision: {error}") from None
        if told and told.tp > self.cluster.host.scaleup_domain_gpus:
            raise ValueError(
                f"serve.replica.tp is {told.tp}, the scale-up domain has "
                f"{self.cluster.host.scaleup_domain_gpus} GPUs; more of them are stages (pp)"
            )
        if told and told.dp > 1 and not self.model.num_experts:
            raise ValueError(
                f"serve.replica.dp is {told.dp}, but {self.model.name} has no experts that its "
                "groups could share; more copies are more replicas"
            )
        if told and self.model.num_layers % told.pp:
            raise ValueError(
                f"serve.replica.pp {told.pp} does not divide {self.model.num_layers} layers"
            )
        talk = self.serve.conversation
        most = talk.system_tokens + talk.question.most_tokens + talk.answer.most_tokens
        if most > self.model.context:
            raise ValueError(
                f"serve.conversation: a first question and its answer may have {most:,} tokens, "
                f"model.context is {self.model.context:,}"
            )
        return self
