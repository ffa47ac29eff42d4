"""What is written for Slurm and read from it, without a Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafactory.catalog.studies import load_study
from gigafactory.describe.errors import InputError
from gigafactory.describe.slurm import Slurm
from gigafactory.plan.search import plan
from gigafactory.run.launchers.hostlist import compress, expand, natural
from gigafactory.run.launchers.scheduler import JobState
from gigafactory.run.launchers.slurm_text import (
    Switch,
    job_status,
    network_environment,
    rank_order,
    read_record,
    read_topology,
    render_job,
    step_argv,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "slurm"
MOST = Slurm(
    partition="gpu", account="llm", qos="high", constraint="h100&ib", gres_per_host="gpu:8",
    time_limit_s=90061.5, options=("--reservation=night shift",),
)  # fmt: skip


@pytest.mark.parametrize(("name", "slurm"), [("least", Slurm()), ("most", MOST)])
def test_the_batch_script_is_the_golden_one(name: str, slurm: Slurm) -> None:
    job = render_job(
        name="giga-colossus", slurm=slurm, num_hosts=12160, num_spares=340,
        folder="/scratch/run 1/slurm", argv=("/usr/bin/python3", "-m", "x", "/scratch/run 1/slurm"),
    )  # fmt: skip
    assert job.files[job.main] == (GOLDEN / f"job-{name}.sh").read_text()


def test_a_step_runs_on_healthy_hosts_only() -> None:
    argv = step_argv(["n1", "n3", "n4"], logs="/run/slurm", argv=("agent",))
    assert argv[0] == "srun"
    assert {"--nodelist=n[1,3-4]", "--nodes=3", "--ntasks=3", "--no-kill"} <= set(argv)
    assert argv[-1] == "agent"


@pytest.mark.parametrize("option", ["reservation=x", "--x=a\nb"])
def test_options_that_are_none_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match="is no option of sbatch"):
        Slurm(options=(option,))


def test_a_study_says_what_slurm_is_told() -> None:
    study = load_study(
        Path("studies/first-light.yaml"),
        overrides=("slurm.partition=gpu", "slurm.time_limit=2 h"),
    )
    assert (study.slurm.partition, study.slurm.time_limit_s) == ("gpu", 7200.0)
    with pytest.raises(InputError, match=r"slurm\.partition"):
        load_study(Path("studies/first-light.yaml"), overrides=("slurm.partition=a b",))


def test_the_script_of_a_plan_asks_for_its_hosts_and_the_spares(tmp_path: Path) -> None:
    from gigafactory.run.submitted import render

    study = load_study(Path("studies/grok-1-512.yaml"))
    text = render(study, plan(study), run_dir=tmp_path).files["job.sh"]
    assert "--nodes=65\n" in text
    assert "# 64 hosts train, 1 stand by\n" in text


names = st.lists(st.from_regex(r"\A[a-z]{1,3}[0-9]{0,4}\Z"), min_size=1, max_size=30)


@given(names)
def test_lists_of_hosts_lose_nothing(hosts: list[str]) -> None:
    assert expand(compress(hosts)) == sorted(set(hosts), key=natural)


def test_lists_of_hosts_are_short() -> None:
    assert compress(f"host{i:05d}" for i in range(1, 12501)) == "host[00001-12500]"
    assert compress(["n10", "n9", "login", "n7"]) == "login,n[7,9],n10"
    assert expand("a[1-2]b[01,03],c") == ["a1b01", "a1b03", "a2b01", "a2b03", "c"]


JOB = (
    "JobId=7 JobName=giga UserId=a(1) JobState=NODE_FAIL Reason=None Dependency=(null) "
    "ExitCode=0:9 NodeList=n[1-3] BatchHost=n1 Command=/x y/job.sh --dir z "
)


def test_a_job_is_read_with_blanks_in_its_values() -> None:
    record = read_record(JOB)
    assert record["Command"] == "/x y/job.sh --dir z"
    status = job_status(record)
    assert (status.job_id, status.state, status.exit_status) == ("7", JobState.FAILED, -9)
    assert status.hosts == ("n1", "n2", "n3")
    assert status.facts["BatchHost"] == "n1"


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", JobState.WAITING),
        ("COMPLETING", JobState.RUNNING),
        ("COMPLETED", JobState.DONE),
        ("CANCELLED by 0", JobState.CANCELLED),
        ("PREEMPTED", JobState.PREEMPTED),
        ("TIMEOUT", JobState.FAILED),
        ("OUT_OF_MEMORY", JobState.FAILED),
    ],
)
def test_every_state_has_a_word(word: str, state: JobState) -> None:
    assert job_status({"JobState": word}).state is state


TREE = """\
SwitchName=core Level=2 LinkSpeed=1 Nodes=h[1-12] Switches=pod[1-2]
SwitchName=pod1 Level=1 LinkSpeed=1 Nodes=h[1-8] Switches=leaf[1-2]
SwitchName=pod2 Level=1 LinkSpeed=1 Nodes=h[9-12] Switches=leaf10
SwitchName=leaf1 Level=0 LinkSpeed=1 Nodes=h[1-4]
SwitchName=leaf2 Level=0 LinkSpeed=1 Nodes=h[5-8]
SwitchName=leaf10 Level=0 LinkSpeed=1 Nodes=h[9-12]
"""


def test_ranks_fill_leaf_after_leaf_and_spares_break_no_full_one() -> None:
    switches = read_topology(TREE)
    assert switches[0] == Switch("core", (), ("pod1", "pod2"))
    given_hosts = ["h11", "h2", "h7", "h6", "h1", "h8", "h5", "h3", "h4"]
    seats, spares = rank_order(given_hosts, switches=switches, num_spares=2)
    assert seats == ["h1", "h2", "h3", "h4", "h5", "h6", "h7"]
    assert spares == ["h8", "h11"]
    assert rank_order(given_hosts, num_spares=1) == (
        ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"], ["h11"],
    )  # fmt: skip


@given(st.permutations([f"h{i}" for i in range(1, 13)]), st.integers(0, 11))
def test_the_order_depends_on_the_network_alone(hosts: list[str], num_spares: int) -> None:
    switches = read_topology(TREE)
    seats, spares = rank_order(hosts, switches=switches, num_spares=num_spares)
    assert sorted(seats + spares) == sorted(hosts)
    assert len(spares) == num_spares
    assert (seats, spares) == rank_order(sorted(hosts), switches=switches, num_spares=num_spares)


def test_rings_stay_on_their_rail_where_there_are_rails() -> None:
    rails = load_study(Path("studies/grok-1-512.yaml")).cluster
    assert network_environment(rails) == {"NCCL_CROSS_NIC": "0"}
    assert network_environment(load_study(Path("studies/first-light.yaml")).cluster) == {}
