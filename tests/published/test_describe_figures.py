"""What `giga describe` counts against what others published, source by source."""

from __future__ import annotations

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.cost.bill import bill
from gigafactory.describe.count import count
from gigafactory.describe.fabric import wiring


def figures(path="studies/colossus.yaml", *overrides):
    study = load_study(path, overrides=overrides)
    return {f.key: f.value for f in (*count(study), *bill(study))}


@pytest.mark.parametrize(
    ("gpus", "switches"),
    [
        (512, (16, 8)),
        (1024, (32, 16)),
        (2048, (64, 32)),
        (4096, (128, 128, 64)),
        (8192, (256, 256, 128)),
        (16384, (512, 512, 256)),
    ],
)
def test_the_superpod_switch_table(gpus, switches):
    """NVIDIA DGX SuperPOD reference architecture, H100 with QM9700: units of 32 hosts."""
    cluster = load_study(
        "studies/colossus.yaml",
        overrides=(
            f"cluster.num_hosts={gpus // 8}",
            "cluster.num_spare_hosts=0",
            "cluster.hosts_per_pod=32",
            "cluster.fabric=quantum-2",
        ),
    ).cluster
    assert wiring(cluster).num_switches == switches


def test_three_tiers_of_128_ports_for_100_000_gpus():
    """SemiAnalysis, 100,000 H100 Clusters (2024-06-17): 3,908 switches, 300,000 links.

    Five switches more here: rails are kept apart, so the last pod of 20 hosts has 8 leaves,
    where ports alone would need 3. The catalogue's rail count, 1,568 leaves, is met exactly.
    """
    found = figures()
    assert found["num_tiers"] == 3
    assert found["num_switches_tier_1"] == 1568
    assert found["num_switches"] == 3908 + 5
    assert found["num_links"] == 300_000
    assert found["num_optics"] == 600_000


def test_three_tiers_of_128_ports_for_98_304_gpus():
    """The same for a whole number of pods: 3,840 switches, 294,912 links, nothing to round."""
    found = figures("studies/colossus.yaml", "cluster.num_hosts=12288", "cluster.num_spare_hosts=0")
    assert found["num_switches"] == 3840
    assert found["num_links"] == 294_912


def test_four_tiers_of_64_ports_for_98_304_gpus():
    """The same source: InfiniBand Quantum-2 needs a fourth tier, 10,752 switches, 393,216 links."""
    found = figures(
        "studies/colossus.yaml",
        "cluster=colossus-100k-quantum-2",
        "cluster.num_hosts=12288",
        "cluster.num_spare_hosts=0",
    )
    assert found["num_tiers"] == 4
    assert found["num_switches"] == 10_752
    assert found["num_links"] == 393_216


def test_three_tiers_of_quantum_2_end_at_65_536_gpus():
    """The same source."""
    cluster = "cluster=colossus-100k-quantum-2"
    spares = "cluster.num_spare_hosts=0"
    path = "studies/colossus.yaml"
    assert figures(path, cluster, "cluster.num_hosts=8192", spares)["num_tiers"] == 3
    assert figures(path, cluster, "cluster.num_hosts=8193", spares)["num_tiers"] == 4


def test_the_arrays_of_colossus():
    """ServeTheHome (2024-10-28): 64 GPUs a rack, 512 an array, some 1,500 racks, 200 arrays."""
    found = figures()
    assert found["num_gpus"] == 100_000
    assert found["num_racks"] == pytest.approx(1500, rel=0.05)
    assert found["num_pods"] == pytest.approx(200, rel=0.025)


def test_peak_rate_and_node_power():
    """98.9 EFLOP/s bf16 (The Register, 2024-10-29), 198 fp8; 127.5 MW at 10.2 kW a host."""
    found = figures()
    assert found["peak_bf16_flops_per_s"] == pytest.approx(98.9e18, rel=1e-3)
    assert found["peak_fp8_flops_per_s"] == pytest.approx(198e18, rel=1e-3)
    assert found["hosts_rated_w"] == pytest.approx(127.5e6)


