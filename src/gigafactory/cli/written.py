"""How the figures of campaigns are written: one writer a quantity, and what figures are called."""

from __future__ import annotations

from collections.abc import Callable

from gigafactory.units import DAY_S, HOUR_S, KWH_J, show, show_time

Writer = Callable[[float], str]


def days(value: float) -> str:
    """``93.4 days``, and years where there are many."""
    return show_time(value * DAY_S)


def dollars(value: float) -> str:
    """``2.16 G$``."""
    return show(value, "$")


def signed_dollars(value: float) -> str:
    """``+12.4 M$``, ``none``."""
    return _signed(value, dollars)


def signed_days(value: float) -> str:
    """``+3.21 days``, ``none``."""
    return _signed(value, days)


def _signed(value: float, write: Writer) -> str:
    return f"{'+' if value > 0 else '-'}{write(abs(value))}" if value else "none"


def share(value: float) -> str:
    """``95.3%``."""
    return f"{value:.1%}"


def number(value: float) -> str:
    """A count, or the mean of some."""
    return f"{value:,.0f}"


def tonnes(value_kg: float) -> str:
    """``63,700 t``, ``0.42 kg``."""
    return f"{value_kg / 1e3:,.0f} t" if value_kg >= 1e4 else f"{value_kg:,.3g} kg"


def watt_hours(value_j: float) -> str:
    """``225 GWh``."""
    return show(value_j / KWH_J * 1e3, "Wh")


def tokens(value: float) -> str:
    """``46.6 T``."""
    return show(value, "").strip()


def gpu_hours(value_gpu_s: float) -> str:
    """``2.68 M``, ``1,240``, ``0.034``."""
    hours = value_gpu_s / HOUR_S
    if hours >= 1e6:
        return f"{hours / 1e6:,.2f} M"
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:,.2g}"


#: figure of a campaign -> (what it is called, how it is written)
FIGURES: dict[str, tuple[str, Writer]] = {
    "goodput": ("goodput", share),
    "ettr": ("ETTR", share),
    "days": ("followed", days),
    "tokens": ("kept tokens", tokens),
    "job_days": ("whole job", days),
    "job_usd": ("whole job, rent", dollars),
    "cost_usd": ("rent", dollars),
    "energy_j": ("energy", watt_hours),
    "carbon_kg": ("CO2", tonnes),
    "num_interruptions": ("interruptions", number),
    "mtbf_s": ("MTBF", show_time),
    "mttr_s": ("MTTR", show_time),
    "num_evicted_hosts": ("hosts to repair", number),
}


def words(name: str) -> str:
    """``gpu-hbm3_memory`` -> ``gpu hbm3 memory``."""
    return name.replace("_", " ").replace("-", " ")
