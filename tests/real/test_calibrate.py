"""`giga calibrate` on this machine, with sizes so small that it takes seconds."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from gigafactory.catalog.calibrations import read_calibration, write_calibration
from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.measured import DeviceKind, Piece, Unit
from gigafactory.plan.search import plan
from gigafactory.run.measuring import Wish, measure

pytest.importorskip("torch")
pytestmark = pytest.mark.real


def test_a_machine_is_measured_and_a_study_planned_with_it(tmp_path):
    shares: list[float] = []
    wish = Wish(duration_s=0.5, num_ranks=2, device=DeviceKind.CPU, is_tiny=True)
    measured = measure(wish, date="2026-11-24", watch=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert measured.num_ranks == 2
    assert measured.together
    # any processor since 1985 and before 2100
    assert 1e-7 < measured.alone[Piece.LAUNCH][Unit.CALL].value < 1e-2
    file = tmp_path / "here.yaml"
    file.write_text(write_calibration(measured))
    assert read_calibration(file) == measured
    found = plan(load_study("studies/first-light.yaml", overrides=(f"calibration={file}",)))
    assert 1e-3 < found.best.step_s < 1e3
    assert measured.machine in found.calibration


def test_a_device_that_is_not_there_is_refused():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        measure(Wish(duration_s=0.1, device=DeviceKind.CUDA), date="")


def test_more_ranks_than_anybody_has_are_refused():
    done = subprocess.run(
        [sys.executable, "-m", "gigafactory.cli", "calibrate", "--ranks", "1000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--ranks 1000: this machine can take 1 to" in done.stderr


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    from gigafactory.cli.main import status
    from gigafactory.run import measuring

    monkeypatch.setattr(measuring, "QUICK_S", 0.5)
    monkeypatch.setattr(measuring, "Wish", functools.partial(Wish, is_tiny=True))
    out = tmp_path / "quick.yaml"
    assert status(["calibrate", "--quick", "--ranks", "1", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("file") == str(out)
    assert printed == read_calibration(out).model_dump(mode="json")
