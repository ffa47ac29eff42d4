"""Every rank has one place, and no byte is lost between the tiers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.describe.layout import Layout
from gigafactory.plan.placement import TIERS, Talk, placement, spots, talks_of, tier_bytes

GROK = load_study("studies/grok-1-512.yaml")
COLOSSUS = load_study("studies/colossus.yaml")
LAYOUTS = (
    Layout(tp=8, pp=4, vpp=2, dp=16, ep=8),
    Layout(tp=4, cp=2, dp=64, ep=8, etp=4, sharding="hsdp", shard=16),
    Layout(tp=2, pp=2, schedule="dual_v", cp=4, dp=32, ep=4, recompute="full"),
    Layout(dp=512, sharding="zero2"),
)


@pytest.mark.parametrize("num_gpus", [8, 500, 97_280])
def test_every_rank_is_placed_once(num_gpus):
    where = spots(COLOSSUS.cluster, num_gpus)
    places = np.stack([where.host, where.rail])
    assert len(np.unique(places, axis=1).T) == num_gpus
    assert np.bincount(where.host).max() <= 8
    assert (where.pod == where.host // 64).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_are_conserved(layout):
    where = spots(GROK.cluster, layout.num_gpus)
    for talk in talks_of(GROK, layout):
        senders = layout.num_gpus
        if not talk.is_ring:
            senders -= layout.num_gpus // layout.pp
        assert tier_bytes(talk, where).sum() == pytest.approx(senders * talk.sent_bytes)


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from([2, 4, 8, 16]), stride=st.sampled_from([1, 2, 8, 32]),
    to_all=st.booleans(),
)  # fmt: skip
def test_nobody_sends_out_of_the_group(size, stride, to_all):
    where = spots(GROK.cluster, 512)
    talk = Talk("x", size, stride, size * stride, 3.0, to_all=to_all)
    told = tier_bytes(talk, where)
    assert told.sum() == pytest.approx(512 * 3.0)
    if size * stride <= 8:
        assert told[1] == told[2] == 0


def test_groups_of_a_known_layout():
    told = placement(GROK, Layout(tp=8, pp=4, dp=16, ep=8))
    of = {group["axis"]: group for group in told["groups"]}
    assert (told["num_hosts"], told["num_pods"]) == (64, 2)
    assert of["tp"]["num_across_domains"] == 0
    # 8 experts of 1 rank each share a host of 8
    assert of["ep"]["num_across_domains"] == 0
    # 16 hosts a stage, 32 a pod: data-parallel rings stay on their rail in the pod
    assert of["dp"]["num_groups"] == 32
    assert of["dp"]["num_across_pods"] == 0
    assert of["dp"]["spine_bytes"] == 0
    assert of["pp"]["num_across_pods"] == of["pp"]["num_groups"] == 128
    # one of three hops between four stages leaves the pod
    assert of["pp"]["spine_bytes"] == pytest.approx(of["pp"]["leaf_bytes"] / 2)


def test_another_rail_is_reached_over_the_spine():
    # neighbours 4 apart alternate between rails 0 and 4
    told = tier_bytes(Talk("x", 4, 4, 16, 1.0), spots(GROK.cluster, 16))
    assert dict(zip(TIERS, told.tolist(), strict=True)) == {"scaleup": 8, "leaf": 0, "spine": 8}


def test_a_laptop_has_no_fabric():
    study = load_study("studies/first-light.yaml")
    told = placement(study, study.layout)
    assert all(g["leaf_bytes"] == g["spine_bytes"] == 0 for g in told["groups"])
