"""Power, energy, carbon: worked values and additivity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.cost import energy
from gigafactory.units import HOUR_S, KWH_J

POWERS = st.lists(st.floats(0, 1e9), min_size=1, max_size=5)


def test_a_site_worked_through():
    # 100 hosts at 9 kW and 100 kW of switches are 1 MW; PUE 1.2 makes 1.2 MW; an hour of it
    # is 1,200 kWh, at 0.05 $/kWh 60 $ and at 0.4 kg/kWh 480 kg
    site_w = energy.site_power_w(energy.hosts_power_w(100, host_w=9e3, other_it_w=1e5), pue=1.2)
    used_j = energy.energy_j(site_w, duration_s=HOUR_S)
    assert used_j == pytest.approx(1200 * KWH_J)
    assert energy.electricity_usd(used_j, electricity_usd_per_j=0.05 / KWH_J) == pytest.approx(60)
    assert energy.carbon_kg(used_j, carbon_kg_per_j=0.4 / KWH_J) == pytest.approx(480)


@given(powers_w=POWERS, split_s=st.floats(0, 1e6))
def test_energy_of_parts_of_a_time_adds_up(powers_w, split_s):
    whole_j = energy.energy_j(powers_w, duration_s=1e6)
    parts_j = energy.energy_j(powers_w, duration_s=split_s)
    parts_j = parts_j + energy.energy_j(powers_w, duration_s=1e6 - split_s)
    assert parts_j == pytest.approx(whole_j, rel=1e-9)
