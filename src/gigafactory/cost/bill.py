"""The factory's dollars, figure by figure: purchase, rent or own, what a lump sum comes to.

Composes what describe/ counted with the equations of cost/money.py and cost/watts.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from gigafactory.cost.money import break_even_s, owned_usd, price_usd_per_s, rent_usd
from gigafactory.cost.parameters import count_parameters
from gigafactory.cost.watts import electricity_usd_per_s, power_figures, yearly_figures
from gigafactory.describe.cluster import Cluster
from gigafactory.describe.fabric import wiring
from gigafactory.describe.figures import Figure, under
from gigafactory.describe.model import Model
from gigafactory.describe.money import Own
from gigafactory.describe.serve import FleetStudy
from gigafactory.describe.study import Study
from gigafactory.units import DAY_S, HOUR_S, YEAR_S, show

#: the Oracle question is asked for contracts of these lengths
_OFFER_YEARS = (1, 2, 3, 4, 5)


def bill(study: Study | FleetStudy) -> tuple[Figure, ...]:
    """Every figure in watts, joules, kilograms and dollars, after the model's parameters."""
    cluster = study.cluster
    return (
        *_model(study.model),
        *power_figures(cluster),
        *_capex(cluster, study.money.own),
        *yearly_figures(cluster),
        *_rent_or_own(study),
        *_offer(study),
    )


def _model(model: Model) -> list[Figure]:
    counted = count_parameters(model)
    whole = each = f"all {model.num_layers} layers and the tables"
    if model.num_experts:
        outside = f"{counted.dense_total:,} outside the experts"
        whole = f"{outside} + {counted.expert_total:,} in them"
        each = (
            f"{outside} + {model.num_moe_layers} layers x {counted.active_experts:,.0f} in the "
            f"top {model.topk} of {model.num_experts} experts"
        )
    figure = under(
        f"The model ({model.name}{', assumed' if model.assumption else ''})",
        source=f"{model.assumption} {model.source}".strip(),
    )
    return [
        figure("num_parameters", counted.total, "parameters", whole),
        figure("num_active_parameters", counted.active, "parameters that one token meets", each),
    ]


def _capex(cluster: Cluster, own: Own) -> list[Figure]:
    parts = [*_hosts_and_network(cluster, own), *_storage_and_building(cluster)]
    total_usd = sum(part.value for part in parts)
    all_in_usd = cluster.num_hosts * own.host_all_in_usd + cluster.site.build_usd
    figure = under("Purchase", source=own.source, unit="$")
    together = under("Purchase", source="the five parts above", unit="$")
    return [
        *parts,
        together(
            "capex_usd", total_usd, "purchase, part by part",
            " + ".join(show(part.value, "$") for part in parts),
        ),
        figure(
            "capex_all_in_usd", all_in_usd, "purchase, by the all-in price of a host",
            f"{cluster.num_hosts:,} hosts x {own.host_all_in_usd:,.0f} $ + building "
            f"{show(cluster.site.build_usd, '$')}",
        ),
    ]  # fmt: skip


def _hosts_and_network(cluster: Cluster, own: Own) -> list[Figure]:
    fabric, wires, hosts = cluster.fabric, wiring(cluster), cluster.num_hosts
    switches, optics, copper = sum(wires.num_switches), wires.num_optics, wires.num_copper
    optics_usd = optics * fabric.optic_price_usd + copper * fabric.copper_price_usd
    network = under("Purchase", source=fabric.source, unit="$")
    return [
        under("Purchase", source=own.source, unit="$")(
            "capex_servers_usd", hosts * own.host_price_usd, "servers",
            f"{hosts:,} hosts x {own.host_price_usd:,.0f} $",
        ),
        network(
            "capex_switches_usd", switches * fabric.switch_price_usd, "switches",
            f"{switches:,} switches x {fabric.switch_price_usd:,.0f} $",
        ),
        network(
            "capex_optics_usd", optics_usd, "transceivers and cables",
            f"{optics:,} transceivers x {fabric.optic_price_usd:,.0f} $ + "
            f"{copper:,} copper cables x {fabric.copper_price_usd:,.0f} $",
        ),
    ]  # fmt: skip


