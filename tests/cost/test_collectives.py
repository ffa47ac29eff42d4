"""Collectives by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.calibration import published
from gigafactory.cost.collectives import all_gather_s, all_to_all_s, group, network, send_s

#: Eight GPUs a host, 450 GB/s inside, 50 GB/s a NIC, 64 hosts a pod; no latency, full rates.
IDEAL = replace(
    network(load_study("studies/grok-1-512.yaml").cluster, constants=published()),
    domain_gpus=8,
    pod_gpus=512,
    scaleup_bytes_per_s=450e9,
    nic_bytes_per_s=50e9,
    scaleup_latency_s=0.0,
    network_latency_s=0.0,
    hop_latency_s=0.0,
    all_to_all_fraction=1.0,
    all_to_all_net_fraction=1.0,
    link_bytes_per_s=450e9,
)


def test_a_ring_inside_the_domain():
    inside = group(8, stride=1, net=IDEAL)
    assert all_gather_s(450e9, members=inside, net=IDEAL) == pytest.approx(7 / 8)


def test_eight_members_a_host_share_eight_nics():
    across = group(64, stride=1, net=IDEAL)
    assert all_gather_s(400e9, members=across, net=IDEAL) == pytest.approx(63 / 64)


def test_one_member_a_host_has_one_nic():
    rail = group(64, stride=8, net=IDEAL)
    assert all_gather_s(50e9, members=rail, net=IDEAL) == pytest.approx(63 / 64)


def test_a_group_of_one_says_nothing():
    assert all_gather_s(1e9, members=group(1, stride=1, net=IDEAL), net=IDEAL) == 0


def test_oversubscription_bites_only_beyond_the_pod():
    narrow = replace(IDEAL, oversubscription=2.0)
    for size, ratio in ((64, 1.0), (128, 2.0)):
        members = group(size, stride=8, net=narrow)
        fast = all_gather_s(1e9, members=members, net=IDEAL)
        assert all_gather_s(1e9, members=members, net=narrow) == pytest.approx(ratio * fast)


def test_small_messages_over_many_ranks_take_the_logarithmic_algorithm():
    slow = replace(IDEAL, network_latency_s=10e-6)
    members = group(4096, stride=8, net=slow)
    assert all_gather_s(8.0, members=members, net=slow) == pytest.approx(12 * 10e-6, rel=1e-3)


def test_all_to_all_inside_and_across():
    inside = group(8, stride=1, net=IDEAL)
    sent = {"net": IDEAL, "copies": 8, "sparse": False}
    assert all_to_all_s(450e9, members=inside, **sent) == pytest.approx(7 / 8)
    across = group(16, stride=1, net=IDEAL)
    assert all_to_all_s(50e9, members=across, **sent) == pytest.approx(1 / 2)


def test_sparse_dispatch_sends_a_token_to_a_host_once():
    across = group(16, stride=1, net=IDEAL)
    sparse = all_to_all_s(50e9, members=across, net=IDEAL, copies=8, sparse=True)
    # one other host, which holds at least one of 8 experts with 1 - 2^-8
    assert sparse == pytest.approx((1 - 2**-8) / 8)


def test_a_message_takes_the_link_that_lies_between():
    assert send_s(450e9, stride=1, net=IDEAL) == pytest.approx(1)
    assert send_s(50e9, stride=8, net=IDEAL) == pytest.approx(1)


def test_columns_and_single_values_agree():
    sizes = np.array([1, 2, 8, 16, 64, 512])
    together = all_gather_s(1e9, members=group(sizes, stride=2, net=IDEAL), net=IDEAL)
    single = [all_gather_s(1e9, members=group(n, stride=2, net=IDEAL), net=IDEAL) for n in sizes]
    assert together == pytest.approx(np.array(single))
