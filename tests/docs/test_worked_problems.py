"""The worked problems of docs/cost are computed again, and what the pages print must be right.

A page states a result in a line ``> result: key = 3.81 $/GPU-h``. In worked.py every key has its
unit and its computation with the project's own functions. Nothing is printed without being
computed, and nothing is computed without being printed.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.token_constants import ServingCalibration

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "cost"
INDEX = FOLDER / "README.md"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page != INDEX)
RESULT = re.compile(r"^> result: (?P<key>\w+) = (?P<number>\S+)(?: (?P<unit>.+))?$", re.M)
NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?")


_spec = importlib.util.spec_from_file_location("worked", Path(__file__).with_name("worked.py"))
assert _spec
assert _spec.loader
worked = importlib.util.module_from_spec(_spec)
sys.modules["worked"] = worked
_spec.loader.exec_module(worked)
PROBLEMS = worked.PROBLEMS


@dataclass(frozen=True)
class Printed:
    """A result line of a page."""

    key: str
    number: str
    unit: str

    @property
    def value(self) -> float:
        return float(self.number.replace(",", ""))

    @property
    def num_digits(self) -> int:
        """Significant digits, zeros at the end included."""
        return len(re.sub(r"[^\d]", "", self.number).lstrip("0"))

    def says(self, computed: float) -> bool:
        """True where the print is ``computed``, rounded to three digits or more."""
        decimals = len(self.number.partition(".")[2])
        if self.num_digits < 3 and self.value != computed:
            return False
        # half of the last digit, and a hair for decimals that binary numbers do not have
        return abs(self.value - computed) <= 0.5 * 10.0**-decimals * (1 + 1e-9)


def printed(page: Path) -> list[Printed]:
    """The result lines of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [Printed(m["key"], m["number"], m["unit"] or "") for m in RESULT.finditer(text)]


def every_result() -> Iterator[tuple[str, Printed]]:
    for page in PAGES:
        for result in printed(page):
            yield page.stem, result


@pytest.mark.parametrize(
    ("page", "result"), [pytest.param(*r, id=r[1].key) for r in every_result()]
)
def test_a_result_is_what_the_project_computes(page: str, result: Printed) -> None:
    stated = PROBLEMS.get(page, {}).get(result.key)
    assert stated, f"docs/cost/{page}.md: nothing computes the result {result.key!r}"
    computed = float(stated.compute())
    assert NUMBER.fullmatch(result.number), f"{result.number!r} is no plain number"
    assert result.unit == stated.unit
    assert result.says(computed), (
        f"docs/cost/{page}.md prints {result.key} = {result.number}, computed is {computed:.6g}"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_prints_each_of_its_problems_once(page: Path) -> None:
    keys = [result.key for result in printed(page)]
    assert keys, f"{page.name} has no result line"
    assert sorted(keys) == sorted(PROBLEMS.get(page.stem, {}))
    # a line that was meant as a result and is not read as one would go unchecked
    assert len(keys) == page.read_text(encoding="utf-8").lower().count("result:")


def test_no_computation_is_without_a_page() -> None:
    assert sorted(PROBLEMS) == [page.stem for page in PAGES]


def test_the_index_leads_to_every_page_and_every_file_of_equations() -> None:
    text = INDEX.read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)\.md\)", text)) == {page.stem for page in PAGES}
    files = {file.name for file in (ROOT / "src/gigafactory/cost").glob("*.py")} - {"__init__.py"}
    assert {name for name in files if f"`{name}`" not in text} == set()


def test_every_constant_is_named_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    kinds = (Calibration, ServingCalibration)
    constants = {field.name for kind in kinds for field in fields(kind)}
    assert {name for name in constants if f"`{name}`" not in text} == set()


@pytest.mark.parametrize(
    ("number", "computed", "right"),
    [
        ("3.81", 3.8052, True),
        ("3.80", 3.8052, False),
        ("3.8", 3.8052, False),
        ("4", 4.0, True),
        ("0.0586", 0.05859, True),
        ("0.059", 0.05859, False),
        ("12,160", 12_160.4, True),
        ("12,161", 12_160.4, False),
    ],
)
def test_a_print_is_held_to_all_its_digits_and_to_three(
    number: str, computed: float, right: bool
) -> None:
    assert Printed("key", number, "").says(computed) is right
