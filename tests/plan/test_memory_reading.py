"""What a row says about memory, and what its leanest reading may change."""

from __future__ import annotations

import pytest

from gigafactory.cost.memory_keeping import SELECTIVE, Part
from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Layout, Recompute, Sharding
from gigafactory.plan.memory_reading import Counted, counted_of, keeping_of, leanest


def keeping(**row):
    return keeping_of(row, precision=Precision.BF16, year=2025.0)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"notes": "mem = max allocated GiB"}, Counted.ALLOCATED),
        ({"notes": "mem GiB max reserved", "framework": "DeepSpeed"}, Counted.RESERVED),
        ({"framework": "Megatron-DeepSpeed"}, Counted.DEVICE),
        ({"framework": "Megatron-LM"}, Counted.ALLOCATED),
    ],
)
def test_the_notes_say_what_was_counted(row, kind):
    assert counted_of(row) is kind


def test_parts_that_are_named_are_dropped_and_no_others():
    assert keeping(act_recompute="selective:layernorm+moe_act").selective == {
        Part.NORMS,
        Part.ACTIVATION,
    }
    assert keeping(act_recompute="selective:mla_up_proj").selective == {Part.LATENT}
    assert keeping(act_recompute="selective").selective == SELECTIVE


def test_engines_differ_in_their_habits():
    assert keeping(framework="NeMo 25.09").gradients_in_16_bits
    assert not keeping(framework="Megatron-LM").fused_weight_gradients
    assert keeping(framework="DeepSpeed").flat_buckets
    assert not keeping(framework="MaxText (JAX)").gradient_buffer
    assert keeping(other_flags="cpu_offloading_num_layers=20", layers="80", PP="2") == keeping(
        other_flags="cpu_offloading_num_layers=20", layers="80", PP="2"
    )
    half = keeping(other_flags="cpu_offloading_num_layers=20", layers="80", PP="2")
    assert half.activations_on_host == pytest.approx(0.5)


def test_the_leanest_reading_changes_only_what_is_not_stated():
    layout = Layout(dp=8, sharding=Sharding.ZERO1)
    said = {"act_recompute": "none (yaml null)", "dp_sharding": "distributed optimizer (zero1)"}
    lean = leanest(said, layout=layout, keeping=keeping(**said))
    assert lean.layout == layout
    silent = {"act_recompute": "none listed in workload preset", "dp_sharding": ""}
    lean = leanest(silent, layout=layout, keeping=keeping(**silent))
    assert lean.layout.recompute is Recompute.FULL
    assert lean.layout.sharding is Sharding.FSDP
    assert "full recompute" in lean.assumed
