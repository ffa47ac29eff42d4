"""The study reader: what it takes, and the one clear line for everything it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gigafactory.catalog.studies import load_any_study, load_study
from gigafactory.describe.errors import InputError
from gigafactory.units import HOUR_S, YEAR_S

BASE = """\
study: x
cluster: h100-8
model: llama-3-8b
job: {tokens: 1 T, seq_len: 8192, global_batch: 8}
faults: laptop
money: {rent: nothing, own: laptop, horizon: 1 y}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write study files into an empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)

    def put(text, name="x.yaml"):
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
        return name

    return put


def refusal(path, *overrides):
    with pytest.raises(InputError) as caught:
        load_study(path, overrides=overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(Path("studies").glob("*.yaml")), ids=lambda p: p.name)
def test_every_study_of_the_repository_loads_under_its_file_name(path):
    assert load_any_study(path).study == path.stem


def test_colossus_says_what_it_says():
    study = load_study("studies/colossus.yaml")
    assert study.cluster.num_gpus == 100_000
    assert study.money.horizon_s == 4 * YEAR_S
    assert study.money.offer_usd == 10e9
    assert study.money.rent.price_usd_per_s == pytest.approx(10 / HOUR_S)
    assert study.model.assumption


def test_first_light_is_small_enough_for_this_machine():
    study = load_study("studies/first-light.yaml")
    assert study.layout.num_gpus == study.cluster.num_gpus == 2
    assert study.train.vocab <= study.model.vocab
    assert study.drill.kill_at_step < study.job.num_steps <= 400
    assert study.job.seq_len <= study.model.context


def test_a_child_changes_only_what_it_says():
    parent, child = load_study("studies/colossus.yaml"), load_study("studies/colossus-rsc.yaml")
    assert child.faults.name == "rsc-1"
    assert child.faults != parent.faults
    same = {"study": parent.study, "faults": parent.faults}
    assert child.model_copy(update=same) == parent


def test_a_child_may_vary_a_part_of_a_named_entry(write):
    write(BASE, "parent.yaml")
    study = load_study(
        write("extends: parent.yaml\ncluster: {host: {num_gpus: 4}, num_hosts: 3}\n")
    )
    assert study.cluster.num_gpus == 12
    assert study.cluster.host.gpu.name == "h100-sxm"
    assert "varied" in study.cluster.name
    assert "varied" in study.cluster.host.name


def test_extends_is_found_beside_the_file_that_says_it(write, monkeypatch):
    os.mkdir("below")
    write(BASE, "below/parent.yaml")
    path = Path(write("extends: parent.yaml\nstudy: y\n", "below/child.yaml")).resolve()
    monkeypatch.chdir("/")
    assert load_study(path).study == "y"


def test_what_is_described_on_the_spot_is_sourced_by_its_file(write):
    text = BASE.replace("faults: laptop", "faults: {causes: [], repair: {median: 1 d, mean: 2 d}}")
    faults = load_study(write(text)).faults
    assert faults.source == "stated in x.yaml"
    assert faults.name == "faults"


def test_overrides_go_on_top_and_follow_names(write):
    study = load_study(
        write(BASE),
        overrides=(
            "job.seq_len=4096",
            "model=grok-1",
            "cluster.host=hgx-h200",
            "cluster.host.gpu.memory=100 GB",
            "faults.causes.0.rate=5 /y",
            "layout.tp=8",
            "job.precision=fp8",
        ),
    )
    assert study.job.seq_len == 4096
    assert study.model.name == "grok-1"
    assert study.cluster.host.gpu.memory_bytes == 100e9
    assert study.cluster.host.gpu.memory_bandwidth_bytes_per_s == 4.8e12
    assert study.faults.causes[0].rate_per_s == pytest.approx(5 / YEAR_S)
    assert study.faults.causes[1].name == "machine-lost"
    assert study.layout.tp == 8


def test_dates_numbers_and_yes_are_read_by_the_rules_of_yaml_1_2(write):
    assert load_study(write(BASE.replace("study: x", "study: 2024-10-28"))).study == "2024-10-28"
    assert load_study(write(BASE.replace("8192", "0o20"))).job.seq_len == 16
    assert "'yes'" in refusal(write(BASE.replace("8192", "yes")))


def test_every_error_is_told_at_once_a_line_each(write):
    text = BASE.replace("h100-8", "h100-9").replace("1 y", "1 GB") + "jobs: 3\nlayout: {tpp: 2}\n"
    lines = refusal(write(text)).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("x.yaml: ") for line in lines)
    named = {line.split(": ")[1] for line in lines}
    assert named == {"cluster", "money.horizon", "jobs", "layout.tpp"}


