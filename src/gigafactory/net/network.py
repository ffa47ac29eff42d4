"""The transformer: one definition for every block that is trained or served here.

Letters: B batch, T positions, H hidden, V vocabulary.

    x      = embed[ids]                          (times sqrt(H) in Grok)
    x      = x + norm(attention(norm(x)))        (the outer norms in Grok only)
    x      = x + norm(feed(norm(x)))             feed: experts, a dense MLP,
                                                 or (mlp + experts) / sqrt(2)
    logits = cap(multiplier * norm(x) head^T)

Norms, the router and all softmaxes are computed in float32 whatever the precision of the rest.
Which block is built follows from ``Model``; what sets the blocks apart is in recipe.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gigafactory.describe.model import Model
from gigafactory.net.attention import Attention, cap
from gigafactory.net.cache import Cache, LayerCache
from gigafactory.net.experts import Experts, Routing
from gigafactory.net.here import compute_dtype, logits_of
from gigafactory.net.mlp import Mlp
from gigafactory.net.norms import RmsNorm
from gigafactory.net.recipe import Recipe, recipe_of
from gigafactory.net.rope import Rope, rope_table


class Layer(nn.Module):
    """One block: attention and feed-forward, each behind a norm (Grok: between two)."""

    def __init__(self, model: Model, recipe: Recipe, *, has_experts: bool) -> None:
        super().__init__()

        def norm() -> RmsNorm:
            return RmsNorm(model.hidden, eps=recipe.norm_eps)

        self.pre_attn_norm = norm()
        self.self_attn = Attention(model, recipe)
        self.post_attn_norm = norm() if recipe.norms_outputs else nn.Identity()
        self.pre_moe_norm = norm()
        self.block_sparse_moe = Experts(model, recipe) if has_experts else None
        has_mlp = model.dense_residual or not has_experts
        self.mlp = Mlp(model.hidden, model.ffn, gate=recipe.gate) if has_mlp else None
        self.post_moe_norm = norm() if recipe.norms_outputs else nn.Identity()

    def forward(
        self,
        x: Tensor,
        *,
        rope: Rope,
        cache: LayerCache | None = None,
        documents: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """(B, T, H) -> (B, T, H), and how its experts were used (None: it has none)."""
        heard = self.self_attn(self.pre_attn_norm(x), rope=rope, cache=cache, documents=documents)
        x = x + self.post_attn_norm(heard)
        y, routing = self._feed(self.pre_moe_norm(x))
        return x + self.post_moe_norm(y), routing

    def _feed(self, x: Tensor) -> tuple[Tensor, Routing | None]:
        if self.block_sparse_moe is None:
            assert self.mlp is not None
            return self.mlp(x), None
        y, routing = self.block_sparse_moe(x)
        if self.mlp is not None:
            y = (self.mlp(x) + y) * 2**-0.5
        return y, routing


class Network(nn.Module):
    """The whole network, ``Model`` being the one source of its shapes; weights uninitialised.

    InputError where the description has something that no code here builds.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe_of(model)
        self.embed_tokens = nn.Embedding(model.vocab, model.hidden)
        first_moe = model.num_layers - model.num_moe_layers
        self.layers = nn.ModuleList(
            Layer(model, self.recipe, has_experts=index >= first_moe)
            for index in range(model.num_layers)
        )
        self.norm = RmsNorm(model.hidden, eps=self.recipe.norm_eps)
        self.lm_head = (
            None if model.tied_embeddings else nn.Linear(model.hidden, model.vocab, bias=False)
        )

    def forward(
        self, ids: Tensor, cache: Cache | None = None, *, documents: Tensor | None = None
    ) -> tuple[Tensor, Routing]:
        """(B, T) token ids -> (B, T, V) logits, and how evenly the experts were used.

        With a cache the ids follow those it already holds, and are added to it. ``documents``
        (B, T) numbers the documents packed into a sequence; none sees another. A network without
        experts counts as even: imbalance 1, z 0.
        """
        x, routing = self.hidden(ids, cache, documents=documents)
        return self._logits(x), routing

    def hidden(
        self, ids: Tensor, cache: Cache | None = None, *, documents: Tensor | None = None
    ) -> tuple[Tensor, Routing]:
        """(B, T) token ids -> (B, T, H) what the head reads; the rest as in ``forward``."""
        first = 0 if cache is None else cache.length
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)
        recipe = self.recipe
        rope = rope_table(
            positions, self.model.head_dim, theta=recipe.rope_theta, scaling=recipe.rope_scaling
        )
        x = self.embed_tokens(ids)
        x = x.to(compute_dtype(x))
        if recipe.scales_embedding:
            x = x * math.sqrt(self.model.hidden)
        routings = []
        for index, layer in enumerate(self.layers):
            held = None if cache is None else cache.layers[index]
            x, routing = layer(x, rope=rope, cache=held, documents=documents)
            routings.append(routing)
        return self.norm(x), _mean(routings, ids)

    def _logits(self, x: Tensor) -> Tensor:
        head = self.embed_tokens if self.lm_head is None else self.lm_head
        logits = logits_of(x, head.weight)
        if self.recipe.output_multiplier != 1.0:  # a pass over the largest tensor there is
            logits = logits * self.recipe.output_multiplier
        bound = self.recipe.final_cap
        return logits if bound is None else cap(logits.float(), bound)


def _mean(routings: list[Routing | None], ids: Tensor) -> Routing:
    found = [routing for routing in routings if routing is not None]
    if not found:
        even = torch.ones(ids.shape[0], device=ids.device)
        return Routing(even, torch.zeros_like(even))
    imbalances, zs = zip(*found, strict=True)
    return Routing(torch.stack(imbalances).mean(0), torch.stack(zs).mean(0))


@torch.no_grad()
def initialise(net: Network, *, seed: int) -> None:
    """Draw every weight: normal with standard deviation fan_in^-0.5, norms at 1.

    The residual stream starts at unit size and stays there through the depth: embeddings are of
    unit size after their multiplier (tied ones without a multiplier are small, as the logits need
    them), and what is added to the stream starts at (2 * layers)^-0.5, by the outer norm where
    there is one, else by the last matrix before. One generator in the order of the parameters:
    same seed, same net.
    """
    dice = torch.Generator().manual_seed(seed)
    depth_scale = (2 * net.model.num_layers) ** -0.5
    for name, weight in net.named_parameters():
        if weight.dim() == 1:
            weight.fill_(depth_scale if ".post_" in name else 1.0)
            continue
        std = weight.shape[-1] ** -0.5
        if name == "embed_tokens.weight" and net.lm_head is not None:
            std = 1.0 if not net.recipe.scales_embedding else std
        elif not net.recipe.norms_outputs and _ends_a_branch(name):
            std *= depth_scale
        weight.normal_(std=std, generator=dice)


def _ends_a_branch(name: str) -> bool:
    return name.endswith((".o_proj.weight", ".down_proj.weight", ".w2"))
