"""Generation: the cache, the dice, and what ends a text."""

from __future__ import annotations

import pytest
import torch

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model
from gigafactory.net.cache import empty_cache
from gigafactory.net.network import Network, initialise
from gigafactory.net.sample import choose, stream_tokens


@pytest.fixture(scope="module")
def net() -> Network:
    model = Model(
        name="small", block="grok-1", num_layers=2, hidden=32, num_heads=4, num_kv_heads=2,
        head_dim=8, vocab=64, tied_embeddings=True, num_experts=4, topk=2, moe_ffn=48, context=24,
        source="made for the test",
    )  # fmt: skip
    made = Network(model)
    initialise(made, seed=1)
    return made.requires_grad_(False)


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 1, 11]])
def test_decoding_with_a_cache_equals_the_full_forward(net: Network, pieces: list[int]) -> None:
    ids = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(0))
    cache = empty_cache(net.model, batch=2, capacity=20)
    parts = [net(piece, cache)[0] for piece in ids.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), net(ids)[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="holds 20 positions, 21 are needed"):
        net(ids[:, :1], cache)


def test_greedy_stream_equals_repeated_full_forwards(net: Network) -> None:
    ids = [3, 1, 4]
    for token in stream_tokens(net, [3, 1, 4], max_new_tokens=8, temperature=0):
        assert token == int(net(torch.tensor([ids]))[0][0, -1].argmax())
        ids.append(token)
    assert len(ids) == 3 + 8


def test_same_seed_same_tokens(net: Network) -> None:
    def draw(seed: int) -> list[int]:
        return list(stream_tokens(net, [5], max_new_tokens=20, temperature=1.0, seed=seed))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_ends_at_the_stop_id_and_at_the_context(net: Network) -> None:
    free = list(stream_tokens(net, [5, 6], max_new_tokens=1000, temperature=0))
    assert len(free) == 24 - 2
    stop = free[3]
    stopped = list(stream_tokens(net, [5, 6], max_new_tokens=9, temperature=0, stop_ids={stop}))
    assert stopped == free[: free.index(stop)]


def test_top_p_draws_only_from_the_likeliest() -> None:
    logits = torch.log(torch.tensor([0.1, 0.5, 0.05, 0.35]))
    dice = torch.Generator().manual_seed(0)
    drawn = [choose(logits, temperature=1.0, top_p=0.6, dice=dice) for _ in range(200)]
    assert set(drawn) == {1, 3}
    assert 100 < drawn.count(1) < 140  # 0.5 / 0.85 of 200 is 118
    cold = [choose(logits, temperature=1.0, top_p=0.01, dice=dice) for _ in range(20)]
    assert set(cold) == {1}


@pytest.mark.parametrize(
    ("prompt", "settings", "says"),
    [
        ([], {}, "prompt has 0 tokens"),
        ([1] * 24, {}, "takes 1 to 23"),
        ([1], {"temperature": -1.0}, "temperature"),
        ([1], {"top_p": 0.0}, "top_p"),
    ],
)
def test_bad_input_is_refused_at_the_call(
    net: Network, prompt: list[int], settings: dict[str, float], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        stream_tokens(net, prompt, max_new_tokens=4, **settings)