CASES = {
    "unknown key": (BASE + "jobs: 3\n", "x.yaml: jobs: unknown key; did you mean job?"),
    "unknown key below": (BASE + "layout: {tpp: 3}\n", "x.yaml: layout.tpp: unknown key"),
    "field name for key": (
        BASE.replace("h100-8", "{extends: h100-8, host: {gpu: {memory_bytes: 80 GB}}}"),
        "cluster.host.gpu.memory_bytes: unknown key; did you mean memory",
    ),
    "unknown catalog name": (
        BASE.replace("llama-3-8b", "lama-3-8b"),
        "x.yaml: model: 'lama-3-8b' is not in the catalog; did you mean llama-3-8b",
    ),
    "unknown extends name": (
        BASE.replace("h100-8", "{extends: h100-88}"),
        "x.yaml: cluster.extends: 'h100-88' is not in the catalog; did you mean h100-8",
    ),
    "enum": (
        BASE.replace("global_batch: 8", "global_batch: 8, precision: bf61"),
        "x.yaml: job.precision: 'bf61' is wrong: input should be 'fp32', 'bf16', 'fp16', 'fp8' or "
        "'nvfp4'; did you mean bf16?",
    ),
    "unit of another kind": (
        BASE.replace("1 y", "1 GB"), "x.yaml: money.horizon: '1 GB' is not a quantity in seconds"
    ),
    "no unit": (BASE.replace("1 y", "31536000"), "money.horizon: 31536000 has no unit"),
    "not finite": (BASE.replace("1 T", ".inf"), "job.tokens: inf is wrong"),
    "too large": (BASE.replace("1 y", "1e400 y"), "money.horizon: '1e400 y' is not a finite"),
    "negative": (BASE.replace("8192", "-1"), "job.seq_len: -1 is wrong: input should be greater"),
    "fraction": (BASE.replace("8192", "8.5"), "job.seq_len: 8.5 is wrong"),
    "true for a number": (BASE.replace("8192", "true"), "job.seq_len: true is no value"),
    "missing": ("study: x\n", "x.yaml: cluster: is missing; write a catalog name (colossus-100k"),
    "nothing there": (BASE.replace("h100-8", ""), "cluster: is empty; write a catalog name"),
    "list for a part": (BASE.replace("llama-3-8b", "[a]"), "model: must be a catalog name"),
    "number in a list": (
        BASE.replace("faults: laptop", "faults: {causes: [7], repair: {median: 1 d, mean: 2 d}}"),
        "faults.causes.0: must be a mapping with the keys name, fault, scope, rate, detect, lasts",
    ),
    "study name": (BASE.replace("study: x", "study: ../x"), "x.yaml: study: '../x' is wrong"),
    "impossible layout": (
        BASE + "layout: {tp: 2, ep: 3}\n",
        "x.yaml: layout: ep 3 x etp 1 does not divide tp x cp x dp = 2",
    ),
    "layout too large": (
        BASE + "layout: {tp: 8, dp: 100}\n", "x.yaml: layout needs 800 GPUs, the cluster has 8"
    ),
    "precision the part lacks": (
        BASE.replace("h100-8", "laptop").replace("seq_len: 8192", "seq_len: 8192, precision: fp8"),
        "x.yaml: job.precision: laptop-core has no fp8 peak",
    ),
    "duplicate key": (BASE + "study: y\n", "x.yaml:7: the key 'study' stands there twice"),
    "duplicate key below": (
        BASE + "layout: {tp: 1, tp: 2}\n", "x.yaml:7: the key 'tp' stands there twice"
    ),
    "alias": ("study: &a x\nmodel: *a\n", "x.yaml:2: aliases (*a) are not read"),
    "key is a number": (BASE + "3: x\n", "x.yaml: the top: the key 3 is a number"),
    "key is empty": (BASE + "? \n: x\n", "x.yaml: the top: the key None is empty"),
    "two documents": (BASE + "---\n" + BASE, "x.yaml:7: not valid YAML"),
    "unclosed": ("study: {a: b\n", "x.yaml:2: not valid YAML"),
    "tab": ("study:\tx\n\tb: 3\n", "not valid YAML"),
    "code": ("study: !!python/object:os.system x\n", "x.yaml:1: not valid YAML"),
    "deep": ("a: " + "[" * 50_000, "x.yaml:1: is nested more than 30 levels deep"),
    "deep blocks": (
        "".join(" " * i + "a:\n" for i in range(500)),
        "x.yaml:31: is nested more than 30 levels deep",
    ),
    "too many": ("a: [" + "1," * 50_000 + "1]", "x.yaml:1: holds more than 20,000 values"),
    "empty": ("", "x.yaml: the file is empty; a study begins with the line 'study: NAME'"),
    "only a comment": ("# nothing\n", "x.yaml: the file is empty"),
    "a list": ("- a\n", "x.yaml: holds a list, not a mapping"),
    "text": ("hello\n", "x.yaml: holds text, not a mapping"),
    "null byte": ("study: \0x\n", "x.yaml: is not text"),
    "not UTF-8": (b"study: \xff\xfe\n", "x.yaml: is not UTF-8 text (byte 7)"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00", "x.yaml: is not UTF-8 text (byte 0)"),
    "endless digits": (BASE.replace("8192", "9" * 5000), "x.yaml: not valid YAML"),
    "much too large": (BASE + "#" * 2_000_000, "x.yaml: is larger than 200000 bytes"),
    "extends a number": ("extends: 3\n" + BASE, "x.yaml: extends: must be the path"),
    "extends nothing": ("extends: no.yaml\n", "x.yaml: extends: no.yaml: no such file"),
    "extends itself": (
        "extends: x.yaml\n",
        "x.yaml: extends: goes round in a circle: x.yaml -> x.yaml",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), CASES.values(), ids=CASES)
def test_a_wrong_file_is_refused_in_one_clear_line(write, text, said):
    told = refusal(write(text))
    assert said in told
    assert "\n\n" not in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("job.seqlen=4096", "--set job.seqlen: unknown key; did you mean seq_len?"),
        ("model=grok-99", "--set model: 'grok-99' is not in the catalog; did you mean grok-"),
        ("job.tokens=15 GB", "--set job.tokens: '15 GB' is not a quantity in tokens"),
        ("money.horizon=3", "--set money.horizon: 3 has no unit"),
        ("job.seq_len=", "--set job.seq_len: is empty"),
        ("job.seq_len.x=4", "--set job.seq_len: a mapping is wrong"),
        ("faults.causes.9.rate=5 /y", "--set faults.causes: must be a list"),
        ("cluster.num_spare_hosts=7", "cluster: 7 spare hosts of 1 leave none to train"),
        ("job.seq_len", "--set job.seq_len: write PATH=VALUE"),
        ("=5", "--set =5: write PATH=VALUE"),
        ("job..x=5", "--set job..x=5: write PATH=VALUE"),
        ("money.horizon={a", "--set money.horizon={a:1: not valid YAML"),
        ("extends=y.yaml", "'extends' stands in a file"),
    ],
)
def test_a_wrong_override_is_refused_by_its_own_name(write, override, said):
    assert said in refusal(write(BASE), override)


