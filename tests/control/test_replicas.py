"""Replica groups: who is dropped, who goes on, and what is left when more breaks meanwhile."""

from __future__ import annotations

import pytest

from gigafactory.control import actions as act
from gigafactory.control import events as ev
from gigafactory.control.config import Prices
from gigafactory.control.states import Phase
from gigafactory.describe.policy import Recovery

PRICES = Prices(
    recovery=Recovery.REPLICAS, num_replicas=4, replica_hosts=2, peer_stride=2, drop_s=0.1,
    join_s=0.1,
)  # fmt: skip


@pytest.fixture
def replicas(bench_with):
    """Eight hosts in four replicas of two, and two spares; step 100 is in the store."""
    bench = bench_with(prices=PRICES)
    bench.run(num_hosts=8, num_spares=2)
    return bench


def test_nobody_keeps_a_copy_in_a_replica_that_is_out(replicas):
    """With replica 3 out, the copies of replica 2 lie in replica 0."""
    replicas.tell(ev.HostsDied, hosts=(6, 7, 8, 9), cause="power feed")
    (drop,) = replicas.asked(act.DropReplicas)
    assert drop.replicas == (3,)
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.HostsDied, hosts=(0, 4), cause="xid 79")
    for host in (0, 4, 6, 7):
        replicas.tell(ev.HostRepaired, host=host)
    replicas.tell(ev.GangStopped)
    assert (replicas.start().tier, replicas.start().step) == (act.Tier.STORE, 100)


def test_copies_survive_in_a_ring_that_passes_a_replica_over(replicas):
    replicas.tell(ev.HostsDied, hosts=(6, 7, 8, 9), cause="power feed")
    replicas.tell(ev.StepsDone, step=200, peer_step=200)
    replicas.tell(ev.HostsDied, hosts=(0, 5), cause="xid 79")
    assert replicas.brain.phase is Phase.RUNNING
    replicas.tell(ev.RankExited, host=2, exit=ev.Exit.KILLED)
    assert replicas.brain.phase is Phase.STOPPING
    for host in (0, 5, 6, 7):
        replicas.tell(ev.HostRepaired, host=host)
    replicas.tell(ev.GangStopped)
    assert (replicas.start().tier, replicas.start().step) == (act.Tier.PEER, 200)
