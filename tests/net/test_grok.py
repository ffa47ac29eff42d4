"""The network against Grok-1's formulas, computed slowly and on another way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.grok import Grok, initialise

GROK_1 = Model(
    name="grok-1",
    block="grok-1",
    num_layers=64,
    hidden=6144,
    num_heads=48,
    num_kv_heads=8,
    head_dim=128,
    vocab=131_072,
    tied_embeddings=True,
    num_experts=8,
    topk=2,
    moe_ffn=32_768,
    context=8192,
    source="github.com/xai-org/grok-1",
)


def small(**changes: object) -> Model:
    shapes = {
        "name": "small", "block": "grok-1", "num_layers": 2, "hidden": 32, "num_heads": 4,
        "num_kv_heads": 2, "head_dim": 8, "vocab": 64, "tied_embeddings": True, "num_experts": 4,
        "topk": 2, "moe_ffn": 48, "context": 24, "source": "made for the test",
    }  # fmt: skip
    return Model.model_validate(shapes | changes)


@pytest.fixture
def net() -> Grok:
    made = Grok(small())
    initialise(made, seed=3)
    with torch.no_grad():  # norms away from their start, so that a missing one shows
        for name, weight in made.named_parameters():
            if weight.dim() == 1:
                weight.copy_(torch.linspace(0.5, 1.5, weight.numel()).roll(len(name)))
    return made


def ids_of(seed: int, batch: int, length: int, vocab: int = 64) -> Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_full_size_counts_as_published() -> None:
    with torch.device("meta"):
        net = Grok(GROK_1)
    total = sum(w.numel() for w in net.parameters())
    experts = sum(
        w.numel() for name, w in net.named_parameters() if name.split(".")[-1] in {"w1", "w2", "w3"}
    )
    active = total - experts + experts * GROK_1.topk // GROK_1.num_experts
    assert f"{total / 1e9:.1f} B, {active / 1e9:.1f} B" == "315.7 B, 83.8 B"


# The reference: one token, one head, one expert at a time, in float64.


def reference(net: Grok, ids: list[int]) -> Tensor:
    """Logits (T, V) of one sequence."""
    w = {name: weight.detach().double() for name, weight in net.named_parameters()}
    m = net.model
    x = [w["embed_tokens.weight"][i] * math.sqrt(m.hidden) for i in ids]
    for n in range(m.num_layers):
        at = f"layers.{n}."
        normed = [_norm(v, w[at + "pre_attn_norm.weight"]) for v in x]
        out = _attention(normed, {k: w[f"{at}self_attn.{k}_proj.weight"] for k in "qkvo"}, m)
        x = [v + _norm(o, w[at + "post_attn_norm.weight"]) for v, o in zip(x, out, strict=True)]
        for t, v in enumerate(x):
            moe = _experts(_norm(v, w[at + "pre_moe_norm.weight"]), w, at + "block_sparse_moe.", m)
            x[t] = v + _norm(moe, w[at + "post_moe_norm.weight"])
    last = torch.stack([_norm(v, w["norm.weight"]) for v in x])
    return last @ w["embed_tokens.weight"].T / math.sqrt(3)


def _norm(v: Tensor, weight: Tensor) -> Tensor:
    return v / math.sqrt(float((v * v).sum()) / len(v) + 1e-5) * weight


def _turn(v: Tensor, position: int) -> Tensor:
    """Pair (i, i + d/2) as a complex number, turned by position * 10000^(-2i/d)."""
    half = len(v) // 2
    angles = [position * 10_000 ** (-2 * i / len(v)) for i in range(half)]
    turned = torch.complex(v[:half], v[half:]) * torch.tensor(
        [complex(math.cos(a), math.sin(a)) for a in angles]
    )
    return torch.cat([turned.real, turned.imag])


def _attention(x: list[Tensor], w: dict[str, Tensor], m: Model) -> list[Tensor]:
    heads = m.num_heads // m.num_kv_heads
    q = [(w["q"] @ v).view(m.num_heads, -1) for v in x]
    k = [(w["k"] @ v).view(m.num_kv_heads, -1) for v in x]
    v_ = [(w["v"] @ v).view(m.num_kv_heads, -1) for v in x]
    outs = []
    for t in range(len(x)):
        seen = []
        for h in range(m.num_heads):
            g = h // heads
            a = _turn(q[t][h], t)
            raw = [float(a @ _turn(k[s][g], s)) / math.sqrt(m.head_dim) for s in range(t + 1)]
            chances = [math.exp(30 * math.tanh(r / 30)) for r in raw]
            mean = sum(c * v_[s][g] for s, c in enumerate(chances)) / sum(chances)
            seen.append(mean)
        outs.append(w["o"] @ torch.cat(seen))
    return outs


def _experts(v: Tensor, w: dict[str, Tensor], at: str, m: Model) -> Tensor:
    scores = [math.exp(float(row @ v)) for row in w[at + "gate.weight"]]
    best = sorted(range(m.num_experts), key=lambda e: -scores[e])[: m.topk]
    total = torch.zeros_like(v)
    for e in best:
        gate, up = w[at + "w1"][e] @ v, w[at + "w3"][e] @ v
        curve = 0.5 * gate * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        total += scores[e] / sum(scores) * (w[at + "w2"][e] @ (curve * up))
    return total


def test_block_computes_grok_1s_formulas(net: Grok) -> None:
    ids = ids_of(1, 2, 11)
    logits, _ = net(ids)
    for row, sequence in zip(logits, ids.tolist(), strict=True):
        torch.testing.assert_close(row.double(), reference(net, sequence), rtol=1e-4, atol=1e-5)


def test_a_batch_large_enough_for_padded_experts_computes_the_same(net: Grok) -> None:
    ids = ids_of(5, 12, 20)  # 480 pairs for 4 experts: their rows are rounded up
    alone = torch.cat([net(row[None])[0] for row in ids])  # 40 pairs: they are not
    torch.testing.assert_close(net(ids)[0], alone, rtol=1e-4, atol=1e-5)


def test_caps_bite_in_the_reference_too(net: Grok) -> None:
    with torch.no_grad():
        for layer in net.layers:
            layer.self_attn.q_proj.weight.mul_(40)  # type: ignore[union-attr, operator]
    ids = ids_of(2, 1, 9)
    logits, _ = net(ids)
    expected = reference(net, ids[0].tolist())
    torch.testing.assert_close(logits[0].double(), expected, rtol=1e-3, atol=1e-4)


def test_later_tokens_do_not_change_earlier_logits(net: Grok) -> None:
    ids = ids_of(4, 1, 12)
    changed = ids.clone()
    changed[0, 7:] = (changed[0, 7:] + 1) % 64
    torch.testing.assert_close(net(ids)[0][:, :7], net(changed)[0][:, :7])
    assert not torch.allclose(net(ids)[0][:, 7:], net(changed)[0][:, 7:])


def test_same_seed_same_weights() -> None:
    one, two, other = Grok(small()), Grok(small()), Grok(small())
    initialise(one, seed=5)
    initialise(two, seed=5)
    initialise(other, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.embed_tokens.weight, other.embed_tokens.weight)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"block": "llama"}, "block llama"),
        ({"tied_embeddings": False}, "untied embeddings"),
        ({"dense_residual": True}, "dense residual"),
        ({"head_dim": 7}, "head_dim 7"),
    ],
)
def test_other_architectures_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Grok(small(**changes))
