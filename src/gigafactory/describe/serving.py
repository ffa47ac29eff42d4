"""Serving: how a model is laid over GPUs to answer, what is asked of it, what must hold."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.spec import Spec
from gigafactory.units import Seconds


class Runtime(StrEnum):
    """How the program around the kernels works, which decides what a step costs the host."""

    NATIVE = "native"
    """A compiled engine with a scheduler in C++ (TensorRT engines)."""
    TUNED = "tuned"
    """A Python scheduler over vendor kernels and CUDA graphs (TensorRT-LLM's PyTorch backend)."""
    PORTABLE = "portable"
    """A Python scheduler over portable kernels (vLLM, SGLang)."""


class Replica(Spec):
    """One copy of the model on tp * dp * pp GPUs."""

    tp: PositiveInt = 1
    """Ranks that share each attention and each dense layer."""
    dp: PositiveInt = 1
    """Groups that hold attention and the KV cache of different requests; experts are shared."""
    pp: PositiveInt = 1
    ep: PositiveInt = 1
    """Ranks over which whole experts are spread; the other ranks of tp * dp cut experts."""
    precision: Precision = Precision.FP8
    """Of the weights and the multiplications."""
    kv_precision: Precision = Precision.FP8
    max_batch: PositiveInt = 2048
    """Requests that may decode at once, per dp group."""
    max_num_tokens: PositiveInt = 8192
    """Tokens of one step, prompt and decode together, per dp group."""
    chunked_prefill: bool = True
    """Long prompts are cut to fit max_num_tokens."""
    runtime: Runtime = Runtime.TUNED
    arm_host: bool = False
    """The host processor is a Grace (ARM), slower in one thread."""
    year: float = 2026.0
    """Of the software."""

    @model_validator(mode="after")
    def _experts_fit(self) -> Replica:
        if (self.tp * self.dp) % self.ep:
            raise ValueError(f"ep {self.ep} does not divide tp * dp = {self.tp * self.dp}")
        return self

    @property
    def num_gpus(self) -> int:
        """GPUs of the replica."""
        return self.tp * self.dp * self.pp


class Traffic(Spec):
    """What a mean request brings and wants."""

    input_tokens: float = Field(gt=0)
    output_tokens: float = Field(ge=1)
    cached_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the prompt tokens whose keys and values lie in the cache already."""
    num_draft_tokens: NonNegativeInt = 0
    """Tokens that a draft proposes each step (speculative decoding); 0 = off."""
    acceptance: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a proposed token is right, given that those before it were."""
    draft_share: float = Field(default=0.0, ge=0)
    """Time of one draft token over the time of one step of the model."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens a request gains in a step: 1 + a + a^2 + ... (arXiv:2211.17192 equation 1)."""
        a, k = self.acceptance, self.num_draft_tokens
        return (1 - a ** (k + 1)) / (1 - a) if k else 1.0


class Slo(Spec):
    """Limits that a service keeps, on the 99th percentile."""

    ttft_s: Seconds | None = Field(default=None, gt=0)
    """Time to the first token."""
    tpot_s: Seconds | None = Field(default=None, gt=0)
    """Time per further token."""
