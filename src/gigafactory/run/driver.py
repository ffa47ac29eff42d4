"""The public door of `giga run`: a study and a plan in, a trained model and a ledger out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from gigafactory.control.actions import Outcome
from gigafactory.control.config import ControlConfig, config_from_json
from gigafactory.control.controller import Controller
from gigafactory.control.from_study import config_from_study
from gigafactory.describe.errors import InputError, JobError
from gigafactory.describe.policy import Recovery
from gigafactory.describe.study import Study
from gigafactory.ledger.entries import (
    SCHEMA,
    Bucket,
    BucketFrom,
    Closed,
    Entry,
    FaultStruck,
    Opened,
    Rollback,
)
from gigafactory.ledger.reader import read_ledger
from gigafactory.ledger.summary import Summary
from gigafactory.ledger.writer import LedgerWriter
from gigafactory.plan.chosen import Plan
from gigafactory.run import checkpoints
from gigafactory.run.campaign import Campaign
from gigafactory.run.directory import (
    RunDirectory,
    check_identity,
    check_space,
    clear,
    locked,
    shelve_book,
)
from gigafactory.run.drive import Common, Drive
from gigafactory.run.engines import ours
from gigafactory.run.group_run import drive_groups, has_groups, wait_for_room, with_copies
from gigafactory.run.launchers.launcher import Launcher
from gigafactory.run.launchers.local import LocalLauncher
from gigafactory.run.opening import num_hosts_of, opening
from gigafactory.run.progress import Observer, Progress, RunResult, Stage, tokens_per_s
from gigafactory.run.sensors.gang import DRILL_CAUSE, TELL_STEPS_EVERY_S
from gigafactory.run.signals import stop_signals
from gigafactory.run.texts import check_texts

__all__ = ["Observer", "Progress", "RunResult", "Stage", "run"]

NUM_KEPT_CHECKPOINTS = 3
#: Nobody watches who could lift a hold; this leaves time for what lifts itself.
MAX_HOLD_S = 2.0

OpenLauncher = Callable[[Path, int], Launcher]
"""A launcher from the folder for the ranks' output and a descriptor that wakes its ``poll``."""


def run(
    study: Study,
    *,
    plan: Plan,
    run_dir: Path,
    fresh: bool = False,
    observer: Observer | None = None,
    open_launcher: OpenLauncher | None = None,
) -> RunResult:
    """Train ``study`` by ``plan.best`` in ``run_dir``, or go on with what is begun there.

    ``fresh`` removes an earlier run first. ``open_launcher`` says where ranks run (default: here).
    Where the layout has changed, the run goes on from its newest checkpoint in a new book, and the
    old one is kept beside it. SIGINT and SIGTERM stop at the next checkpoint, a second one at once.
    The outcome tells whether the job is done, stopped or failed. InputError where study, layout or
    directory do not fit; JobError where the machine does not let it begin.
    """
    ours.check(study, plan.best.layout)
    check_texts(study)
    with locked(run_dir) as place:
        if fresh:
            clear(place)
        past = past_of(place)
        is_drill_due = study.drill is not None and not _was_drilled(past)
        if check_identity(place, study, plan.best.layout):
            shelve_book(place)
            past = []
        needed = ours.disk_bytes(study, num_kept=NUM_KEPT_CHECKPOINTS)
        check_space(place, needed_bytes=needed)
        try:
            return _drive(
                study, plan, place, past=past, observer=observer, is_drill_due=is_drill_due,
                open_launcher=open_launcher,
            )  # fmt: skip
        except OSError as error:
            where = error.filename or run_dir
            raise JobError(f"{where}: {error.strerror or error}") from error


def past_of(place: RunDirectory) -> list[Entry]:
    """The book so far; InputError where the run in it is finished."""
    if not place.ledger.exists() or place.ledger.stat().st_size == 0:
        return []
    entries = read_ledger(place.ledger, tolerate_torn=True)
    last = entries[-1].content
    if isinstance(last, Closed) and last.outcome == Outcome.DONE and place.model.is_dir():
        raise InputError(
            f"{place.root} holds a finished run ({last.step} steps, model in {place.model}); "
            "begin anew with --fresh, or choose another --dir"
        )
    return entries


def _drive(
    study: Study,
    plan: Plan,
    place: RunDirectory,
    *,
    past: list[Entry],
    observer: Observer | None,
    is_drill_due: bool,
    open_launcher: OpenLauncher | None,
) -> RunResult:
    config = _config(study, plan, past, is_local=open_launcher is None)
    committed_step = checkpoints.newest_complete(place.checkpoints)
    away_s = max(0.0, time.time() - place.ledger.stat().st_mtime) if past else 0.0
    with (
        stop_signals() as (requests, wake_descriptor),
        LedgerWriter(place.ledger, resume=bool(past), on_full=wait_for_room) as ledger,
    ):
        if not past:
            opened = opening(
                study, plan, config=config, first_step=committed_step or 0,
                num_spare_hosts=study.own_cluster.num_spare_hosts if open_launcher else 0,
            )  # fmt: skip
            ledger.write(opened, at_s=0.0)
        common = Common(
            study=study,
            plan=plan,
            place=place,
            ledger=ledger,
            observer=observer,
            away_s=away_s,
            is_new=not _has_trained(past),
            is_drill_due=is_drill_due,
            stop_requests=requests,
        )
        if has_groups(config):
            campaign: Drive = drive_groups(
                common, config=config, past=past, committed_step=committed_step,
                wake_descriptor=wake_descriptor,
            )  # fmt: skip
        else:
            launcher = (open_launcher or LocalLauncher)(place.logs, wake_descriptor)
            campaign = _drive_gang(
                common, config=config, committed_step=committed_step, launcher=launcher
            )
        _close(ledger, campaign, place)
        summary = ledger.summary()
    went_on_at = committed_step if campaign.took_over_at is None else campaign.took_over_at
    return _result(study, place, campaign, summary=summary, resumed_from_step=went_on_at)


