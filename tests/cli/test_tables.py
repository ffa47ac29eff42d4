"""Tables that a person can read in 80 columns."""

from __future__ import annotations

import pytest

from gigafactory.cli.main import status
from gigafactory.cli.show import put, table


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def lines_of(capsys, *args):
    assert status(list(args)) == 0
    return capsys.readouterr().out.splitlines()


def test_campaigns_keep_their_figures_on_one_line(capsys):
    lines = lines_of(capsys, "validate", "tests/published/outcome_rows.csv")
    tables = lines[: lines.index(next(line for line in lines if line.startswith("Class A:")))]
    assert max(map(len, tables)) <= 80
    assert any(line.startswith("V28  mean job") and "1.05 times to 1.5 times" in line
               for line in tables)  # fmt: skip
    assert any(line.startswith("V37  over-provisioning  ") for line in tables)
    assert any(line.startswith("V07 V09 V14  wall-clock MTBF") for line in tables)


def test_scales_stand_in_their_order(capsys):
    lines = lines_of(capsys, "validate", "tests/published/training_rows.csv")
    first = [int(line.split()[0]) for line in lines if " GPUs " in line and line[0].isdigit()]
    assert len(first) > 3
    assert first == sorted(first)


def test_a_title_is_as_long_as_it_is(capsys):
    put(table("A title that is wider than its table", ("", ""), [("a", "1"), ("[b]", "2")]))
    assert capsys.readouterr().out.splitlines()[0] == "A title that is wider than its table"


def test_words_from_a_file_are_no_markup(capsys):
    put(table("", ("", ""), [("[bold]x[/bold]", "1")]))
    assert "[bold]x[/bold]" in capsys.readouterr().out
