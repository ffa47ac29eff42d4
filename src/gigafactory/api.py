"""The verbs as functions: what the command line calls and what a notebook imports.

Each takes a study file (or a ready Study) and returns an object with ``to_json()`` or fields;
nothing here prints. The clock is read here and in run/, never in the pure rooms.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafactory.describe.errors import InputError
from gigafactory.describe.study import Study

if TYPE_CHECKING:
    from gigafactory.ledger.replay import ReplayResult
    from gigafactory.plan.search import Plan
    from gigafactory.report.page import Chapter
    from gigafactory.run.driver import Progress, RunResult
    from gigafactory.simulate.campaign import CampaignResult

PLAN_FILE = "plan.json"
DESCRIPTION_FILE = "description.json"
TWIN_FILE = "twin.jsonl"
LEDGER_FILE = "ledger.jsonl"
REPORT_FILE = "report.html"


def load(source: Study | str | Path, *, overrides: Iterable[str] = ()) -> Study:
    """A Study as it is, or read from a file; InputError lists everything that is wrong."""
    if isinstance(source, Study):
        return source
    from gigafactory.catalog.studies import load_study

    return load_study(Path(source), overrides=tuple(overrides))
