"""Generation, one token at a time, with a key/value cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from gigafactory.describe.errors import InputError
from gigafactory.net.cache import empty_cache
from gigafactory.net.network import Network


def stream_tokens(
    model: Network,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield new token ids until a stop id (not yielded), ``max_new_tokens`` or a full context.

    Temperature 0 always takes the likeliest token. Same seed, same tokens. InputError, raised
    at the call, where the prompt is empty, longer than the context, or a setting is impossible.
    """
    context = model.model.context
    if not 0 < len(prompt_ids) < context:
        raise InputError(
            f"the prompt has {len(prompt_ids)} tokens; this model takes 1 to {context - 1}"
        )
    if temperature < 0 or not 0 < top_p <= 1:
        raise InputError(
            f"temperature {temperature} and top_p {top_p}: "
            "temperature must be at least 0 and top_p in (0, 1]"
        )
    room = min(max_new_tokens, context - len(prompt_ids))
    dice = torch.Generator(model.embed_tokens.weight.device).manual_seed(seed)

    def pick(logits: Tensor) -> int:
        return choose(logits, temperature=temperature, top_p=top_p, dice=dice)

    chosen = _choices(model, prompt_ids, room=room, pick=pick)
    return _until(chosen, frozenset(stop_ids))


def _until(tokens: Iterator[int], stop_ids: frozenset[int]) -> Iterator[int]:
    for token in tokens:
        if token in stop_ids:
            return
        yield token


@torch.no_grad()
def _choices(
    model: Network, prompt_ids: Sequence[int], *, room: int, pick: Callable[[Tensor], int]
) -> Iterator[int]:
    weight = model.embed_tokens.weight
    cache = empty_cache(
        model.model, capacity=len(prompt_ids) + room, dtype=weight.dtype, device=weight.device
    )
    ids = torch.tensor([list(prompt_ids)], device=weight.device)
    for _ in range(room):
        logits, _routing = model(ids, cache)
        token = pick(logits[0, -1].float())
        yield token
        ids = torch.tensor([[token]], device=weight.device)


def choose(logits: Tensor, *, temperature: float, top_p: float, dice: torch.Generator) -> int:
    """Draw from logits (V,): among the fewest likeliest tokens whose chances reach ``top_p``."""
    if temperature == 0:
        return int(logits.argmax())
    chances, tokens = torch.softmax(logits / temperature, dim=-1).sort(descending=True)
    before = chances.cumsum(0) - chances
    kept = torch.where(before < top_p, chances, 0.0)
    return int(tokens[torch.multinomial(kept, 1, generator=dice)])
