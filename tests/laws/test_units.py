"""What is written with a unit reads back as the same quantity, and nothing else is let in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gigafactory.units import (
    DAY_S,
    KWH_J,
    YEAR_S,
    Bytes,
    BytesPerS,
    Dimension,
    PerS,
    Seconds,
    Tokens,
    UsdPerJ,
    UsdPerS,
    parse,
    show,
    show_time,
)

POSITIVE = st.floats(min_value=1e-9, max_value=1e12, allow_nan=False, allow_infinity=False)
PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


@given(POSITIVE, st.sampled_from(sorted(PREFIXES)))
def test_a_decimal_prefix_multiplies(number, prefix):
    for unit, dimension in (
        ("B", Dimension.BYTES),
        ("B/s", Dimension.BYTES_PER_S),
        ("W", Dimension.WATTS),
        ("FLOP", Dimension.FLOPS),
        ("FLOP/s", Dimension.FLOPS_PER_S),
        ("$", Dimension.USD),
    ):
        assert parse(f"{number!r} {prefix}{unit}", dimension) == number * PREFIXES[prefix]


@given(POSITIVE, st.sampled_from(sorted(PREFIXES)))
def test_eight_bits_are_a_byte(number, prefix):
    bits = parse(f"{number!r} {prefix}b/s", Dimension.BYTES_PER_S)
    assert bits * 8 == pytest.approx(parse(f"{number!r} {prefix}B/s", Dimension.BYTES_PER_S))


@given(POSITIVE)
def test_times_and_rates_are_inverse(number):
    for unit in ("s", "min", "h", "d", "y"):
        time_s = parse(f"{number!r} {unit}", Dimension.SECONDS)
        rate = parse(f"1 /{unit}", Dimension.PER_S)
        assert time_s * rate == pytest.approx(number)


@given(st.floats(min_value=1.0, max_value=9.9e20), st.sampled_from(["B", "W", "FLOP"]))
def test_what_is_shown_reads_back_within_three_digits(value, unit):
    dimension = {"B": Dimension.BYTES, "W": Dimension.WATTS, "FLOP": Dimension.FLOPS}[unit]
    read = parse(show(value, unit).replace(",", ""), dimension)
    assert read == pytest.approx(value, rel=6e-3)


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_a_shown_time_reads_back(value_s):
    read = parse(show_time(value_s).replace(",", ""), Dimension.SECONDS)
    assert read == pytest.approx(value_s, rel=6e-3)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("400 Gb/s", Dimension.BYTES_PER_S, 50e9),
        ("80 GB", Dimension.BYTES, 80e9),
        ("80 GiB", Dimension.BYTES, 80 * 2**30),
        ("2.85 $/h", Dimension.USD_PER_S, 2.85 / 3600),
        ("62 $/MWh", Dimension.USD_PER_J, 0.062 / KWH_J),
        ("0.062 $/kWh", Dimension.USD_PER_J, 0.062 / KWH_J),
        ("283.5 g/kWh", Dimension.KG_PER_J, 0.2835 / KWH_J),
        ("6.5 /kday", Dimension.PER_S, 6.5e-3 / DAY_S),
        ("4 y", Dimension.SECONDS, 4 * YEAR_S),
        ("15 T", Dimension.TOKENS, 15e12),
        ("15 B", Dimension.TOKENS, 15e9),
        ("1_000", Dimension.TOKENS, 1000.0),
        ("40 %", Dimension.RATIO, 0.4),
        ("0.4", Dimension.RATIO, 0.4),
        ("  3e26FLOP ", Dimension.FLOPS, 3e26),
    ],
)
def test_quantities_as_people_write_them(text, dimension, value):
    assert parse(text, dimension) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("80 GB", Dimension.BYTES_PER_S),
        ("80 gb", Dimension.BYTES),
        ("80", Dimension.BYTES),
        ("4 m", Dimension.SECONDS),
        ("four y", Dimension.SECONDS),
        ("4 y y", Dimension.SECONDS),
        ("", Dimension.TOKENS),
        ("1e400 y", Dimension.SECONDS),
        ("nan s", Dimension.SECONDS),
        ("1,000 $", Dimension.USD),
    ],
)
def test_a_wrong_quantity_is_refused_with_an_example(text, dimension):
    with pytest.raises(ValueError, match=r"for example|finite"):
        parse(text, dimension)


@given(st.text(max_size=12))
def test_any_text_is_either_a_finite_number_or_refused(text):
    for dimension in Dimension:
        try:
            value = parse(text, dimension)
        except ValueError:
            continue
        assert math.isfinite(value)


class _Part(BaseModel):
    size: Bytes = 0.0
    rate: BytesPerS = 0.0
    wait: Seconds = 0.0
    price: UsdPerS = 0.0
    tariff: UsdPerJ = 0.0
    hazard: PerS = 0.0
    tokens: Tokens = 0.0


@given(POSITIVE)
def test_a_bare_number_is_si_in_code_and_refused_in_a_file(number):
    for name in ("size", "rate", "wait", "price", "tariff", "hazard"):
        assert getattr(_Part(**{name: number}), name) == number
        with pytest.raises(ValidationError, match="has no unit"):
            _Part.model_validate({name: number}, context={"file": "x.yaml"})
    read = _Part.model_validate({"tokens": number}, context={"file": "x.yaml"})
    assert read.tokens == number
