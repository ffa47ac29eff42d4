"""Every catalog entry is complete, sourced, and fits its specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafactory.catalog import entries
from gigafactory.catalog.entries import KINDS, body, names, nearest
from gigafactory.catalog.resolve import Resolver
from gigafactory.catalog.text import read_mapping
from gigafactory.describe.cluster import Cluster, Gpu, Host, Precision
from gigafactory.describe.exposure import interruptions_per_s
from gigafactory.describe.faults import FaultClass, Faults, Scope
from gigafactory.describe.model import Model
from gigafactory.describe.money import Own, Rent
from gigafactory.units import DAY_S, HOUR_S

EVERY = [(kind, name) for kind in KINDS for name in names(kind)]


def read(kind, name):
    resolver = Resolver("catalog")
    tree = resolver.resolve(kind, name)
    assert resolver.problems == []
    return kind.model_validate(tree, context={"file": "catalog"})


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda v: getattr(v, "__name__", v))
def test_an_entry_loads_under_its_own_name_and_has_a_source(kind, name):
    path = Path(entries.__file__).with_name(f"{KINDS[kind]}.yaml")
    entry = read_mapping(path)[name]
    assert len(entry["source"].strip()) > 20, "a source says where the figures are from"
    made = read(kind, name)
    assert made.name == name
    assert made.source == body(kind, name)["source"]


def test_what_the_issue_asks_for_is_there():
    assert {"a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "gb200"} <= {*names(Gpu)}
    assert {"colossus-100k", "laptop"} <= {*names(Cluster)}
    assert {
        "grok-1", "grok-2", "grok-next", "llama-3-8b", "llama-3-70b", "llama-3-405b",
        "mixtral-8x7b", "deepseek-v3", "gpt3-175b", "first-light",
    } <= {*names(Model)}  # fmt: skip
    assert {"oci-h100", "market-h100-2026-03"} <= {*names(Rent)}
    assert "hgx-h100-2024" in names(Own)
    assert {"llama3-16k", "rsc-1", "fthsdp-32k", "laptop"} <= {*names(Faults)}


@pytest.mark.parametrize("name", names(Host))
def test_a_host_draws_less_idle_than_training_and_less_training_than_rated(name):
    host = read(Host, name)
    assert host.idle_w < host.training_w <= host.rated_w
    assert host.rated_w >= host.num_gpus * host.gpu.tdp_w
    assert host.scaleup_domain_gpus % host.num_gpus == 0


@pytest.mark.parametrize("name", names(Gpu))
def test_narrower_numbers_are_never_slower(name):
    peak = read(Gpu, name).peak_flops_per_s
    order = [Precision.FP32, Precision.BF16, Precision.FP8, Precision.NVFP4]
    rates = [peak[p] for p in order if p in peak]
    assert rates == sorted(rates)


@pytest.mark.parametrize("name", names(Own))
def test_all_in_costs_at_least_the_server(name):
    own = read(Own, name)
    assert own.host_all_in_usd >= own.host_price_usd


def test_the_training_mesh_of_colossus_has_useful_divisors():
    cluster = read(Cluster, "colossus-100k")
    assert cluster.num_gpus == 100_000
    assert cluster.num_training_gpus == 97_280 == 2**10 * 5 * 19


def test_a_variation_in_the_catalog_keeps_what_it_does_not_change():
    base, varied = read(Cluster, "colossus-100k"), read(Cluster, "colossus-100k-quantum-2")
    assert varied.fabric.name == "quantum-2"
    assert varied.host == base.host
    assert varied.num_hosts == base.num_hosts


@pytest.mark.parametrize(
    ("name", "per_kday"),
    [("llama3-16k", 419 / 110.592), ("fthsdp-32k", 2.3), ("rsc-1", 6.5), ("rsc-2", 2.34)],
)
def test_the_causes_sum_to_the_published_rate(name, per_kday):
    faults, cluster = read(Faults, name), read(Cluster, "colossus-100k")
    rate = interruptions_per_s(faults, cluster=cluster, num_hosts=1000) - faults.job_rate_per_s
    assert rate * DAY_S == pytest.approx(per_kday, rel=5e-4)


def test_repair_is_heavy_tailed_as_in_the_trace():
    repair = read(Faults, "llama3-16k").repair
    assert repair.median_s == pytest.approx(0.85 * DAY_S)
    assert repair.mean_s == pytest.approx(5.54 * DAY_S)


def test_hangs_are_found_by_timeout_and_crashes_at_once():
    causes = {c.name: c for c in read(Faults, "llama3-16k").causes}
    assert causes["nccl-watchdog-timeouts"].fault is FaultClass.HANG
    assert causes["nccl-watchdog-timeouts"].detect_s == 600
    assert causes["software-bug"].detect_s == 1
    assert causes["planned-maintenance"].fault is FaultClass.PLANNED


def test_the_lemons_of_the_bursty_fleet_have_their_published_share():
    faults = read(Faults, "llama3-16k-bursty")
    lemons = faults.lemon_share * faults.lemon_factor
    assert lemons / (lemons + 1 - faults.lemon_share) == pytest.approx(0.409, abs=0.005)


def test_oracles_list_price():
    assert read(Rent, "oci-h100").price_usd_per_s * HOUR_S == pytest.approx(10.0)


def test_the_nearest_name_comes_first():
    assert nearest("groq-1", names(Model)).startswith("did you mean grok-1")
    assert nearest("zzz", ["a", "b"]) == "known: a, b"


def test_the_full_model_interrupts_as_often_as_the_counts_it_splits():
    cluster = read(Cluster, "colossus-100k")
    per_host = [
        interruptions_per_s(read(Faults, name), cluster=cluster, num_hosts=cluster.num_hosts)
        / cluster.num_hosts
        for name in ("llama3-16k", "colossus-full")
    ]
    assert per_host[0] * 1000 * DAY_S == pytest.approx(419 / 110.592, rel=1e-3)
    assert per_host[1] == pytest.approx(per_host[0], rel=1e-3)


def test_the_full_model_has_every_kind_of_fault_and_every_scope():
    causes = read(Faults, "colossus-full").causes
    assert {cause.fault for cause in causes} == set(FaultClass)
    assert {cause.scope for cause in causes} == set(Scope)


def test_parts_of_the_full_model_add_up_to_what_was_counted():
    rates = {c.name: c.rate_per_s * 1000 * DAY_S for c in read(Faults, "colossus-full").causes}
    contained, uncontained = rates["gpu-hbm3-contained"], rates["gpu-hbm3-uncontained"]
    assert contained + uncontained == pytest.approx(0.651, abs=1e-4)
    assert contained / (contained + uncontained) == pytest.approx(14 / 33, abs=1e-3)
    # 8 links a host; 8 leaves to a pod of 64
    network = 8 * rates["nic-to-leaf-link"] + rates["leaf-switch"] / 8 + rates["network-other"]
    assert network == pytest.approx(0.3165, abs=1e-3)
    upkeep = rates["host-maintenance"] + rates["rack-feed"] / 8 + rates["cooling-loop"] / 64
    assert upkeep == pytest.approx(0.2894, abs=1e-3)
    assert rates["link-flap"] * 8 == pytest.approx(1.44)
