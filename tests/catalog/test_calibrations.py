"""A calibration file is read as strictly as a study, and a study can name one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gigafactory.catalog.calibrations import read_calibration, write_calibration
from gigafactory.catalog.studies import load_study
from gigafactory.cli.main import status
from gigafactory.describe.errors import InputError
from gigafactory.plan.search import plan

FIRST_LIGHT = Path("studies/first-light.yaml").resolve()


@pytest.fixture
def file(tmp_path: Path, machine) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(write_calibration(machine()), encoding="utf-8")
    return path


def changed(file: Path, change) -> Path:
    yaml = YAML()
    tree = yaml.load(file.read_text())
    change(tree)
    with file.open("w") as out:
        yaml.dump(tree, out)
    return file


def test_what_is_written_is_read_back(file, machine):
    assert read_calibration(file) == machine()


def test_a_study_names_it_relative_to_itself(file, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(f"extends: {FIRST_LIGHT}\nstudy: mine\ncalibration: mine.yaml\n")
    found = plan(load_study(study))
    assert "made up" in found.calibration
    assert found.best.breakdown_s["host_s"] > 0
    rough = plan(load_study(FIRST_LIGHT))
    assert rough.calibration == ""
    assert rough.best.step_s != found.best.step_s


def test_an_override_names_it_relative_to_here(file, machine, tmp_path, monkeypatch):
    shutil.copy(FIRST_LIGHT, tmp_path / "light.yaml")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    study = load_study("../light.yaml", overrides=("calibration=../mine.yaml",))
    assert study.calibration == machine()


def test_our_program_is_not_planned_with_the_rates_of_a_gpu(file):
    changed(file, lambda t: t.update(device="cuda"))
    with pytest.raises(InputError, match="giga calibrate --device cpu"):
        load_study(FIRST_LIGHT, overrides=(f"calibration={file}",))


def test_a_searched_study_of_our_program_gets_a_layout_it_can_run(file):
    study = load_study(FIRST_LIGHT, overrides=(f"calibration={file}", "layout=null"))
    best = plan(study).best.layout
    assert best.tp == best.pp == best.ep == best.cp == 1


def test_another_study_takes_the_rates(file):
    calibrated = load_study("studies/grok-1-512.yaml", overrides=(f"calibration={file}",))
    slow = plan(calibrated).best.step_s
    assert slow > plan(load_study("studies/grok-1-512.yaml")).best.step_s


WRONG = [
    (lambda t: t.pop("alone"), "alone: is missing"),
    (lambda t: t.update(colour="red"), "colour: unknown key; known: schema_version, device"),
    (lambda t: t.update(schema_version=2), "schema_version: the file has version 2, .* version 1"),
    (lambda t: t.pop("schema_version"), "schema_version: the file has no version"),
    (lambda t: t["alone"].pop("stream"), "alone: pieces missing or out of place: stream"),
    (lambda t: t["alone"].update(gemm={}), "out of place: gemm"),
    (
        lambda t: t["formats"]["bf16"]["gate"].pop("s_per_element"),
        "formats.bf16.gate: needs exactly the keys s_per_call, s_per_element",
    ),
    (
        lambda t: t["alone"]["launch"]["s_per_call"].update(value=7.0),
        "alone.launch.s_per_call: 7.0 lies outside its range 0.0 to 1.0",
    ),
    (
        lambda t: t["alone"]["launch"]["s_per_call"].update(value="fast"),
        "alone.launch.s_per_call.value: .*number",
    ),
    (lambda t: t["alone"]["launch"]["s_per_call"].pop("source"), "s_per_call.source: is missing"),
    (lambda t: t.update(num_ranks=1), "together: pieces missing or out of place"),
    (lambda t: t.update(device="abacus"), "device: .*'cpu' or 'cuda'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_is_wrong_is_said_with_its_place(file, change, said):
    with pytest.raises(InputError, match=said) as error:
        read_calibration(changed(file, change))
    assert str(error.value).startswith(str(file))


def test_the_command_line_says_it_too(file, capsys):
    changed(file, lambda t: t.update(schema_version=9))
    assert status(["plan", str(FIRST_LIGHT), "--set", f"calibration={file}"]) == 2
    assert "version 9" in capsys.readouterr().err
    assert status(["plan", str(FIRST_LIGHT), "--set", "calibration=nowhere.yaml"]) == 2
    assert "--set: calibration: nowhere.yaml: no such file" in capsys.readouterr().err
    assert status(["plan", str(FIRST_LIGHT), "--set", "calibration=7"]) == 2
    assert "must be the path of a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("layout.dp=4", "measured with 2 ranks at once, and 4 would run"),
        ("train.threads_per_worker=2", "measured with 1 threads a rank"),
        ("layout.recompute=full", "only data parallel layouts"),
    ],
)
def test_what_was_not_measured_is_not_told(file, override, said):
    with pytest.raises(InputError, match=said):
        plan(
            load_study(
                FIRST_LIGHT, overrides=(f"calibration={file}", override, "cluster.host.num_gpus=4")
            )
        )
