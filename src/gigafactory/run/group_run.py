"""A run with replica groups, from its beginning or from where an earlier driver left it."""

from __future__ import annotations

import time
from dataclasses import replace

from gigafactory.control.config import ControlConfig
from gigafactory.control.controller import Controller
from gigafactory.describe.policy import Recovery
from gigafactory.ledger.entries import Closed, Entry, Rollback, Steps
from gigafactory.ledger.replay import rebuild
from gigafactory.run.drive import Common
from gigafactory.run.engines import ours
from gigafactory.run.epochs import Epochs
from gigafactory.run.group_campaign import GroupCampaign, group_files
from gigafactory.run.launchers.groups import GroupLauncher
from gigafactory.run.sensors.groups import GroupSight

_FULL_DISK_S = 0.2


def has_groups(config: ControlConfig) -> bool:
    """Whether the run goes on without a part of its hosts."""
    return config.prices.recovery is Recovery.REPLICAS and config.prices.num_replicas > 1


def with_copies(config: ControlConfig) -> ControlConfig:
    """Every group holds the whole state in its memory anyway."""
    prices = config.prices
    return replace(config, prices=replace(prices, peer_stride=prices.replica_hosts))


def wait_for_room() -> None:
    """The disk is full: nothing is decided until it can be written down; training goes on."""
    time.sleep(_FULL_DISK_S)


def drive_groups(
    common: Common,
    *,
    config: ControlConfig,
    past: list[Entry],
    committed_step: int | None,
    wake_descriptor: int,
) -> GroupCampaign:
    """Drive until the campaign is over; processes of an earlier driver are taken over."""
    place = common.place
    control_file, members_file = group_files(place.root)
    launcher = GroupLauncher(
        logs=place.logs,
        control_file=control_file,
        members_file=members_file,
        wake_descriptor=wake_descriptor,
    )
    try:
        launcher.open()
        return _drive(common, launcher, config, past, committed_step)
    finally:
        launcher.close(kill=True)


def _drive(
    common: Common,
    launcher: GroupLauncher,
    config: ControlConfig,
    past: list[Entry],
    committed_step: int | None,
) -> GroupCampaign:
    if past and not isinstance(past[-1].content, Closed):
        campaign = _campaign(common, launcher, rebuild(past))
        if campaign.reattach(_last_step(past)):
            while campaign.finish is None:
                campaign.turn()
            return campaign
    campaign = _campaign(common, launcher, Controller(config))
    campaign.sight.step = committed_step or 0
    _write_task(common, config)
    campaign.drive(committed_step=committed_step)
    return campaign


def _campaign(common: Common, launcher: GroupLauncher, controller: Controller) -> GroupCampaign:
    sight = GroupSight(
        generation=controller.generation,
        ladder=controller.config.ladder,
        num_steps=common.study.job.num_steps,
        step=0,
    )
    epochs = Epochs(launcher=launcher, sight=sight)
    return GroupCampaign(
        common=common, controller=controller, launcher=launcher, sight=sight, epochs=epochs
    )


def _last_step(past: list[Entry]) -> int:
    """The newest step in the book that was not taken back."""
    for entry in reversed(past):
        if isinstance(entry.content, Steps | Rollback):
            return entry.content.step
    return 0


def _write_task(common: Common, config: ControlConfig) -> None:
    place = common.place
    place.rendezvous.mkdir(exist_ok=True)
    for old in place.rendezvous.iterdir():
        old.unlink()
    task = ours.render_group_task(
        common.study,
        common.plan.best.layout,
        num_replicas=config.prices.num_replicas,
        directory=place.root.resolve(),
    )
    place.task.write_text(task.model_dump_json(indent=2) + "\n")
