"""A small book, written by the real controller."""

from __future__ import annotations

import pytest

from gigafactory.control import events as ev
from gigafactory.control.config import ControlConfig, config_to_json
from gigafactory.control.controller import Controller
from gigafactory.control.timeouts import ladder
from gigafactory.ledger.entries import (
    Bucket,
    BucketFrom,
    CheckpointKept,
    Closed,
    FaultStruck,
    Opened,
    Rollback,
    Steps,
    World,
)

CONFIG = ControlConfig(
    ladder=ladder(
        heartbeat_floor_s=10, collective_floor_s=60, join_floor_s=300, report_s=1, start_s=30
    )
)


def opened(**changes):
    content = {
        "world": World.TWIN,
        "study": "toy",
        "seed": 3,
        "num_gpus": 32,
        "gpus_per_host": 8,
        "num_spare_gpus": 8,
        "num_steps": 30,
        "tokens_per_step": 1000,
        "flops_per_step": 3.2e13,
        "peak_flops_per_s": 2e12,
        "step_s": 1.0,
        "rent_usd_per_gpu_s": 0.001,
        "electricity_usd_per_j": 1e-7,
        "training_w_per_gpu": 1000.0,
        "idle_w_per_gpu": 200.0,
        "pue": 1.5,
        "controller": config_to_json(CONFIG),
    }
    return Opened(**(content | changes))


@pytest.fixture
def opening():
    return opened


def tell_campaign(ledger):
    """Start, 20 steps, a lost host, 10 steps redone and more, done."""
    brain = Controller(CONFIG)

    def tell(kind, at_s, **content):
        event = kind(at_s=at_s, **content)
        actions = brain.handle(event)
        ledger.decide(event, actions, state_hash=brain.state_hash, generation=brain.generation)

    ledger.write(opened(), at_s=0.0)
    tell(ev.Launched, 0.0, hosts=(0, 1, 2, 3), spares=(4,), num_steps=30)
    ledger.write(BucketFrom(bucket=Bucket.RENDEZVOUS), at_s=0.0)
    tell(ev.GangReady, 10.0, generation=1, step=0)
    ledger.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=10.0)
    tell(ev.StepsDone, 20.0, generation=1, step=10)
    ledger.write(Steps(step=10, num_steps=10, step_s=1.0, loss=5.0), at_s=20.0)
    tell(ev.CheckpointCommitted, 20.0, generation=1, step=10)
    ledger.write(CheckpointKept(step=10, save_s=1.0), at_s=20.0)
    tell(ev.StepsDone, 30.0, generation=1, step=20)
    ledger.write(Steps(step=20, num_steps=10, step_s=1.0, loss=4.0), at_s=30.0)
    ledger.write(FaultStruck(cause="gpu", fault="host", hosts=(2,)), at_s=30.5)
    ledger.write(BucketFrom(bucket=Bucket.DETECT), at_s=30.5)
    tell(ev.HostsDied, 32.5, hosts=(2,), cause="xid 79")
    ledger.write(BucketFrom(bucket=Bucket.REPLACE), at_s=32.5)
    tell(ev.GangStopped, 34.5, generation=1)
    ledger.write(Rollback(step=10), at_s=34.5)
    ledger.write(BucketFrom(bucket=Bucket.RESTORE), at_s=34.5)
    tell(ev.GangReady, 44.5, generation=2, step=10)
    ledger.write(BucketFrom(bucket=Bucket.PRODUCTIVE), at_s=44.5)
    tell(ev.StepsDone, 64.5, generation=2, step=30)
    ledger.write(Steps(step=30, num_steps=20, step_s=1.0, loss=3.0), at_s=64.5)
    tell(ev.CheckpointCommitted, 64.5, generation=2, step=30)
    ledger.write(CheckpointKept(step=30, save_s=1.0), at_s=64.5)
    tell(ev.GangStopped, 65.0, generation=2)
    ledger.write(Closed(outcome="done", step=30), at_s=65.0)


@pytest.fixture
def campaign():
    return tell_campaign
