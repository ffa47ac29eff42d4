"""Counts against what the authors publish."""

from __future__ import annotations

import pytest

from gigafactory.catalog.entries import body
from gigafactory.cost.parameters import count_parameters
from gigafactory.describe.model import Model


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("grok-1", 315.7e9, 83.8e9),
        ("grok-2", 269.5e9, 114.9e9),
        ("llama-3-8b", 8.03e9, 8.03e9),
        ("llama-3-70b", 70.55e9, 70.55e9),
        ("llama-3-405b", 405.85e9, 405.85e9),
        ("mixtral-8x7b", 46.70e9, 12.88e9),
        ("deepseek-v3", 671.0e9, 37.55e9),
        ("qwen3-30b-a3b", 30.53e9, 3.35e9),
        ("qwen3-235b-a22b", 235.09e9, 22.19e9),
    ],
)
def test_published_counts(name, total, active):
    counted = count_parameters(Model.model_validate(body(Model, name)))
    assert counted.total == pytest.approx(total, rel=1e-3)
    assert counted.active == pytest.approx(active, rel=1.5e-3)


def test_gpt3_has_175_billion():
    counted = count_parameters(Model.model_validate(body(Model, "gpt3-175b")))
    # learned positions (2048 x 12288) are not part of our description
    assert counted.total + 2048 * 12288 == pytest.approx(174.6e9, rel=1e-3)


def test_total_is_the_sum_of_its_parts():
    counted = count_parameters(Model.model_validate(body(Model, "deepseek-v3")))
    one_moe_layer = counted.residual_ffn + counted.router + counted.experts
    layers = 61 * (counted.attention + counted.norms)
    tables = counted.embedding + counted.head + counted.final_norm
    assert counted.total == layers + 3 * counted.dense_ffn + 58 * one_moe_layer + tables
