"""The network to be trained, as shapes: enough to count parameters and FLOPs."""

from __future__ import annotations

from enum import StrEnum

from pydantic import NonNegativeInt, PositiveInt, model_validator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.spec import Spec


class Block(StrEnum):
    """Which code can build it; what a cost model sees is in the numbers."""

    GROK1 = "grok-1"
    GROK2 = "grok-2"
    QWEN3_MOE = "qwen3-moe"
    LLAMA = "llama"
    GPT = "gpt"
    DEEPSEEK = "deepseek"
    MIXTRAL = "mixtral"


class Mla(Spec):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434), in numbers per token."""

    q_lora_rank: NonNegativeInt
    """0: the query is projected directly."""
    kv_lora_rank: PositiveInt
    qk_nope_head_dim: PositiveInt
    qk_rope_head_dim: PositiveInt
    v_head_dim: PositiveInt


class Model(Spec):
    """A decoder-only transformer, dense or mixture of experts."""

    name: str
    block: Block
    num_layers: PositiveInt
    hidden: PositiveInt
    num_heads: PositiveInt
    num_kv_heads: PositiveInt
    head_dim: PositiveInt
    ffn: NonNegativeInt = 0
    """Hidden size of the dense MLP (of the dense layers, or of a dense residual MLP)."""
    gated_ffn: bool = True
    vocab: PositiveInt
    tied_embeddings: bool = False
    num_experts: NonNegativeInt = 0
    """Routed experts a layer; 0 = dense."""
    topk: NonNegativeInt = 0
    moe_ffn: NonNegativeInt = 0
    num_shared_experts: NonNegativeInt = 0
    num_dense_layers: NonNegativeInt = 0
    """Leading layers with the dense MLP instead of experts."""
    dense_residual: bool = False
    """A dense MLP beside the experts in every layer (Grok-2)."""
    mla: Mla | None = None
    window: NonNegativeInt = 0
    """Sliding window (or chunk) of the attention, 0 = full."""
    num_window_layers: NonNegativeInt | None = None
    """Layers with the window, the others attend to everything; default: all."""
    released_precision: Precision | None = None
    """Number format of the published weights, where it is not 16 bits."""
    context: PositiveInt = 8192
    assumption: str = ""
    """Said wherever the model is printed, when its architecture is not public."""
    source: str

    @model_validator(mode="after")
    def _shapes_agree(self) -> Model:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}"
            )
        if self.num_experts and not (0 < self.topk <= self.num_experts and self.moe_ffn):
            raise ValueError(
                f"a model with {self.num_experts} experts needs topk in 1..{self.num_experts} "
                f"and moe_ffn above 0, not topk {self.topk} and moe_ffn {self.moe_ffn}"
            )
        if not self.num_experts and not self.ffn:
            raise ValueError("a dense model needs ffn above 0")
        if self.num_dense_layers > self.num_layers:
            raise ValueError(f"{self.num_dense_layers} dense layers of {self.num_layers}")
        if (self.num_window_layers or 0) > self.num_layers:
            raise ValueError(f"{self.num_window_layers} window layers of {self.num_layers}")
        return self

    @property
    def window_share(self) -> float:
        """Share of the layers whose attention has a window."""
        if not self.window:
            return 0.0
        layers = self.num_window_layers
        return (self.num_layers if layers is None else layers) / self.num_layers

    @property
    def num_moe_layers(self) -> int:
        """Layers with routed experts."""
        return self.num_layers - self.num_dense_layers if self.num_experts else 0


#: What may differ between two descriptions of one network.
_WORDS = {"name", "source", "assumption", "context", "released_precision"}


def differences(there: Model, here: Model) -> list[str]:
    """What keeps the weights of one model from fitting the other, each as a person reads it."""
    old, new = there.model_dump(mode="json"), here.model_dump(mode="json")
    return [
        f"{key} {old[key]} there, {new[key]} here"
        for key in new
        if key not in _WORDS and old[key] != new[key]
    ]
