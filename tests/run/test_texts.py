"""Files that a training job reads are looked at first, all at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.study import Study
from gigafactory.run.texts import check_texts

STUDY = Path(__file__).parents[2] / "studies" / "first-light.yaml"


def with_train(study: Study, **train: object) -> Study:
    return Study.model_validate(study.model_dump() | {"train": train})


def test_paths_are_relative_to_the_study_that_says_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"extends: {STUDY}\nstudy: mine\n"
        "train:\n  mixture: [{path: notes.txt}, {corpus: chitchat, weight: 3}]\n"
    )
    study = load_study(file)
    assert study.train is not None
    assert study.train.mixture[0].path == str(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"train\.mixture: .*/notes\.txt is not a file"):
        check_texts(study)
    (tmp_path / "notes.txt").write_text("here")
    check_texts(study)
    here = load_study(file, overrides=["train.stage=sft", "train.base=runs/base"])
    assert here.train is not None
    assert here.train.base == str(Path("runs/base").resolve())


def test_a_base_must_be_a_finished_run_of_the_same_model(micro: Study, tmp_path: Path) -> None:
    study = with_train(micro, stage="sft", base=str(tmp_path))
    with pytest.raises(InputError, match="holds no finished run"):
        check_texts(study)
    config = tmp_path / "model" / "config.json"
    config.parent.mkdir()
    config.write_text("{}")
    with pytest.raises(InputError, match="was not written by `giga run`"):
        check_texts(study)
    described = micro.model.model_dump(mode="json")
    config.write_text(json.dumps({"gigafactory": {"model": described}}))
    check_texts(study)
    config.write_text(json.dumps({"gigafactory": {"model": described | {"topk": 1}}}))
    with pytest.raises(InputError, match="is another model: topk 1 there, 2 here"):
        check_texts(study)


def test_compiling_needs_a_compiler(micro: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study = with_train(micro, compile=True)
    monkeypatch.setenv("CXX", "sh")
    check_texts(study)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"train\.compile: .*no-such-compiler.*; use false"):
        check_texts(study)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{stage: sft}", "stage sft needs base"),
        ("{base: runs/x}", "stage pretrain has none"),
        ("{mixture: [{corpus: kjv}, {path: a/kjv.txt}]}", "names a source twice: kjv, kjv"),
        ("{mixture: [{corpus: kjv, path: a.txt}]}", "either corpus or path"),
        ("{mixture: [{path: a.pdf}]}", "path"),
        ("{optimizer: sgd}", "adamw"),
    ],
)
def test_wrong_training_options_are_named(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: {STUDY}\nstudy: mine\ntrain: {line}\n")
    with pytest.raises(InputError, match=says):
        load_study(file)
