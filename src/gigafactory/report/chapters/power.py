"""Power: the site hour by hour, what synchronous training does to the grid, energy and its bill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gigafactory.ledger.power_hours import PowerHours
from gigafactory.report.blocks import Chapter, Chart, Table, TableRow, rows
from gigafactory.report.folder import Campaign
from gigafactory.report.numbers import Quantity, percent, write
from gigafactory.report.site_figures import power_by_hour, power_levels

#: A campaign of fewer hours than this is drawn level by level, and its swings are not the grid's.
_FEW_HOURS = 6
_THE = {"twin": "the twin", "reality": "reality"}
#: How slowly the grid may want the deepest dip to come.
_RAMPS = (("one minute", 60.0), ("ten minutes", 600.0), ("an hour", 3600.0))
_INTRO = (
    "In synchronous training all GPUs compute at once and wait for each other at once, so that the "
    "whole site breathes with every step, and drops to idle within seconds at a checkpoint or a "
    "restart. A grid that cannot follow so fast is spared by a battery: it must have the power of "
    "the dip, and the energy between the dip and the slow ramp that the grid sees."
)


def power(campaigns: Mapping[str, Campaign]) -> Chapter | None:
    """No chapter where no power is known."""
    drawing = {who: c for who, c in campaigns.items() if c.summary.energy_j > 0}
    if not drawing:
        return None
    charts = [found for who, c in drawing.items() if (found := _course(who, c))]
    swinging = {who: c.power for who, c in drawing.items() if _is_long(c) and c.power.step_high_w}
    swings = [_swings(swinging)] if swinging else []
    return Chapter(
        key="power",
        title="Power and money",
        intro=_INTRO if swings else "",
        blocks=(*charts, *swings, _bill(drawing)),
    )


def _is_long(campaign: Campaign) -> bool:
    return len(campaign.power.mean_w) >= _FEW_HOURS


def _course(who: str, campaign: Campaign) -> Chart | None:
    if _is_long(campaign):
        return power_by_hour(who, campaign.power, end_s=campaign.trace.end_s)
    return power_levels(who, campaign.trace) if len(campaign.trace.power_w) > 1 else None


def _swings(of: Mapping[str, PowerHours]) -> Table:
    """One column a campaign: swings of the steps, dips, and the battery that they ask for."""
    lines: list[tuple[str, Callable[[PowerHours], str]]] = [
        ("hours in which the limit of the site held training back", _held),
        ("a step swings the site", _step),
        ("stops and checkpoints", lambda p: f"{p.num_dips:,}"),
        (
            "the deepest of them: the draw falls by",
            lambda p: write(p.deepest_dip_w, Quantity.POWER),
        ),
    ]
    if any(p.ramp_w_per_s for p in of.values()):
        lines += [
            ("the draw may change by", _ramp),
            ("battery that the deepest dip asks for", _asked),
            ("battery that there is", _battery),
            ("stops and checkpoints beyond it", lambda p: f"{p.num_beyond_battery:,}"),
        ]
    else:
        lines += [
            (f"battery, were it to come within {words}", _asked_within(lasts_s))
            for words, lasts_s in _RAMPS
        ]
    return Table(
        title="Swings",
        heads=("", *of),
        rows=rows((name, *(tell(p) for p in of.values())) for name, tell in lines),
        note="Steps, stops and ramps as 64 nodes of 8 H100 showed them (docs: cost/energy).",
    )


def _held(hours: PowerHours) -> str:
    if hours.capacity_w is None:
        return "no limit known"
    return f"{hours.num_hours_at_capacity:,} of {len(hours.mean_w):,}"


def _step(hours: PowerHours) -> str:
    low, high = (write(w, Quantity.POWER) for w in (hours.step_low_w, hours.step_high_w))
    swing = (hours.step_high_w - hours.step_low_w) / hours.step_high_w
    return f"{low} to {high} ({percent(swing)})"


def _ramp(hours: PowerHours) -> str:
    if hours.ramp_w_per_s is None:
        return "any"
    return f"{write(60.0 * hours.ramp_w_per_s, Quantity.POWER)} a minute"


def _asked(hours: PowerHours) -> str:
    if hours.ramp_w_per_s is None:
        return "none"
    return _store(hours.deepest_dip_w, hours.ramp_energy_j)


def _battery(hours: PowerHours) -> str:
    return _store(hours.battery.power_w, hours.battery.energy_j) if hours.battery else "none"


def _asked_within(lasts_s: float) -> Callable[[PowerHours], str]:
    # the triangle of cost.swings.ramp_energy_j at the ramp that takes so long
    return lambda hours: _store(hours.deepest_dip_w, hours.deepest_dip_w * lasts_s / 2)


def _store(power_w: float, energy_j: float) -> str:
    return f"{write(power_w, Quantity.POWER)}, {write(energy_j, Quantity.ENERGY)}"


def _bill(drawing: Mapping[str, Campaign]) -> Table:
    lines = [(label, quantity, [of(c) for c in drawing.values()]) for label, quantity, of in _BILL]
    return Table(
        title="Energy and money",
        heads=("quantity", *drawing),
        rows=tuple(
            TableRow(cells=(label, *(_said(value, quantity) for value in values)))
            for label, quantity, values in lines
            if any(values)
        ),
        note=" ".join(_notes(drawing)),
    )


def _notes(drawing: Mapping[str, Campaign]) -> Iterable[str]:
    stated = [_THE[who] for who, c in drawing.items() if not c.trace.power_w]
    if stated:
        yield (
            f"No power in the ledger of {' and of '.join(stated)}: energy is the draw stated in "
            "the study times the time."
        )
    if any(c.has_pool for c in drawing.values()):
        yield "The serving pool's hosts are not counted, nor what they draw."


def _said(value: float | None, quantity: Quantity | None) -> str:
    if value is None:
        return ""
    if quantity:
        return write(value, quantity)
    if value >= 1e4:
        return f"{value / 1e3:,.0f} t"
    return f"{value:,.0f} kg" if value >= 100 else f"{value:.3g} kg"


def _mean_w(campaign: Campaign) -> float | None:
    summary = campaign.summary
    return summary.energy_j / summary.wall_s if summary.wall_s else None


def _p99_w(campaign: Campaign) -> float | None:
    return campaign.power.p99_w if _is_long(campaign) else None


def _per_billion_tokens(campaign: Campaign) -> float | None:
    summary = campaign.summary
    return summary.cost_usd / summary.tokens * 1e9 if summary.tokens else None


#: label, quantity (None: kilograms), where the campaign says it
_BILL: tuple[tuple[str, Quantity | None, Callable[[Campaign], float | None]], ...] = (
    ("energy at the meter", Quantity.ENERGY, lambda c: c.summary.energy_j),
    ("mean power", Quantity.POWER, _mean_w),
    ("one hour in a hundred draws more than", Quantity.POWER, _p99_w),
    ("CO2", None, lambda c: c.summary.energy_j * c.opened.carbon_kg_per_j),
    ("electricity", Quantity.MONEY, lambda c: c.summary.electricity_usd),
    (
        "rent of the whole allocation, electricity included",
        Quantity.MONEY,
        lambda c: c.summary.cost_usd,
    ),
    ("rent for a billion kept tokens", Quantity.MONEY, _per_billion_tokens),
)
