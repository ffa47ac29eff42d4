"""Counting a folded Clos network: laws, and the corners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.fabric import leaf_ports, num_tiers, reach, wiring

CLUSTER = load_study("studies/colossus.yaml").cluster
HOSTS = st.integers(1, 20_000)
PORTS = st.sampled_from([8, 32, 64, 128, 144])
RATIOS = st.sampled_from([1.0, 2.0, 3.0, 7.0])


def cluster_of(hosts, *, ports=128, ratio=1.0, pod=64, tiers=None, copper=False):
    fabric = CLUSTER.fabric.model_copy(
        update={
            "num_switch_ports": ports,
            "oversubscription": ratio,
            "num_tiers": tiers,
            "host_links_are_copper": copper,
        }
    )
    update = {"num_hosts": hosts, "num_spare_hosts": 0, "hosts_per_pod": pod, "fabric": fabric}
    return CLUSTER.model_copy(update=update)


@given(HOSTS, PORTS, RATIOS)
def test_no_switch_has_more_links_than_ports(hosts, ports, ratio):
    cluster = cluster_of(hosts, ports=ports, ratio=ratio)
    wires = wiring(cluster)
    below = wires.num_links
    above = (*below[1:], 0)
    for switches, down, up in zip(wires.num_switches, below, above, strict=True):
        assert down + up <= switches * ports


@given(HOSTS, PORTS)
def test_without_oversubscription_every_tier_has_as_many_links_as_the_hosts(hosts, ports):
    links = wiring(cluster_of(hosts, ports=ports)).num_links
    assert set(links) == {hosts * 8}


@given(HOSTS, PORTS, RATIOS)
def test_oversubscription_saves_uplinks_by_its_ratio(hosts, ports, ratio):
    cluster = cluster_of(hosts, ports=ports, ratio=ratio)
    down, up = leaf_ports(cluster.fabric)
    assert down + up == ports
    assert down / up >= ratio * 0.5
    for links in wiring(cluster).num_links[1:]:
        assert links == -(-hosts * 8 * up // down)


@given(HOSTS, HOSTS, PORTS)
def test_more_hosts_never_need_fewer_switches_or_links(one, other, ports):
    few, many = sorted((one, other))
    small, large = (wiring(cluster_of(n, ports=ports, pod=8)) for n in (few, many))
    assert sum(small.num_links) <= sum(large.num_links)
    assert len(small.num_switches) <= len(large.num_switches)


@given(HOSTS, PORTS)
def test_the_tiers_are_the_fewest_that_reach(hosts, ports):
    cluster = cluster_of(hosts, ports=ports)
    tiers = num_tiers(cluster)
    assert reach(cluster.fabric, num_tiers=tiers) >= hosts * 8
    assert tiers == 1 or reach(cluster.fabric, num_tiers=tiers - 1) < hosts * 8


@given(HOSTS)
def test_every_optical_link_has_two_transceivers_and_copper_none(hosts):
    optical, copper = wiring(cluster_of(hosts)), wiring(cluster_of(hosts, copper=True))
    assert optical.num_optics == 2 * sum(optical.num_links)
    assert optical.num_optics - copper.num_optics == 2 * hosts * 8
    assert copper.num_copper == hosts * 8


def test_one_switch_is_enough_for_a_few_hosts():
    assert wiring(cluster_of(16)).num_switches == (1,)
    # 64 ports down a leaf hold three rails of 17 hosts
    assert wiring(cluster_of(17)).num_switches == (3, 2)


def test_a_fast_nic_takes_several_ports():
    host = CLUSTER.host.model_copy(update={"nic_bandwidth_bytes_per_s": 100e9})
    cluster = cluster_of(64).model_copy(update={"host": host})
    assert wiring(cluster).num_links[0] == 2 * 64 * 8


def test_a_loopback_has_no_wire():
    wires = wiring(load_study("studies/first-light.yaml").cluster)
    assert wires.num_switches == wires.num_links == ()
    assert wires.num_optics == 0


def test_a_stated_tier_more_than_needed_is_built():
    assert len(wiring(cluster_of(64, tiers=3)).num_switches) == 3


def test_too_few_tiers_say_how_many_it_takes():
    with pytest.raises(InputError, match="num_tiers must be at least 3"):
        wiring(cluster_of(12_500, tiers=2))


def test_ports_too_few_to_build_a_network_are_refused():
    with pytest.raises(InputError, match="num_switch_ports must be larger"):
        wiring(cluster_of(100, ports=2))