def _drive_gang(
    common: Common, *, config: ControlConfig, committed_step: int | None, launcher: Launcher
) -> Campaign:
    campaign = Campaign(common=common, controller=Controller(config), launcher=launcher)
    try:
        campaign.drive(committed_step=committed_step)
    finally:
        launcher.stop()
    return campaign


def _config(study: Study, plan: Plan, past: list[Entry], *, is_local: bool) -> ControlConfig:
    """The book's own, so that it can be replayed whole; a new book gets the study's.

    Replica groups are for one machine: elsewhere a failure starts the gang again.
    """
    if past and isinstance(opened := past[0].content, Opened):
        if opened.schema != SCHEMA:
            raise InputError(
                f"the ledger there is of schema {opened.schema!r}, written by a controller with "
                "other rules: begin anew with --fresh, or choose another --dir"
            )
        held = config_from_json(opened.controller)
        if has_groups(held) and not is_local:
            raise InputError(
                "the run there was begun with replica groups on one machine, and can only go on "
                "there: begin anew with --fresh, or choose another --dir"
            )
        return held
    if study.policy.recovery is Recovery.REPLICAS and is_local:
        config = _new_config(study, plan, Recovery.REPLICAS)
        if has_groups(config):
            ours.check_groups(study, plan.best.layout)
            return with_copies(config)
    return _new_config(study, plan, Recovery.RESTART)


def _new_config(study: Study, plan: Plan, recovery: Recovery) -> ControlConfig:
    return config_from_study(
        study,
        # a gang that starts as one is one replica
        layout=plan.best.layout if recovery is Recovery.REPLICAS else None,
        num_hosts=num_hosts_of(study, plan),
        step_s=plan.best.step_s,
        report_s=TELL_STEPS_EVERY_S,
        max_hold_s=MAX_HOLD_S,
        recovery=recovery,
    )


def check_groups(study: Study, plan: Plan) -> None:
    """InputError where the run would not have replica groups, with what is missing."""
    ours.check(study, plan.best.layout)
    if not has_groups(_config(study, plan, [], is_local=True)):
        raise InputError(
            f"study {study.study!r} trains as one gang; chaos needs policy.recovery: replicas, "
            "layout.dp above 1, and hosts that each hold whole replicas (cluster.host.num_gpus)"
        )


def _has_trained(past: list[Entry]) -> bool:
    return any(entry.content == BucketFrom(bucket=Bucket.PRODUCTIVE) for entry in past)


def _was_drilled(past: list[Entry]) -> bool:
    faults = (entry.content for entry in past if isinstance(entry.content, FaultStruck))
    return any(fault.cause.startswith(DRILL_CAUSE) for fault in faults)


def _close(ledger: LedgerWriter, campaign: Drive, place: RunDirectory) -> None:
    """The last entries: what was not committed is lost, and how it ended."""
    committed_step = campaign.controller.committed_step or 0
    saved_step = checkpoints.newest_complete(place.checkpoints) or 0
    if saved_step <= campaign.reached_step:
        # made while the gang was stopped already: the next run goes on from it
        committed_step = max(committed_step, saved_step)
    finish = campaign.finish
    assert finish is not None
    if finish.outcome is not Outcome.DONE:
        ledger.write(Rollback(step=committed_step), at_s=campaign.now_s())
    closed = Closed(outcome=finish.outcome.value, reason=campaign.reason, step=committed_step)
    ledger.write(closed, at_s=campaign.now_s())


def _result(
    study: Study,
    place: RunDirectory,
    campaign: Drive,
    *,
    summary: Summary,
    resumed_from_step: int | None,
) -> RunResult:
    """Folded from the book, and kept beside it."""
    finish, finished = campaign.finish, campaign.finished
    assert finish is not None
    result = RunResult(
        outcome=finish.outcome.value,
        reason=campaign.reason,
        steps=summary.last_step,
        num_steps=study.job.num_steps,
        final_loss=summary.losses[-1][1] if summary.losses else None,
        held_out_loss=finished.held_out_loss if finished else None,
        held_out_bits_per_byte=finished.held_out_bits_per_byte if finished else None,
        bits_per_byte_by_source=finished.bits_per_byte_by_source if finished else {},
        tokens_per_s=tokens_per_s(summary, tokens_per_step=study.job.tokens_per_step),
        num_restarts=max(0, summary.num_starts - 1),
        resumed_from_step=resumed_from_step,
        model_dir=place.model if finish.outcome is Outcome.DONE else None,
        run_dir=place.root,
        summary=summary,
    )
    place.result.write_text(json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n")
    return result
