"""What a training job reads besides its study, looked at before anything is started."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from gigafactory.describe.errors import InputError
from gigafactory.describe.model import Model, differences
from gigafactory.describe.study import Study

_CONFIG = Path("model") / "config.json"


def check_texts(study: Study) -> None:
    """InputError with everything of ``train`` that is not there or does not fit."""
    if study.train is None:
        return
    wrong = [
        f"train.mixture: {source.path} is not a file"
        for source in study.train.sources
        if source.path is not None and not Path(source.path).is_file()
    ]
    compiler = os.environ.get("CXX", "g++")
    if study.train.compile and shutil.which(compiler) is None:
        wrong.append(f"train.compile: there is no C++ compiler here ({compiler}); use false")
    if study.train.base is not None:
        wrong += _wrong_base(Path(study.train.base), study.model)
    if wrong:
        raise InputError("\n".join(wrong))


def _wrong_base(base: Path, model: Model) -> list[str]:
    try:
        config = json.loads((base / _CONFIG).read_text())
        found = Model.model_validate(config["gigafactory"]["model"])
    except OSError:
        return [f"train.base: {base} holds no finished run; {base / _CONFIG} cannot be read"]
    except (ValueError, KeyError, TypeError, ValidationError):
        return [f"train.base: {base / _CONFIG} was not written by `giga run`"]
    return [f"train.base: {base} is another model: {one}" for one in differences(found, model)]
