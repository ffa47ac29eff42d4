"""The pieces that one rank computes alone, at the sizes that matter for small and large models.

Everything is the network's own code where it has any: a norm is ``RmsNorm``, attention is
``attend``, routing is ``Experts`` with its products left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gigafactory.describe.measured import Piece, Unit
from gigafactory.describe.model import Block, Model
from gigafactory.net.attention import attend
from gigafactory.net.experts import Experts, grouped_matmul
from gigafactory.net.norms import RmsNorm
from gigafactory.net.recipe import RECIPES
from gigafactory.net.rope import rope_table, rotate
from gigafactory.train.measure.timing import Case
from gigafactory.train.nats import target_nats

Make = Callable[..., Tensor]


@dataclass(frozen=True)
class Bench:
    """Where and in which number format the pieces run."""

    device: torch.device
    dtype: torch.dtype
    """Of products; the rest of the network stays in float32."""
    depth: int = 1
    """Forward passes before the first backward: as many layers, so that what backward reads has
    left the caches of a processor, as it has in a network."""

    def of(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """A leaf with a gradient, normally distributed."""
        drawn = torch.randn(shape, device=self.device).to(dtype or self.dtype)
        return drawn.requires_grad_()

    def cast(self) -> torch.autocast:
        """What the training program computes its products in."""
        wanted = self.dtype is not torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=wanted, cache_enabled=True)


def both_ways(bench: Bench, compute: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], None]:
    """Forward ``bench.depth`` times, then backward as often from a gradient of ones."""
    with bench.cast():
        seed = torch.ones_like(compute())

    def run() -> None:
        with bench.cast():
            outs = [compute() for _ in range(bench.depth)]
        while outs:
            torch.autograd.grad(outs.pop(), leaves, seed)

    return run


def in_depth(bench: Bench, piece: Piece, work: dict[Unit, float], run: Callable[[], None]) -> Case:
    """A case whose call does the work of one ``bench.depth`` times."""
    return Case(piece, {unit: bench.depth * amount for unit, amount in work.items()}, run)


def launches(bench: Bench) -> Iterator[Case]:
    """The smallest kernel there is."""
    x = torch.zeros(1, device=bench.device)
    yield Case(Piece.LAUNCH, {Unit.CALL: 1.0}, lambda: x.add_(1.0))


def streams(bench: Bench, sizes: tuple[int, ...]) -> Iterator[Case]:
    """Bytes of each of three tensors; two are read, one is written."""
    for size in sizes:
        x, y = (torch.ones(size // 4, device=bench.device) for _ in range(2))
        out = torch.empty_like(x)
        work = {Unit.CALL: 1.0, Unit.BYTE: 3.0 * size}
        yield Case(Piece.STREAM, work, partial(torch.add, x, y, out=out))


def gemms(bench: Bench, shapes: tuple[tuple[int, int, int], ...]) -> Iterator[Case]:
    """(m, n, k) each: one plain product."""
    for m, n, k in shapes:
        x = torch.randn(m, k, device=bench.device).to(bench.dtype)
        w = torch.randn(n, k, device=bench.device).to(bench.dtype).t()
        work = {Unit.CALL: 1.0, Unit.FLOP: 2.0 * m * n * k, Unit.ELEMENT: float(m * n)}
        yield Case(Piece.GEMM, work, partial(torch.matmul, x, w))


def eight_bit_gemms(
    device: torch.device, shapes: tuple[tuple[int, int, int], ...]
) -> Iterator[Case]:
    """(m, n, k) each: one product of fp8 numbers with a scale a tensor."""
    one = torch.ones((), device=device)
    for m, n, k in shapes:
        x = torch.randn(m, k, device=device).to(torch.float8_e4m3fn)
        w = torch.randn(n, k, device=device).to(torch.float8_e4m3fn).t()

        def run(x: Tensor = x, w: Tensor = w) -> Tensor:
            return torch._scaled_mm(x, w, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

        work = {Unit.CALL: 1.0, Unit.FLOP: 2.0 * m * n * k, Unit.ELEMENT: float(m * n)}
        yield Case(Piece.GEMM, work, run)


def flashes(bench: Bench, shapes: tuple[tuple[int, int, int, int], ...]) -> Iterator[Case]:
    """(sequences, heads, length, head size) each: causal attention, forward and backward apart.

    FLOP of the unmasked half, backward 2.5 times forward (arXiv:2307.08691).
    """
    for B, h, T, d in shapes:
        q, k, v = (bench.of(B, h, T, d) for _ in range(3))

        def compute(q: Tensor = q, k: Tensor = k, v: Tensor = v) -> Tensor:
            return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        def forward(compute: Make = compute) -> None:
            with torch.no_grad():
                compute()

        out = compute()
        seed = torch.ones_like(out)

        def back(
            out: Tensor = out, leaves: tuple[Tensor, ...] = (q, k, v), seed: Tensor = seed
        ) -> None:
            torch.autograd.grad(out, leaves, seed, retain_graph=True)

        flops = 2.0 * B * h * T * (T + 1) * d
        yield Case(Piece.FLASH, {Unit.CALL: 1.0, Unit.FLOP: flops}, forward)
        yield Case(Piece.FLASH_BACKWARD, {Unit.CALL: 1.0, Unit.FLOP: 2.5 * flops}, back)


def linears(bench: Bench, shapes: tuple[tuple[int, int, int], ...]) -> Iterator[Case]:
    """(m, n, k) each: three products, weights in float32 as the program keeps them."""
    for m, n, k in shapes:
        x, w = bench.of(m, k), bench.of(n, k, dtype=torch.float32)
        run = both_ways(bench, partial(nn.functional.linear, x, w), x, w)
        work = {
            Unit.CALL: 1.0,
            Unit.FLOP: 6.0 * m * n * k,
            Unit.ELEMENT: float(m * (k + n)),
            Unit.WEIGHT: float(n * k),
        }
        yield in_depth(bench, Piece.LINEAR, work, run)


def grouped(bench: Bench, shapes: tuple[tuple[int, int, int, int], ...]) -> Iterator[Case]:
    """(experts, rows an expert, n, k) each."""
    for E, m, n, k in shapes:
        rows = bench.of(E * m, k)
        w = bench.of(E, n, k, dtype=torch.float32)
        counts = torch.full((E,), m, device=bench.device)

        def compute(rows: Tensor = rows, w: Tensor = w, counts: Tensor = counts) -> Tensor:
            return grouped_matmul(rows, w.to(rows.dtype).transpose(1, 2), counts)

        run = both_ways(bench, compute, rows, w)
        work = {
            Unit.CALL: 1.0,
            Unit.GROUP: float(E),
            Unit.FLOP: 6.0 * E * m * n * k,
            Unit.WEIGHT: float(E * n * k),
        }
        yield in_depth(bench, Piece.GROUPED, work, run)


def norms(bench: Bench, shapes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """(tokens, hidden) each."""
    for t, h in shapes:
        first, second = RmsNorm(h).to(bench.device), RmsNorm(h).to(bench.device)
        x = bench.of(t, h)

        def compute(x: Tensor = x, a: RmsNorm = first, b: RmsNorm = second) -> Tensor:
            added: Tensor = x + b(a(x))
            return added

        run = both_ways(bench, compute, x, first.weight, second.weight)
        yield in_depth(bench, Piece.NORMS, {Unit.CALL: 1.0, Unit.ELEMENT: float(t * h)}, run)


def rotaries(bench: Bench, shapes: tuple[tuple[int, int, int, int], ...]) -> Iterator[Case]:
    """(sequences, heads of queries and keys, length, head size) each."""
    for B, heads, T, d in shapes:
        rope = rope_table(torch.arange(T, device=bench.device), d)
        x = bench.of(B, T, heads * d)

        def compute(x: Tensor = x, d: int = d, rope: tuple[Tensor, Tensor] = rope) -> Tensor:
            return rotate(x.view(*x.shape[:2], -1, d).transpose(1, 2), rope)

        run = both_ways(bench, compute, x)
        work = {Unit.CALL: 1.0, Unit.ELEMENT: float(B * heads * T * d)}
        yield in_depth(bench, Piece.ROTARY, work, run)


def attentions(bench: Bench, shapes: tuple[tuple[int, int, int, int], ...]) -> Iterator[Case]:
    """(sequences, query heads, length, head size) each; two queries share a key."""
    for B, h, T, d in shapes:
        q = bench.of(B, h, T, d)
        k, v = (bench.of(B, h // 2, T, d) for _ in range(2))

        def compute(q: Tensor = q, k: Tensor = k, v: Tensor = v) -> Tensor:
            return attend(q, k, v, first=0).transpose(1, 2).flatten(2)

        run = both_ways(bench, compute, q, k, v)
        scores = float(B * h * T * T)
        work = {Unit.CALL: 1.0, Unit.ELEMENT: scores, Unit.SCORE_WIDTH: scores * 2 * d}
        yield in_depth(bench, Piece.ATTENTION, work, run)


def gates(bench: Bench, shapes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """(rows, width) each."""
    for rows, width in shapes:
        a, b = bench.of(rows, width), bench.of(rows, width)

        def compute(a: Tensor = a, b: Tensor = b) -> Tensor:
            return nn.functional.gelu(a, approximate="tanh") * b

        run = both_ways(bench, compute, a, b)
        work = {Unit.CALL: 1.0, Unit.ELEMENT: float(rows * width)}
        yield in_depth(bench, Piece.GATE, work, run)


class _RoutingOnly(Experts):
    """Rows go to their experts, are cast as for a product, and come back as they are."""

    def _feed(self, rows: Tensor, counts: Tensor) -> Tensor:
        device = rows.device.type
        if not torch.is_autocast_enabled(device):
            return rows
        return rows.to(torch.get_autocast_dtype(device))


def routes(bench: Bench, models: Iterable[tuple[Model, int, int]]) -> Iterator[Case]:
    """(model, sequences, length) each; an element is a number of a token copied to an expert."""
    for model, B, T in models:
        experts = _RoutingOnly(model).to(bench.device)
        nn.init.normal_(experts.gate.weight, std=model.hidden**-0.5)
        x = bench.of(B, T, model.hidden)

        def compute(x: Tensor = x, experts: Experts = experts) -> Tensor:
            y, routing = experts(x)
            total: Tensor = y + routing.imbalance.mean()
            return total

        run = both_ways(bench, compute, x, experts.gate.weight)
        copied = float(B * T * model.topk * model.hidden)
        yield in_depth(bench, Piece.ROUTE, {Unit.CALL: 1.0, Unit.ELEMENT: copied}, run)


def embeddings(bench: Bench, shapes: tuple[tuple[int, int, int], ...]) -> Iterator[Case]:
    """(tokens, vocabulary, hidden) each; the gradient of the table is as large as the table."""
    for t, V, h in shapes:
        table = nn.Embedding(V, h, device=bench.device)
        ids = torch.randint(0, V, (1, t), device=bench.device)

        def compute(table: nn.Embedding = table, ids: Tensor = ids, h: int = h) -> Tensor:
            looked_up: Tensor = table(ids) * h**0.5
            return looked_up

        run = both_ways(bench, compute, table.weight)
        yield Case(Piece.EMBEDDING, {Unit.CALL: 1.0, Unit.ELEMENT: float((t + V) * h)}, run)


def losses(bench: Bench, shapes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """(tokens, vocabulary) each."""
    for t, V in shapes:
        raw = bench.of(1, t, V)
        targets = torch.randint(0, V, (t,), device=bench.device)

        def run(raw: Tensor = raw, targets: Tensor = targets) -> None:
            logits = raw * RECIPES[Block.GROK1].output_multiplier
            loss, _nats = target_nats(logits, targets[None], scale=1 / len(targets))
            torch.autograd.grad(loss, raw)

        yield Case(Piece.LOSS, {Unit.CALL: 1.0, Unit.ELEMENT: float(t * V)}, run)


def optimizers(bench: Bench, shapes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """(tensors, elements of each) each: the global norm, then AdamW."""
    for count, size in shapes:
        weights = [nn.Parameter(torch.randn(size, device=bench.device)) for _ in range(count)]
        adamw = torch.optim.AdamW(weights, lr=1e-4, fused=True)
        for weight in weights:
            weight.grad = torch.randn_like(weight)

        def run(weights: list[nn.Parameter] = weights, adamw: torch.optim.AdamW = adamw) -> None:
            float(nn.utils.clip_grad_norm_(weights, 1.0, foreach=True))
            adamw.step()

        work = {Unit.CALL: float(count), Unit.WEIGHT: float(count * size)}
        yield Case(Piece.OPTIMIZER, work, run)
