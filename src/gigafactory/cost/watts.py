"""The factory's power, figure by figure: parts, site, capacity, a year's energy and carbon.

Composes what describe/fabric.py counted with the equations of cost/energy.py. Network and storage
draw the same whatever the hosts do.
"""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.cost.energy import carbon_kg, electricity_usd, energy_j, site_power_w
from gigafactory.describe.cluster import Cluster, Site
from gigafactory.describe.fabric import Wiring, wiring
from gigafactory.describe.figures import Figure, under
from gigafactory.units import KWH_J, YEAR_S, show


@dataclass(frozen=True, slots=True)
class Power:
    """IT power of a cluster by part, in watts, and the PUE over it."""

    rated_hosts_w: float
    training_hosts_w: float
    idle_hosts_w: float
    network_w: float
    storage_w: float
    pue: float

    def site_w(self, hosts_w: float) -> float:
        """What the site draws while the hosts draw ``hosts_w``."""
        return float(site_power_w(hosts_w + self.network_w + self.storage_w, pue=self.pue))


def power_of(cluster: Cluster) -> Power:
    """Watts of the parts; InputError for an impossible network."""
    fabric, host, hosts, wires = cluster.fabric, cluster.host, cluster.num_hosts, wiring(cluster)
    return Power(
        rated_hosts_w=hosts * host.rated_w,
        training_hosts_w=hosts * host.training_w,
        idle_hosts_w=hosts * host.idle_w,
        network_w=sum(wires.num_switches) * fabric.switch_w + wires.num_optics * fabric.optic_w,
        storage_w=cluster.storage.power_w,
        pue=cluster.site.pue,
    )


def electricity_usd_per_s(cluster: Cluster) -> float:
    """The bill while the whole cluster trains."""
    power = power_of(cluster)
    return power.site_w(power.training_hosts_w) * cluster.site.electricity_usd_per_j


def power_figures(cluster: Cluster) -> list[Figure]:
    """Rated, training and idle draw by part and at the site, against its capacity."""
    power, site = power_of(cluster), cluster.site
    host, hosts = cluster.host, f"{cluster.num_hosts:,} hosts x "
    of_hosts = under("Power", source=host.source, unit="W")
    rated_w, training_w, idle_w = power.rated_hosts_w, power.training_hosts_w, power.idle_hosts_w
    return [
        of_hosts("hosts_rated_w", rated_w, "hosts, rated", hosts + show(host.rated_w, "W")),
        of_hosts(
            "hosts_training_w", training_w, "hosts, training", hosts + show(host.training_w, "W")
        ),
        of_hosts("hosts_idle_w", idle_w, "hosts, idle", hosts + show(host.idle_w, "W")),
        _network(cluster, power, wiring(cluster)),
        _storage(cluster, power),
        _site("rated", rated_w, power, site),
        _site("training", training_w, power, site),
        _site("idle", idle_w, power, site),
        *_capacity(site, power),
    ]  # fmt: skip


def yearly_figures(cluster: Cluster) -> list[Figure]:
    """Energy, bill and carbon of a year in which the whole cluster trains."""
    power, site = power_of(cluster), cluster.site
    training_w = power.site_w(power.training_hosts_w)
    yearly_j = float(energy_j(training_w, duration_s=YEAR_S))
    usd = float(electricity_usd(yearly_j, electricity_usd_per_j=site.electricity_usd_per_j))
    kg = float(carbon_kg(yearly_j, carbon_kg_per_j=site.carbon_kg_per_j))
    kwh, group = f"{yearly_j / KWH_J:,.0f} kWh", "A year of training"
    joules = under(group, source=site.source, unit="J/year")
    dollars = under(group, source=site.source, unit="$/year")
    kilograms = under(group, source=site.source, unit="kg/year")
    return [
        joules(
            "energy_j_per_year", yearly_j, "energy", f"{show(training_w, 'W')} x 365 days = {kwh}"
        ),
        dollars(
            "electricity_usd_per_year", usd, "electricity",
            f"{kwh} x {site.electricity_usd_per_j * KWH_J:.4g} $/kWh",
        ),
        kilograms(
            "carbon_kg_per_year", kg, "CO2", f"{kwh} x {site.carbon_kg_per_j * KWH_J:.4g} kg/kWh"
        ),
    ]  # fmt: skip


def _network(cluster: Cluster, power: Power, wires: Wiring) -> Figure:
    fabric = cluster.fabric
    formula = (
        f"{sum(wires.num_switches):,} switches x {fabric.switch_w:g} W + "
        f"{wires.num_optics:,} transceivers x {fabric.optic_w:g} W"
    )
    figure = under("Power", source=fabric.source, unit="W")
    return figure("network_w", power.network_w, "switches and optics", formula)


def _storage(cluster: Cluster, power: Power) -> Figure:
    figure = under("Power", source=cluster.storage.source, unit="W")
    return figure("storage_w", power.storage_w, f"storage ({cluster.storage.name})", "stated")


def _site(state: str, hosts_w: float, power: Power, site: Site) -> Figure:
    formula = (
        f"({show(hosts_w, 'W')} hosts + {show(power.network_w, 'W')} network + "
        f"{show(power.storage_w, 'W')} storage) x PUE {site.pue:g}"
    )
    figure = under("Power", source=site.source, unit="W")
    return figure(f"site_{state}_w", power.site_w(hosts_w), f"site, {state}", formula)


def _capacity(site: Site, power: Power) -> list[Figure]:
    if site.capacity_w is None:
        return []
    watts = under("Power", source=site.source, unit="W")
    figures = [watts("site_capacity_w", site.capacity_w, f"capacity of {site.name}", "stated")]
    share = under("Power", source=site.source)
    for state, hosts_w in (("rated", power.rated_hosts_w), ("training", power.training_hosts_w)):
        part = power.site_w(hosts_w) / site.capacity_w
        verdict = "fits" if part <= 1 else "does not fit"
        formula = f"{show(power.site_w(hosts_w), 'W')} / {show(site.capacity_w, 'W')}"
        label = f"{state} draw over capacity: {verdict}"
        figures.append(share(f"site_{state}_share", part, label, formula))
    return figures
