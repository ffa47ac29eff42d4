"""Which sizes are measured: those of networks that a machine like this one trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gigafactory.describe.model import Block, Model


@dataclass(frozen=True)
class Sizes:
    """Shapes of every piece; see the functions of ``pieces`` for their order."""

    linears: tuple[tuple[int, int, int], ...]
    gemms: tuple[tuple[int, int, int], ...]
    grouped: tuple[tuple[int, int, int, int], ...]
    norms: tuple[tuple[int, int], ...]
    rotaries: tuple[tuple[int, int, int, int], ...]
    attentions: tuple[tuple[int, int, int, int], ...]
    flashes: tuple[tuple[int, int, int, int], ...]
    gates: tuple[tuple[int, int], ...]
    routes: tuple[tuple[int, int, int, int], ...]
    """(hidden, experts, sequences, length)."""
    embeddings: tuple[tuple[int, int, int], ...]
    losses: tuple[tuple[int, int], ...]
    optimizers: tuple[tuple[int, int], ...]
    streams: tuple[int, ...]
    messages: tuple[int, ...]
    """Bytes of a collective."""
    gradients: tuple[tuple[int, int], ...]
    """(tensors, elements of each)."""


SMALL = Sizes(
    linears=((1024, 256, 256), (1024, 128, 256), (256, 256, 256), (512, 2048, 128),
             (64, 64, 64), (2048, 384, 192), (256, 512, 128)),
    gemms=((1024, 256, 256), (1024, 128, 512), (512, 512, 512), (64, 64, 64), (256, 256, 32),
           (1024, 1024, 64), (1024, 1024, 1024)),
    grouped=((4, 512, 256, 256), (4, 128, 384, 192), (8, 64, 128, 128), (2, 512, 64, 64),
             (8, 256, 256, 128), (2, 1024, 384, 192), (4, 256, 128, 256), (16, 64, 64, 64)),
    norms=((1024, 256), (1024, 128), (512, 64), (256, 256), (2048, 192)),
    rotaries=((8, 4, 128, 64), (8, 2, 128, 32), (4, 8, 256, 32), (2, 4, 64, 32)),
    attentions=((8, 4, 128, 32), (4, 4, 128, 64), (2, 4, 256, 64), (4, 4, 64, 32),
                (2, 8, 256, 32), (4, 2, 128, 128)),
    flashes=((1, 4, 512, 128), (1, 4, 1024, 128), (1, 2, 2048, 128)),
    gates=((2048, 512), (1024, 256), (512, 128), (2048, 256)),
    routes=((256, 4, 8, 128), (64, 4, 8, 128), (128, 8, 4, 256), (192, 2, 2, 64), (256, 8, 4, 128)),
    embeddings=((1024, 2048, 256), (1024, 2048, 128), (256, 1024, 128), (512, 4096, 64)),
    losses=((1024, 2048), (512, 2048), (256, 512), (1024, 1024)),
    optimizers=((16, 65536), (16, 4096), (16, 256), (4, 262144)),
    streams=(1 << 23, 1 << 25, 1 << 26),
    messages=(1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 24),
    gradients=((48, 1024), (48, 65536), (12, 262144), (12, 4096)),
)  # fmt: skip

#: Of a GPU, which needs more of everything before its rates show.
LARGE = Sizes(
    linears=((8192, 4096, 4096), (4096, 1024, 4096), (4096, 8192, 2048), (2048, 2048, 2048),
             (1024, 1024, 1024), (256, 512, 512), (64, 64, 64)),
    gemms=((8192, 8192, 8192), (8192, 4096, 4096), (4096, 4096, 512), (8192, 8192, 128),
           (4096, 1024, 4096), (1024, 1024, 1024), (512, 512, 512), (64, 64, 64)),
    grouped=((8, 2048, 4096, 2048), (8, 512, 2048, 2048), (4, 256, 1024, 1024), (8, 64, 256, 256),
             (2, 2048, 512, 512)),
    norms=((8192, 4096), (4096, 2048), (1024, 1024), (256, 256)),
    rotaries=((2, 32, 4096, 128), (4, 16, 1024, 128), (2, 4, 256, 64)),
    attentions=((1, 8, 2048, 128), (4, 8, 1024, 128), (4, 8, 512, 64), (2, 4, 128, 64),
                (2, 16, 1024, 64)),
    flashes=((2, 16, 4096, 128), (1, 16, 8192, 128), (4, 16, 2048, 128), (4, 8, 512, 128)),
    gates=((16384, 4096), (4096, 2048), (1024, 512), (256, 128)),
    routes=((4096, 8, 2, 4096), (2048, 8, 4, 1024), (1024, 16, 2, 1024), (256, 4, 2, 128)),
    embeddings=((8192, 32768, 2048), (4096, 32768, 1024), (1024, 4096, 256)),
    losses=((8192, 32768), (4096, 32768), (1024, 4096), (256, 512)),
    optimizers=((16, 1 << 22), (64, 1 << 18), (64, 1 << 10), (4, 1 << 24)),
    streams=(1 << 24, 1 << 27, 1 << 29),
    messages=(1 << 12, 1 << 18, 1 << 22, 1 << 26, 1 << 28),
    gradients=((48, 1024), (48, 1 << 20), (12, 1 << 22)),
)  # fmt: skip

TINY = Sizes(
    linears=((32, 32, 32), (64, 32, 64), (64, 64, 16), (16, 64, 64)),
    gemms=((32, 32, 32), (64, 64, 16), (64, 64, 64)),
    grouped=((2, 32, 32, 32), (2, 64, 64, 32), (4, 32, 32, 64), (8, 32, 32, 32)),
    norms=((32, 32), (256, 64)),
    rotaries=((2, 2, 32, 16), (2, 4, 64, 32)),
    attentions=((2, 2, 32, 16), (2, 2, 64, 32), (1, 4, 64, 16)),
    flashes=((1, 2, 64, 32), (1, 2, 128, 32)),
    gates=((32, 32), (256, 64)),
    routes=((32, 4, 2, 32), (64, 4, 2, 64)),
    embeddings=((32, 64, 32), (256, 256, 64)),
    losses=((32, 64), (256, 128)),
    optimizers=((8, 64), (8, 4096)),
    streams=(1 << 14, 1 << 20),
    messages=(1 << 10, 1 << 20),
    gradients=((4, 64), (4, 65536)),
)


def routed_models(sizes: Sizes) -> Iterator[tuple[Model, int, int]]:
    """(model, sequences, length) of every routing measured: a layer of our network."""
    for hidden, experts, sequences, length in sizes.routes:
        model = Model(
            name="measured", block=Block.GROK1, num_layers=1, hidden=hidden, num_heads=2,
            num_kv_heads=1, head_dim=hidden // 2, vocab=64, context=length, tied_embeddings=True,
            num_experts=experts, topk=2, moe_ffn=hidden, source="giga calibrate",
        )  # fmt: skip
        yield model, sequences, length
