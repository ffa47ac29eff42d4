"""FLOPs of the reference formula, and that the GEMMs on the ranks are the parameters, cut up."""

from __future__ import annotations

import numpy as np
import pytest

from gigafactory.catalog.entries import body
from gigafactory.cost.columns import columns_of
from gigafactory.cost.flops import (
    attended_keys,
    layer_gemms,
    matmul_parameters,
    model_flops_per_token,
)
from gigafactory.describe.layout import Layout
from gigafactory.describe.model import Model


def model(name, **changes):
    return Model.model_validate(body(Model, name) | changes)


@pytest.mark.parametrize(("name", "flops"), [("llama-3-70b", 449e9), ("llama-3-405b", 2.524e12)])
def test_model_flops_are_those_of_megatron_bridge(name, flops):
    # figures printed by Megatron-Bridge: causal-halved attention, logits in, embedding out
    assert model_flops_per_token(model(name), seq_len=8192) == pytest.approx(flops, rel=3e-3)


def test_keys_of_a_causal_mask_and_a_window():
    full = model("llama-3-8b")
    assert attended_keys(full, seq_len=5) == pytest.approx(np.mean([1, 2, 3, 4, 5]))
    windowed = model("llama-3-8b", window=2)
    assert attended_keys(windowed, seq_len=5) == pytest.approx(np.mean([1, 2, 2, 2, 2]))


@pytest.mark.parametrize("name", ["llama-3-8b", "grok-1", "grok-2", "mixtral-8x7b"])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(tp=2, dp=4, ep=8),
        Layout(tp=4, cp=2, dp=1, ep=2, etp=4, micro_batch=3),
        Layout(tp=8, cp=1, dp=1, ep=8),
    ],
)
def test_the_ranks_together_multiply_every_parameter_once_per_token(name, layout):
    shape = model(name)
    if not shape.num_experts:
        layout = layout.model_copy(update={"ep": 1, "etp": 1})
    columns, seq_len = columns_of(layout), 1024
    gemms = layer_gemms(shape, columns, seq_len=seq_len, imbalance=1.0)

    def products(kernels):
        return float(sum((g.groups * g.m * g.n * g.k)[0] for g in kernels))

    dense_layers = shape.num_layers - shape.num_moe_layers
    beside = gemms.beside_experts + gemms.experts + gemms.router
    total = shape.num_layers * products(gemms.attention + gemms.latent) + products(gemms.head)
    total += dense_layers * products(gemms.dense_ffn) + shape.num_moe_layers * products(beside)
    ranks_of_a_sequence = layout.tp * layout.cp
    tokens = layout.micro_batch * seq_len
    assert total * ranks_of_a_sequence == pytest.approx(tokens * matmul_parameters(shape))


def test_latent_attention_multiplies_its_parameters_but_the_norms():
    shape = model("deepseek-v3")
    gemms = layer_gemms(shape, columns_of(Layout()), seq_len=1, imbalance=1.0)
    products = float(sum((g.m * g.n * g.k)[0] for g in gemms.attention + gemms.latent))
    assert products == 187_105_280  # arXiv:2412.19437: 1536 and 512 latent, 128 heads
