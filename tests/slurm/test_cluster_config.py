"""The configuration of 12,500 described hosts, read by a real slurmctld and read back from it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.slurm import Slurm
from gigafactory.run.launchers.hostlist import expand
from gigafactory.run.launchers.slurm_cluster import (
    Controller,
    TopologyKind,
    block_text,
    complaints,
    host_names,
    render_cluster,
    tree,
    tree_text,
)
from gigafactory.run.launchers.slurm_text import (
    Switch,
    paths_of,
    rank_order,
    read_record,
    read_topology,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "slurm"
COLOSSUS = Path("studies/colossus.yaml")
SMALL = ("cluster.num_hosts=9", "cluster.num_spare_hosts=1", "cluster.hosts_per_pod=4",
         "cluster.fabric.num_switch_ports=32", "cluster.fabric.num_tiers=null",
         "slurm.cpus_per_host=192")  # fmt: skip


def test_small_clusters_are_the_golden_ones() -> None:
    study = load_study(COLOSSUS, overrides=SMALL)
    files = render_cluster(study.cluster, slurm=study.slurm)
    for name, text in files.items():
        assert text == (GOLDEN / name).read_text(), name


def test_pods_blocks_and_one_root_hold_every_host_once() -> None:
    cluster = load_study(COLOSSUS).cluster
    switches = tree(cluster)
    leaves = [switch for switch in switches if switch.nodes]
    assert len(leaves) == 196
    assert {len(leaf.nodes) for leaf in leaves} == {64, 20}
    # a spine plane of 64 leaves is 8 pods of 8 rails
    assert [len(s.switches) for s in switches if s.name.startswith("tier2")] == [8] * 24 + [4]
    assert switches[-1].name == "core"
    assert complaints(switches, hosts=host_names(cluster.num_hosts)) == []
    assert read_topology(tree_text(switches)) == switches


def test_blocks_are_full_and_double_up_to_a_pod() -> None:
    cluster = load_study(COLOSSUS).cluster
    lines = block_text(cluster).splitlines()
    assert lines[-1] == "BlockSizes=4,8,16,32,64"
    held = [expand(read_record(line)["Nodes"]) for line in lines[:-1]]
    assert {len(block) for block in held} == {4}
    assert [host for block in held for host in block] == host_names(12500)
    odd = cluster.model_copy(update={"num_hosts": 12500, "hosts_per_pod": 66})
    with pytest.raises(InputError, match="12500 hosts are not a multiple of 33, the smallest"):
        block_text(odd)


def mutated(name: str, switches: list[Switch]) -> list[Switch]:
    first, last = switches[0], switches[-1]
    return {
        "twice": [*switches[1:], Switch(first.name, (*first.nodes, switches[1].nodes[0]))],
        "missing": [*switches[1:], Switch(first.name, first.nodes[1:])],
        "unknown": [*switches[1:], Switch(first.name, (*first.nodes, "stranger"))],
        "roots": [*switches[:-1], Switch("core", (), last.switches[:1]),
                  Switch("other", (), last.switches[1:])],
        "nowhere": switches[1:],
        "double": [*switches, first],
        "circle": [*switches, Switch("x", (), ("y",)), Switch("y", (), ("x",))],
        "empty": [*switches[:-1], Switch("core", (), (*last.switches, "z")), Switch("z")],
    }[name]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("twice", "in two leaves: host00065"),
        ("missing", "in no leaf: host00001"),
        ("unknown", "no node of the cluster: stranger"),
        ("roots", "2 roots (core,other)"),
        ("nowhere", "switch pod001 is named below another and described nowhere"),
        ("double", "two switches are called pod001"),
        ("circle", "below no root, in a circle: x,y"),
        ("empty", "switch z has nothing below it"),
    ],
)
def test_contradictions_are_named(name: str, says: str) -> None:
    cluster = load_study(COLOSSUS).cluster
    wrong = complaints(mutated(name, tree(cluster)), hosts=host_names(12500))
    assert any(says in one for one in wrong), wrong


def test_the_command_prints_and_keeps_the_files(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "gigafactory.cli", "describe", str(COLOSSUS), "--emit", "slurm"]
    done = subprocess.run(
        [*argv, "--dir", str(tmp_path)], capture_output=True, text=True, check=True
    )
    for name in ("slurm.conf", "topology.conf", "gres.conf"):
        assert f"# ---- {name}\n{(tmp_path / name).read_text()}" in done.stdout


def for_one_machine(files: dict[str, str]) -> dict[str, str]:
    """What a slurmctld without hosts, started in a folder by root, must be told otherwise."""
    conf = files["slurm.conf"]
    for key, value in (("SlurmUser", "root"), ("JobCompLoc", "/dev/null")):
        assert f"\n{key}=" in conf
        conf = re.sub(rf"^{key}=.*", f"{key}={value}", conf, flags=re.M)
    return files | {"slurm.conf": conf}


@pytest.fixture
def mini() -> Any:
    module = sys.modules["mini_slurm"]
    reason = module.why_not()
    if reason:
        pytest.skip(reason)
    return module.MiniSlurm


def told(folder: Path) -> Controller:
    return Controller(
        host=f"{socket.gethostname()}(127.0.0.1)",
        state=f"{folder}/state",
        # nobody answers for 12,500 hosts here: Slurm is to take them for machines of a cloud
        node_words="NodeAddr=127.0.0.1 State=CLOUD",
        more=(
            f"AuthInfo=socket={folder}/munge.socket", "SlurmctldPort=PORT", "PrivateData=cloud",
            "SuspendProgram=/bin/true", "ResumeProgram=/bin/true", "SuspendTime=600",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
        ),
    )  # fmt: skip


@pytest.mark.real
def test_a_real_slurmctld_takes_all_hosts_and_places_the_job(mini: Any, tmp_path: Path) -> None:
    cluster = load_study(COLOSSUS).cluster
    folder = tmp_path / "ctl"
    files = render_cluster(cluster, slurm=Slurm(cpus_per_host=192), controller=told(folder))
    with mini.controller(folder, for_one_machine(dict(files))) as slurm:
        slurm.until_answering()
        lines = slurm.run("scontrol", "--oneliner", "show", "nodes").splitlines()
        nodes = [read_record(line) for line in lines]
        assert [node["NodeName"] for node in nodes] == host_names(12500)
        assert {node["Gres"] for node in nodes} == {"gpu:h100_sxm:8"}
        assert {node["CPUTot"] for node in nodes} == {"192"}
        read_back = read_topology(slurm.run("scontrol", "show", "topology"))
        assert complaints(read_back, hosts=host_names(12500)) == []
        assert paths_of(read_back) == paths_of(tree(cluster))
        script = folder / "job.sh"
        script.write_text("#!/bin/sh\nexit 0\n")
        asked = ["--test-only", "--nodes=12500", "--exclusive", "--gres=gpu:8", str(script)]
        placed = subprocess.run(
            ["sbatch", *asked], env={"PATH": "/usr/bin", **slurm.environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "to start at" in placed.stderr, placed.stderr
        assert len(expand(placed.stderr.split("nodes ")[1].split(" in")[0])) == 12500
        slurm.run("scontrol", "shutdown")


@pytest.mark.real
def test_a_real_slurmctld_is_silent_where_we_complain(mini: Any, tmp_path: Path) -> None:
    """The reason why ``complaints`` exists: a node in two leaves, a node in none, two roots."""
    study = load_study(COLOSSUS, overrides=SMALL)
    folder = tmp_path / "ctl"
    files = dict(render_cluster(study.cluster, slurm=study.slurm, controller=told(folder)))
    files["topology.conf"] = (
        "SwitchName=pod1 Nodes=host[1-4]\nSwitchName=pod2 Nodes=host[4-8]\n"
        "SwitchName=core Switches=pod1\nSwitchName=other Switches=pod2\n"
    )
    with mini.controller(folder, for_one_machine(files)) as slurm:
        slurm.until_answering()
        read_back = read_topology(slurm.run("scontrol", "show", "topology"))
        assert len(complaints(read_back, hosts=host_names(9))) == 3
        slurm.run("scontrol", "shutdown")


def test_the_order_of_ranks_follows_the_tree_of_all_hosts() -> None:
    cluster = load_study(COLOSSUS).cluster
    seats, spares = rank_order(host_names(12500), switches=tree(cluster), num_spares=340)
    assert seats == sorted(seats)
    assert spares[-20:] == host_names(12500)[-20:]  # the part-filled pod
    assert seats[0] == "host00001"


@pytest.mark.parametrize("kind", TopologyKind)
def test_every_kind_has_its_plugin(kind: TopologyKind) -> None:
    files = render_cluster(load_study(COLOSSUS).cluster, slurm=Slurm(), kind=kind)
    assert f"TopologyPlugin=topology/{kind}\n" in files["slurm.conf"]
    assert "# the study does not say slurm.cpus_per_host" in files["slurm.conf"]