def test_training_draw_lies_between_the_measured_clusters():
    """MLPerf power logs scaled to 12,500 hosts: 85.6 MW immersed without fans, 100.2 MW in air."""
    assert 85.6e6 < figures()["hosts_training_w"] < 100.2e6


def test_network_draw_is_of_the_published_size():
    """11.6 MW scaled from a submitter's own estimate (MLPerf v4.0, low confidence)."""
    assert figures()["network_w"] == pytest.approx(11.6e6, rel=0.3)


def test_the_site_fits_its_substation_as_reported():
    """150 MW asked of MLGW and TVA for 100,000 H100: the measured draw with PUE is below it."""
    assert 100e6 < figures()["site_training_w"] < 150e6


def test_purchase_prices():
    """3.975 G$ all in at 318,000 $ a host (SemiAnalysis); hardware 3.80 G$ (Epoch AI)."""
    found = figures()
    all_in_usd = found["capex_all_in_usd"] - found["capex_building_usd"]
    assert all_in_usd == pytest.approx(3.975e9)
    hardware_usd = found["capex_usd"] - found["capex_building_usd"]
    assert hardware_usd == pytest.approx(3.803e9, rel=0.15)
    assert hardware_usd == pytest.approx(all_in_usd, rel=0.1)


def test_electricity_of_a_flat_150_mw():
    """81.5 M$ a year at 0.062 $/kWh (MLGW), 102.5 M$ at 0.078; scaled to the draw found here."""
    found = figures()
    flat_w = found["site_training_w"]
    assert found["electricity_usd_per_year"] * 150e6 / flat_w == pytest.approx(81.5e6, rel=1e-3)
    at_078 = figures("studies/colossus.yaml", "cluster.site.electricity=0.078 $/kWh")
    assert at_078["electricity_usd_per_year"] * 150e6 / flat_w == pytest.approx(102.5e6, rel=1e-3)


def test_carbon_of_the_tva_grid():
    """TVA, calendar year 2023: 0.2835 kg/kWh."""
    found = figures()
    kwh = found["energy_j_per_year"] / 3.6e6
    assert found["carbon_kg_per_year"] == pytest.approx(0.2835 * kwh)


def test_the_oracle_question():
    """10 G$ over 100,000 GPUs: 11.42, 3.81, 2.85 and 2.28 $/GPU-hour for 1, 3, 4 and 5 years."""
    found = figures()
    for years, usd in ((1, 11.42), (3, 3.81), (4, 2.85), (5, 2.28)):
        assert found[f"offer_{years}y_usd_per_gpu_h"] == pytest.approx(usd, abs=0.005)


def test_a_year_at_oracles_list_price():
    """8.76 G$ a year for 100,000 H100 at 10 $/h; 2.1 G$ for the 24,000 that xAI rented."""
    path, year = "studies/colossus.yaml", "money.horizon=1 y"
    assert figures(path, year)["rent_usd"] == pytest.approx(8.76e9)
    few = ("cluster.num_hosts=3000", "cluster.num_spare_hosts=0")
    assert figures(path, year, *few)["rent_usd"] == pytest.approx(2.1e9, rel=2e-3)


@pytest.mark.parametrize(
    ("model", "total", "active"),
    [
        ("grok-1", 315.7e9, 83.8e9),
        ("grok-2", 269.5e9, 114.9e9),
        ("llama-3-405b", 405.85e9, 405.85e9),
        ("deepseek-v3", 671e9, 37e9),
        ("mixtral-8x7b", 46.7e9, 12.9e9),
        ("qwen3-235b-a22b", 235e9, 22e9),
    ],
)
def test_parameters_of_known_models(model, total, active):
    """xAI's code and configuration; Llama 3, DeepSeek-V3, Mixtral and Qwen3 papers."""
    found = figures("studies/colossus.yaml", f"model={model}")
    assert found["num_parameters"] == pytest.approx(total, rel=5e-3)
    assert found["num_active_parameters"] == pytest.approx(active, rel=2.5e-2)
