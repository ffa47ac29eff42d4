"""The edge between text with units and SI floats.

Inside the program every quantity is a float in SI base units (bytes, seconds, watts, FLOP,
dollars) and its name ends in that unit. Text such as ``400 Gb/s`` or ``4 y`` exists only in
files and on the command line, and is read and written here. Prefixes are decimal
(k M G T P E); ``KiB MiB GiB TiB`` are binary. A year is 365 days, as cloud price lists count.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo
from pydantic_core import PydanticCustomError

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
KWH_J = 3.6e6
#: Beyond these no quantity of a factory lies, and products of a few of them are still floats.
SMALLEST, LARGEST = 1e-24, 1e33
#: Counts (hosts, layers, sequences) stay below this.
LARGEST_COUNT = 10**9


class Dimension(Enum):
    """What a quantity measures; the value is an example a person can copy."""

    BYTES = "80 GB"
    BYTES_PER_S = "400 Gb/s"
    SECONDS = "90 s"
    WATTS = "700 W"
    WATTS_PER_S = "10 MW/min"
    JOULES = "100 MWh"
    FLOPS = "3e26 FLOP"
    FLOPS_PER_S = "989 TFLOP/s"
    USD = "270000 $"
    USD_PER_S = "2.85 $/h"
    USD_PER_J = "0.06 $/kWh"
    KG_PER_J = "0.28 kg/kWh"
    PER_S = "2.3 /kday"
    TOKENS = "15 T"
    PEOPLE = "117 M"
    RATIO = "40 %"


_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BYTE_UNITS = {f"{p}B": f for p, f in _DECIMAL.items()} | {
    f"{p}iB": 1024.0**i for i, p in enumerate("KMGTP", start=1)
}
_TIME_UNITS = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": HOUR_S, "d": DAY_S,
    "day": DAY_S, "days": DAY_S, "y": YEAR_S, "year": YEAR_S, "years": YEAR_S,
}  # fmt: skip

_UNITS: dict[Dimension, dict[str, float]] = {
    Dimension.BYTES: _BYTE_UNITS,
    Dimension.BYTES_PER_S: {f"{u}/s": f for u, f in _BYTE_UNITS.items()}
    | {f"{p}b/s": f / 8 for p, f in _DECIMAL.items()},
    Dimension.SECONDS: _TIME_UNITS,
    Dimension.WATTS: {f"{p}W": f for p, f in _DECIMAL.items()},
    Dimension.WATTS_PER_S: {
        f"{p}W/{u}": f / t for p, f in _DECIMAL.items() for u, t in _TIME_UNITS.items()
    },
    Dimension.JOULES: {f"{p}J": f for p, f in _DECIMAL.items()}
    | {f"{p}Wh": f * HOUR_S for p, f in _DECIMAL.items()},
    Dimension.FLOPS: {f"{p}FLOP": f for p, f in _DECIMAL.items()},
    Dimension.FLOPS_PER_S: {f"{p}FLOP/s": f for p, f in _DECIMAL.items()},
    Dimension.USD: {f"{p}$": f for p, f in _DECIMAL.items()},
    Dimension.USD_PER_S: {f"$/{u}": 1 / f for u, f in _TIME_UNITS.items()},
    Dimension.USD_PER_J: {"$/kWh": 1 / KWH_J, "$/MWh": 1e-3 / KWH_J, "$/J": 1.0},
    Dimension.KG_PER_J: {"kg/kWh": 1 / KWH_J, "g/kWh": 1e-3 / KWH_J, "kg/J": 1.0},
    # a rate per thousand days is how the field states failures of hosts
    Dimension.PER_S: {f"/{u}": 1 / f for u, f in _TIME_UNITS.items()} | {"/kday": 1e-3 / DAY_S},
    Dimension.TOKENS: _DECIMAL | {"B": 1e9, "tokens": 1.0},
    Dimension.PEOPLE: {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9},
    Dimension.RATIO: {"": 1.0, "%": 0.01},
}
#: Dimensions where a bare number has only one meaning.
_BARE_ALLOWED = {Dimension.TOKENS, Dimension.PEOPLE, Dimension.RATIO}
_TEXT = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


def parse(text: str, dimension: Dimension) -> float:
    """Read ``text`` (a number and a unit) as an SI float; ValueError says what would be right."""
    match = _TEXT.fullmatch(text)
    factor = _UNITS[dimension].get(match[2]) if match else None
    if match is None or factor is None or (match[2] == "" and dimension not in _BARE_ALLOWED):
        units = ", ".join(u for u in _UNITS[dimension] if u)
        raise ValueError(
            f"{text!r} is not a quantity in {_name(dimension)}; "
            f"write for example {dimension.value!r} (units: {units})"
        )
    value = float(match[1].replace("_", "")) * factor
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise ValueError(f"{text!r} is out of all bounds: {value:g} in SI units")
    return value


def quantity(dimension: Dimension) -> BeforeValidator:
    """Validator for a field: text with a unit, or, from Python code, a bare SI float.

    In a file (validation context ``{"file": ...}``) a bare number for a dimensioned quantity is
    refused, because nobody can tell 400 GB/s from 400 Gb/s by looking at ``400``.
    """

    def read(value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            try:
                return parse(value, dimension)
            except ValueError as error:
                raise _error(str(error)) from None
        from_file = bool(info.context) and "file" in (info.context or {})
        if from_file and dimension not in _BARE_ALLOWED and not isinstance(value, (dict, list)):
            raise _error(
                f"{value!r} has no unit; write a quantity in {_name(dimension)}, "
                f"for example {dimension.value!r}"
            )
        return value

    return BeforeValidator(read)


def _error(message: str) -> PydanticCustomError:
    return PydanticCustomError("quantity", "{message}", {"message": message})


def _name(dimension: Dimension) -> str:
    return dimension.name.lower().replace("_", " ")


Bytes = Annotated[float, quantity(Dimension.BYTES)]
BytesPerS = Annotated[float, quantity(Dimension.BYTES_PER_S)]
Seconds = Annotated[float, quantity(Dimension.SECONDS)]
Watts = Annotated[float, quantity(Dimension.WATTS)]
WattsPerS = Annotated[float, quantity(Dimension.WATTS_PER_S)]
Joules = Annotated[float, quantity(Dimension.JOULES)]
Flops = Annotated[float, quantity(Dimension.FLOPS)]
FlopsPerS = Annotated[float, quantity(Dimension.FLOPS_PER_S)]
Usd = Annotated[float, quantity(Dimension.USD)]
UsdPerS = Annotated[float, quantity(Dimension.USD_PER_S)]
UsdPerJ = Annotated[float, quantity(Dimension.USD_PER_J)]
KgPerJ = Annotated[float, quantity(Dimension.KG_PER_J)]
PerS = Annotated[float, quantity(Dimension.PER_S)]
Tokens = Annotated[float, quantity(Dimension.TOKENS)]
People = Annotated[float, quantity(Dimension.PEOPLE)]
Ratio = Annotated[float, quantity(Dimension.RATIO)]


def show(value: float, unit: str) -> str:
    """``show(1.5e12, "B")`` -> ``1.50 TB``: three significant digits and a decimal prefix."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    fitting = [p for p, factor in _DECIMAL.items() if abs(value) >= factor * 0.9995]
    prefix = fitting[-1] if fitting else ""
    factor = _DECIMAL[prefix]
    return f"{_three_digits(value / factor)} {prefix}{unit}"


def show_time(value_s: float) -> str:
    """Seconds as a person would say them: ``83 ms``, ``12.4 s``, ``18.0 min``, ``62.1 days``."""
    for unit, factor in (("days", DAY_S), ("h", HOUR_S), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if abs(value_s) >= factor * (2 if unit in ("days", "h", "min") else 1):
            return f"{_three_digits(value_s / factor)} {unit}"
    return f"{_three_digits(value_s * 1e6)} us"


def _three_digits(value: float) -> str:
    magnitude = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, 2 - magnitude)}f}"


def plural(count: int, noun: str) -> str:
    """``1 campaign``, ``1,000 campaigns``, ``0 recalls``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