def test_circles_of_several_files_are_named(write):
    write("extends: b.yaml\n", "a.yaml")
    write("extends: a.yaml\n", "b.yaml")
    assert refusal("a.yaml").endswith("goes round in a circle: a.yaml -> b.yaml -> a.yaml")


def test_an_error_is_charged_to_the_file_that_made_it(write):
    write(BASE.replace("8192", "-1"), "parent.yaml")
    told = refusal(write("extends: parent.yaml\nstudy: y\nmodel: nope\n", "child.yaml"))
    assert "parent.yaml: job.seq_len: -1 is wrong" in told
    assert "child.yaml: model: 'nope' is not in the catalog" in told


def test_a_missing_file_names_its_neighbours(write):
    write(BASE)
    assert refusal("y.yaml") == "y.yaml: no such file; . has x.yaml"


def test_a_directory_and_a_pipe_are_refused(write, tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: is a directory; name a file in it"
    os.mkfifo("pipe.yaml")
    assert refusal("pipe.yaml") == "pipe.yaml: is not a regular file"


def test_a_file_without_permission_says_so(write):
    path = write(BASE)
    os.chmod(path, 0)
    owner = os.geteuid()
    try:
        if owner == 0:
            # root reads everything: look at it as nobody
            os.seteuid(65534)
        assert "x.yaml: cannot be read" in refusal(path)
    finally:
        os.seteuid(owner)


def test_the_order_of_the_errors_does_not_change_between_runs(write):
    text = BASE + "".join(f"wrong_{i}: 1\n" for i in range(8))
    named = [line.split(": ")[1] for line in refusal(write(text)).splitlines()]
    assert named == [f"wrong_{i}" for i in range(8)]


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("job.global_batch=99999999999999999999999", "job.global_batch"),
        ("model.num_layers=99999999999999999999999", "model.num_layers"),
        ("model={extends: grok-1, num_experts: 99999999999999999999999}", "model.num_experts"),
        ("cluster.fabric.oversubscription=1e308", "cluster.fabric.oversubscription"),
        ("cluster.fabric.num_tiers=1000000007", "cluster.fabric.num_tiers"),
        ("cluster.host.training=1e300 W", "cluster.host.training"),
        ("money.own.life=1e-300 s", "money.own.life"),
        ("policy.heartbeat_timeout=0 s", "policy.heartbeat_timeout"),
        ("policy.progress_timeout=-1 s", "policy.progress_timeout"),
        ("policy.checkpoint_interval=-5 s", "policy.checkpoint_interval"),
        ("faults.repair={median: 10 d, mean: 1 d}", "faults.repair"),
    ],
)
def test_numbers_beyond_all_sense_are_refused_at_their_place(write, override, place):
    assert f"--set {place}: " in refusal(write(BASE), override)


def test_large_numbers_of_tokens_need_no_prefix(write):
    assert load_study(write(BASE), overrides=["job.tokens=60000000000000"]).job.tokens == 6e13
