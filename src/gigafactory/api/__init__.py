"""The verbs as functions: what the command line calls and what a notebook imports.

Each takes a study file (or a ready Study) and returns an object with ``to_json()`` or fields;
nothing here prints. The clock is read here and in run/, never in the pure rooms.
"""

from gigafactory.api.campaign import Followed, figures, follow, plainly, simulate
from gigafactory.api.campaigns import (
    ANSWERS_CAMPAIGNS,
    SWEEP_CAMPAIGNS,
    answers,
    ensemble,
    sweep,
)
from gigafactory.api.chatbot import add_key, ask, chat, list_keys, load_chat, revoke_key
from gigafactory.api.elsewhere import ordered, rendered, send
from gigafactory.api.engines import serving_files
from gigafactory.api.exported import export
from gigafactory.api.factory import configure, describe, is_service, load, load_any
from gigafactory.api.files import (
    ANSWERS_FILE,
    DECISIONS_FILE,
    DESCRIPTION_FILE,
    ENSEMBLE_FILE,
    FLEET_FILE,
    FLEET_PLAN_FILE,
    LEDGER_FILE,
    PLAN_FILE,
    REPORT_FILE,
    RESULT_FILE,
    TWIN_FILE,
    Drafts,
    sweep_file,
    together,
)
from gigafactory.api.fleet import plan_service, simulate_service, vary_service
from gigafactory.api.judged import replay, report, validate
from gigafactory.api.layouts import emit, plan
from gigafactory.api.reality import calibrate, chaos, run
from gigafactory.api.truth import (
    ask_posts,
    audit_page,
    check_claim,
    choose_retrieval,
    delete_posts,
    erase_author,
    import_posts,
    rate_answers,
    score_support,
    switch_answers,
    verify_audit,
)
from gigafactory.api.x import run_x_bot

__all__ = [
    "ANSWERS_CAMPAIGNS",
    "ANSWERS_FILE",
    "DECISIONS_FILE",
    "DESCRIPTION_FILE",
    "ENSEMBLE_FILE",
    "FLEET_FILE",
    "FLEET_PLAN_FILE",
    "LEDGER_FILE",
    "PLAN_FILE",
    "REPORT_FILE",
    "RESULT_FILE",
    "SWEEP_CAMPAIGNS",
    "TWIN_FILE",
    "Drafts",
    "Followed",
    "add_key",
    "answers",
    "ask",
    "ask_posts",
    "audit_page",
    "calibrate",
    "chaos",
    "chat",
    "check_claim",
    "choose_retrieval",
    "configure",
    "delete_posts",
    "describe",
    "emit",
    "ensemble",
    "erase_author",
    "export",
    "figures",
    "follow",
    "import_posts",
    "is_service",
    "list_keys",
    "load",
    "load_any",
    "load_chat",
    "ordered",
    "plainly",
    "plan",
    "plan_service",
    "rate_answers",
    "rendered",
    "replay",
    "report",
    "revoke_key",
    "run",
    "run_x_bot",
    "score_support",
    "send",
    "serving_files",
    "simulate",
    "simulate_service",
    "sweep",
    "sweep_file",
    "switch_answers",
    "together",
    "validate",
    "vary_service",
    "verify_audit",
]