def _storage_and_building(cluster: Cluster) -> list[Figure]:
    storage, site = cluster.storage, cluster.site
    return [
        under("Purchase", source=storage.source, unit="$")(
            "capex_storage_usd", storage.price_usd, f"storage ({storage.name})", "stated"
        ),
        under("Purchase", source=site.source, unit="$")(
            "capex_building_usd", site.build_usd, f"building ({site.name})", "stated"
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Keeping:
    """What owning the cluster over the horizon comes to."""

    spent_usd: float
    """Paid at the start: hosts all in, and the building."""
    running_usd_per_s: float
    total_usd: float
    formula: str


def _keeping(study: Study | FleetStudy) -> _Keeping:
    site, own, horizon_s = study.cluster.site, study.money.own, study.money.horizon_s
    energy_usd_per_s = electricity_usd_per_s(study.cluster)
    purchase_usd = study.cluster.num_hosts * own.host_all_in_usd
    total_usd = owned_usd(
        purchase_usd,
        life_s=own.life_s,
        opex_share_per_year=own.opex_share_per_year,
        energy_usd_per_s=energy_usd_per_s,
        duration_s=horizon_s,
        build_usd=site.build_usd,
        build_life_s=site.build_life_s,
    )
    years = f"{horizon_s / YEAR_S:.3g}"
    formula = (
        f"{show(purchase_usd, '$')} x {years} of {own.life_s / YEAR_S:.3g} years + building "
        f"{show(site.build_usd, '$')} x {years} of {site.build_life_s / YEAR_S:.3g} + upkeep "
        f"{own.opex_share_per_year:.1%} of the purchase a year + electricity "
        f"{show(energy_usd_per_s * YEAR_S, '$')} a year"
    )
    running_usd_per_s = energy_usd_per_s + purchase_usd * own.opex_share_per_year / YEAR_S
    return _Keeping(purchase_usd + site.build_usd, running_usd_per_s, float(total_usd), formula)


def _rent_or_own(study: Study | FleetStudy) -> list[Figure]:
    rent, own, horizon_s = study.money.rent, study.money.own, study.money.horizon_s
    gpus, kept = study.cluster.num_gpus, _keeping(study)
    rented_usd = float(rent_usd(rent.price_usd_per_s, num_gpus=gpus, duration_s=horizon_s))
    own_per_s = float(price_usd_per_s(kept.total_usd, num_gpus=gpus, duration_s=horizon_s))
    hours, per_h = f"{gpus * horizon_s / HOUR_S:,.0f} GPU-hours", rent.price_usd_per_s * HOUR_S
    group = _over(study)
    renting, owning = (under(group, source=x.source, unit="$") for x in (rent, own))
    rent_rate, own_rate = (under(group, source=x.source, unit="$/GPU-h") for x in (rent, own))
    return [
        renting(
            "rent_usd", rented_usd, f"rent ({rent.name}, {rent.date})", f"{hours} x {per_h:.4g} $"
        ),
        owning("own_usd", kept.total_usd, f"ownership ({own.name})", kept.formula),
        rent_rate("rent_usd_per_gpu_h", per_h, "rent", "stated"),
        own_rate(
            "own_usd_per_gpu_h", own_per_s * HOUR_S, "ownership, the rent that breaks even",
            f"{show(kept.total_usd, '$')} / {hours}",
        ),
        *_pays_back(study, kept),
    ]  # fmt: skip


def _pays_back(study: Study | FleetStudy, kept: _Keeping) -> list[Figure]:
    """When buying has paid for itself; nothing where rent is cheaper than running."""
    rent_usd_per_s = study.money.rent.price_usd_per_s * study.cluster.num_gpus
    running_usd_per_s = kept.running_usd_per_s
    if rent_usd_per_s <= running_usd_per_s:
        return []
    paid_s = break_even_s(
        kept.spent_usd, rent_usd_per_s=rent_usd_per_s, running_usd_per_s=running_usd_per_s
    )
    formula = (
        f"{show(kept.spent_usd, '$')} / ({show(rent_usd_per_s * DAY_S, '$')} rent - "
        f"{show(running_usd_per_s * DAY_S, '$')} running) a day"
    )
    figure = under(_over(study), source=study.money.own.source, unit="s")
    return [figure("break_even_s", float(paid_s), "rent has cost as much as buying after", formula)]


def _offer(study: Study | FleetStudy) -> list[Figure]:
    offer_usd, num_gpus = study.money.offer_usd, study.cluster.num_gpus
    if offer_usd is None:
        return []
    source, kept_usd = (
        "the study: money.offer, a lump sum for the cluster",
        _keeping(study).total_usd,
    )
    dollars = under("The offer", source=source, unit="$")
    rate = under("The offer", source=source, unit="$/GPU-h")
    ratio = under("The offer", source=source)
    figures = [dollars("offer_usd", offer_usd, "lump sum offered", "stated")]
    for years in _OFFER_YEARS:
        per_s = price_usd_per_s(offer_usd, num_gpus=num_gpus, duration_s=years * YEAR_S)
        label = f"over {years} {'year' if years == 1 else 'years'}"
        formula = f"{show(offer_usd, '$')} / ({num_gpus:,} GPUs x {years} x 8,760 h)"
        key = f"offer_{years}y_usd_per_gpu_h"
        figures.append(rate(key, float(per_s) * HOUR_S, label, formula))
    label = f"offer over ownership, {study.money.horizon_s / YEAR_S:.3g} years"
    formula = f"{show(offer_usd, '$')} / {show(kept_usd, '$')}"
    return [*figures, ratio("offer_to_own_ratio", offer_usd / kept_usd, label, formula)]


def _over(study: Study | FleetStudy) -> str:
    return f"Rent or own, {study.money.horizon_s / YEAR_S:.3g} years"
