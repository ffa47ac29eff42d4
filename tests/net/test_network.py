"""The network against the formulas of its blocks, computed slowly and on another way."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gigafactory.catalog.tables import catalog_models
from gigafactory.cost.parameters import count_parameters
from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.attention import _Remade, attend, fused, temperatures
from gigafactory.net.network import Network, initialise
from gigafactory.net.recipe import RopeScaling
from gigafactory.net.rope import rope_table

#: What the public code and configurations of the blocks say, for the reference below.
FACTS: dict[str, dict[str, Any]] = {
    "grok-1": {"eps": 1e-5, "theta": 1e4, "cap": 30, "embed": True, "out": 1 / math.sqrt(3)},
    "grok-2": {"eps": 1e-5, "theta": 208_533_496, "cap": 30, "router_cap": 30, "final_cap": 50,
               "embed": True, "out": 0.5, "yarn": (16, 8192, 8, 1)},
    "qwen3-moe": {"eps": 1e-6, "theta": 1e6, "renormalised": True, "out": 1.0},
}  # fmt: skip
DENSE = {"num_experts": 0, "topk": 0, "moe_ffn": 0, "ffn": 40}
VARIANTS: dict[str, dict[str, object]] = {
    "grok-1": {},
    "grok-1, dense": DENSE,
    "grok-2": {"block": "grok-2", "dense_residual": True, "ffn": 40, "tied_embeddings": False},
    "qwen3-moe": {"block": "qwen3-moe", "tied_embeddings": False},
    "qwen3-moe, tied, a dense layer": {"block": "qwen3-moe", "num_dense_layers": 1, "ffn": 40},
    "qwen3-moe, dense": {"block": "qwen3-moe"} | DENSE,
}


def small(**changes: object) -> Model:
    shapes = {
        "name": "small", "block": "grok-1", "num_layers": 2, "hidden": 32, "num_heads": 4,
        "num_kv_heads": 2, "head_dim": 8, "vocab": 64, "tied_embeddings": True, "num_experts": 4,
        "topk": 2, "moe_ffn": 48, "context": 24, "source": "made for the test",
    }  # fmt: skip
    return Model.model_validate(shapes | changes)


def made(model: Model) -> Network:
    net = Network(model)
    initialise(net, seed=3)
    with torch.no_grad():  # norms away from their start, so that a missing one shows
        for name, weight in net.named_parameters():
            if weight.dim() == 1:
                weight.copy_(torch.linspace(0.5, 1.5, weight.numel()).roll(len(name)))
    return net


@pytest.fixture
def net() -> Network:
    return made(small())


def ids_of(seed: int, batch: int, length: int, vocab: int = 64) -> Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


# The reference: one token, one head, one expert at a time, in float64.


def reference(net: Network, ids: list[int]) -> Tensor:
    """Logits (T, V) of one sequence."""
    w = {name: weight.detach().double() for name, weight in net.named_parameters()}
    m = net.model
    f = FACTS[m.block]
    x = [w["embed_tokens.weight"][i] * (math.sqrt(m.hidden) if f.get("embed") else 1) for i in ids]
    for n in range(m.num_layers):
        part = {
            name.removeprefix(f"layers.{n}."): weight
            for name, weight in w.items()
            if name.startswith(f"layers.{n}.")
        }
        normed = [_norm(v, part["pre_attn_norm.weight"], f["eps"]) for v in x]
        out = _attention(normed, part, m)
        x = [v + _outer(o, part, "attn", f) for v, o in zip(x, out, strict=True)]
        for t, v in enumerate(x):
            fed = _feed(_norm(v, part["pre_moe_norm.weight"], f["eps"]), part, m)
            x[t] = v + _outer(fed, part, "moe", f)
    last = torch.stack([_norm(v, w["norm.weight"], f["eps"]) for v in x])
    logits = last @ w["embed_tokens.weight" if m.tied_embeddings else "lm_head.weight"].T * f["out"]
    return _cap(logits, f.get("final_cap"))


def _cap(x: Tensor, bound: float | None) -> Tensor:
    return bound * torch.tanh(x / bound) if bound else x


def _norm(v: Tensor, weight: Tensor, eps: float) -> Tensor:
    return v / math.sqrt(float((v * v).sum()) / len(v) + eps) * weight


def _outer(v: Tensor, part: dict[str, Tensor], where: str, f: dict[str, Any]) -> Tensor:
    name = f"post_{where}_norm.weight"
    return _norm(v, part[name], f["eps"]) if name in part else v


def _turn(v: Tensor, position: int, f: dict[str, Any]) -> Tensor:
    """Pair (i, i + d/2) as a complex number, turned by position * theta^(-2i/d), or slower."""
    half = len(v) // 2
    angles = []
    for i in range(half):
        speed = f["theta"] ** (-2 * i / len(v))
        if "yarn" in f:
            speed *= _slowed(i, len(v), f["theta"], f["yarn"])
        angles.append(position * speed)
    turned = torch.complex(v[:half], v[half:]) * torch.tensor(
        [complex(math.cos(a), math.sin(a)) for a in angles], dtype=torch.complex128
    )
    return torch.cat([turned.real, turned.imag])


def _slowed(i: int, d: int, theta: float, yarn: tuple[int, int, int, int]) -> float:
    factor, length, fast, slow = yarn

    def pair(turns: int) -> float:
        return d * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(0, math.floor(pair(fast))), min(d - 1, math.ceil(pair(slow)))
    slowness = min(1.0, max(0.0, (i - low) / max(high - low, 0.001)))
    return slowness / factor + (1 - slowness)


def _attention(x: list[Tensor], w: dict[str, Tensor], m: Model) -> list[Tensor]:
    f, shared = FACTS[m.block], m.num_heads // m.num_kv_heads

    def heads(kind: str, t: int, count: int) -> list[Tensor]:
        found = list((w[f"self_attn.{kind}_proj.weight"] @ x[t]).view(count, -1))
        norm = w.get(f"self_attn.{kind}_norm.weight")
        if norm is not None:
            found = [_norm(v, norm, f["eps"]) for v in found]
        return found if kind == "v" else [_turn(v, t, f) for v in found]

    steps = range(len(x))
    q = [heads("q", t, m.num_heads) for t in steps]
    k = [heads("k", t, m.num_kv_heads) for t in steps]
    v = [heads("v", t, m.num_kv_heads) for t in steps]
    outs = []
    for t in steps:
        seen = []
        for h in range(m.num_heads):
            g = h // shared
            raw = torch.stack([q[t][h] @ k[s][g] / math.sqrt(m.head_dim) for s in range(t + 1)])
            chances = _cap(raw, f.get("cap")).exp()
            mean = sum(c * v[s][g] for s, c in enumerate(chances)) / chances.sum()
            seen.append(mean)
        outs.append(w["self_attn.o_proj.weight"] @ torch.cat(seen))
    return outs


def _feed(v: Tensor, w: dict[str, Tensor], m: Model) -> Tensor:
    parts = []
    if "mlp.up_proj.weight" in w:
        gate, up = w["mlp.gate_proj.weight"] @ v, w["mlp.up_proj.weight"] @ v
        parts.append(w["mlp.down_proj.weight"] @ (_curve(gate, m) * up))
    if "block_sparse_moe.gate.weight" in w:
        parts.append(_experts(v, w, m))
    return sum(parts, torch.zeros_like(v)) / math.sqrt(len(parts))


def _curve(x: Tensor, m: Model) -> Tensor:
    if m.block == "qwen3-moe":
        return x / (1 + torch.exp(-x))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _experts(v: Tensor, w: dict[str, Tensor], m: Model) -> Tensor:
    f, at = FACTS[m.block], "block_sparse_moe."
    scores = _cap(w[at + "gate.weight"] @ v, f.get("router_cap")).exp()
    best = sorted(range(m.num_experts), key=lambda e: -scores[e])[: m.topk]
    total = torch.zeros_like(v)
    whole = sum(scores[e] for e in best) if f.get("renormalised") else scores.sum()
    for e in best:
        gate, up = w[at + "experts.w1"][e] @ v, w[at + "experts.w3"][e] @ v
        total += scores[e] / whole * (w[at + "experts.w2"][e] @ (_curve(gate, m) * up))
    return total


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_block_computes_its_formulas(variant: str) -> None:
    net = made(small(**VARIANTS[variant]))
    ids = ids_of(1, 2, 11)
    logits, _ = net(ids)
    for row, sequence in zip(logits, ids.tolist(), strict=True):
        torch.testing.assert_close(row.double(), reference(net, sequence), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts_are_those_of_the_cost_model(variant: str) -> None:
    model = small(**VARIANTS[variant])
    assert num_parameters(model) == count_parameters(model).total


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [("grok-1", "315.7", "83.8"), ("grok-2", "269.5", "114.9"), ("qwen3-30b-a3b", "30.5", "3.4"),
     ("qwen3-235b-a22b", "235.1", "22.2"), ("grok-next", None, None), ("first-light", None, None)],
)  # fmt: skip
def test_full_sizes_count_as_published(name: str, total: str | None, active: str | None) -> None:
    model = catalog_models()[name]
    counted = count_parameters(model)
    assert num_parameters(model) == counted.total
    if total:
        assert (f"{counted.total / 1e9:.1f}", f"{counted.active / 1e9:.1f}") == (total, active)


def num_parameters(model: Model) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in Network(model).parameters())


def test_fused_attention_is_attention() -> None:
    dice = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, h, 9, 8, generator=dice, requires_grad=True) for h in (4, 2, 2))
    slow = attend(q, k, v, first=0, bound=None)
    fast = fused(q, k, v, bound=None, temperature_len=0, documents=None)
    torch.testing.assert_close(fast, slow)
    slope = torch.randn(slow.shape, generator=dice)
    for a, b in zip(
        torch.autograd.grad(fast, (q, k, v), slope),
        torch.autograd.grad(slow, (q, k, v), slope),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself
@pytest.mark.parametrize("num_kv_heads", [6, 2])
def test_compiled_attention_has_the_gradients_of_torchs(num_kv_heads: int) -> None:
    dice = torch.Generator().manual_seed(0)
    shapes = [(2, 6, 40, 16), *[(2, num_kv_heads, 40, 16)] * 2, (2, 6, 40, 16)]
    q, k, v, out = (torch.randn(shape, generator=dice) for shape in shapes)
    parts = [part.requires_grad_() for part in (q, k, v)]
    plain: dict[str, Any] = {"bound": None, "temperature_len": 0, "documents": None}
    traced = torch.compile(lambda *parts: fused(*parts, **plain), backend="aot_eager")
    theirs = torch.autograd.grad(fused(q, k, v, **plain), parts, out)
    for heads in (traced(q, k, v), _Remade.apply(q, k, v)):
        ours = torch.autograd.grad(heads, parts, out)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["grok-1", "qwen3-moe"])
def test_packed_documents_do_not_see_each_other(variant: str) -> None:
    net = made(small(**VARIANTS[variant]))
    ids = ids_of(6, 2, 12)
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    packed, _ = net(ids, documents=documents)
    torch.testing.assert_close(packed[0, :5], net(ids[:1, :5])[0][0])
    # positions are relative, so that a document may stand anywhere
    torch.testing.assert_close(packed[0, 5:], net(ids[:1, 5:])[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(packed[1], net(ids[1:])[0][0])


def test_grok_2_sharpens_its_attention_beyond_1024_positions() -> None:
    place = torch.tensor([0, 1023, 1024, 2048, 1024**2])
    assert temperatures(place, 1024).tolist() == pytest.approx([1, 1, 1, 1.1, 2])
    net = Network(small(block="grok-2", tied_embeddings=False))
    assert net.layers[0].self_attn.temperature_len == 1024  # type: ignore[union-attr]


def test_scaled_positions_keep_fast_pairs_and_slow_down_slow_ones() -> None:
    scaling = RopeScaling(16.0, 8192, 8.0, 1.0)
    place = torch.tensor([3])
    angle, scaled = (
        torch.atan2(sin, cos)[0, :64]
        for cos, sin in (
            rope_table(place, 128, theta=2e8),
            rope_table(place, 128, theta=2e8, scaling=scaling),
        )
    )
    ratio = scaled / angle
    assert ratio[10:16].tolist() == pytest.approx([1.0] * 6)
    assert ratio[30:].tolist() == pytest.approx([1 / 16] * 34, rel=1e-3)


def test_a_batch_large_enough_for_padded_experts_computes_the_same(net: Network) -> None:
    ids = ids_of(5, 12, 20)  # 480 pairs for 4 experts: their rows are rounded up
    alone = torch.cat([net(row[None])[0] for row in ids])  # 40 pairs: they are not
    torch.testing.assert_close(net(ids)[0], alone, rtol=1e-4, atol=1e-5)


def test_caps_bite_in_the_reference_too(net: Network) -> None:
    with torch.no_grad():
        for layer in net.layers:
            layer.self_attn.q_proj.weight.mul_(40)  # type: ignore[union-attr, operator]
    ids = ids_of(2, 1, 9)
    logits, _ = net(ids)
    expected = reference(net, ids[0].tolist())
    torch.testing.assert_close(logits[0].double(), expected, rtol=1e-3, atol=1e-4)


def test_later_tokens_do_not_change_earlier_logits(net: Network) -> None:
    ids = ids_of(4, 1, 12)
    changed = ids.clone()
    changed[0, 7:] = (changed[0, 7:] + 1) % 64
    torch.testing.assert_close(net(ids)[0][:, :7], net(changed)[0][:, :7])
    assert not torch.allclose(net(ids)[0][:, 7:], net(changed)[0][:, 7:])


def test_same_seed_same_weights() -> None:
    one, two, other = Network(small()), Network(small()), Network(small())
    initialise(one, seed=5)
    initialise(two, seed=5)
    initialise(other, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.embed_tokens.weight, other.embed_tokens.weight)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"block": "llama"}, "block llama; it can be grok-1, grok-2, qwen3-moe"),
        ({"num_shared_experts": 1}, "shared experts"),
        ({"dense_residual": True}, "dense_residual needs ffn above 0"),
        ({"block": "qwen3-moe", "dense_residual": True, "ffn": 8}, "only grok-1 and grok-2"),
        ({"window": 8}, "a sliding window"),
        ({"head_dim": 7}, "head_dim 7"),
    ],
)
def test_other_architectures_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Network(small(**changes))
