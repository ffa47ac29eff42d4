"""The page as a whole: complete, self-contained, escaped, the same bytes every time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from gigafactory.describe.errors import InputError
from gigafactory.report.page import write_report

CHAPTERS = [
    "Plan, twin and reality", "The plan", "Where the GPU time went", "Faults and what was done",
    "What each cause cost", "Learning", "The pace", "Power and money", "A word with the models",
    "The factory",
]  # fmt: skip
VOID = {"meta"}


class Reader(HTMLParser):
    """Collects attributes that load something, ids, links and text; checks the nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        self.loads += [found[k] for k in ("src", "srcset", "data", "xlink:href") if k in found]
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page_of(folder, *more):
    out = folder.parent / "report.html"
    assert write_report([folder, *more], out) == out
    return out.read_text(encoding="utf-8")


def test_every_chapter_is_there_and_the_markup_is_well_formed(folder):
    text = page_of(folder)
    reader = Reader(text)
    assert reader.open == []
    assert re.findall(r"<h3>(.*?)</h3>", text) == CHAPTERS
    assert len(set(reader.ids)) == len(reader.ids)


def test_what_a_layout_leaves_off_is_not_shown(folder):
    path = folder / "plan.json"
    plan = json.loads(path.read_text())
    plan["best"]["layout"] |= {"offload": False, "recompute_layers": 0, "vpp": 3}
    path.write_text(json.dumps(plan))
    text = page_of(folder)
    assert "recompute layers" not in text
    assert "offload" not in text
    assert ">vpp<" in text


def test_nothing_is_loaded_from_elsewhere(folder):
    text = page_of(folder)
    reader = Reader(text)
    assert reader.loads == []
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert not {"script", "link", "img", "iframe", "object", "image"} & reader.tags
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_same_inputs_same_bytes(folder):
    assert page_of(folder) == page_of(folder)


def test_two_folders_of_one_name_keep_their_anchors_apart(folder):
    reader = Reader(page_of(folder, folder))
    assert len(set(reader.ids)) == len(reader.ids)


HOSTILE = "<script>alert(1)</script>\"'&"


def test_words_from_outside_are_escaped(folder):
    plan = json.loads((folder / "plan.json").read_text())
    plan["explanation"] = [HOSTILE]
    plan["best"]["layout"][HOSTILE] = HOSTILE
    (folder / "plan.json").write_text(json.dumps(plan))
    answers = [{"model": HOSTILE, "question": HOSTILE, "answer": HOSTILE}]
    (folder / "answers.json").write_text(json.dumps(answers))
    rows = json.loads((folder / "description.json").read_text())
    rows[0] |= {"label": HOSTILE, "formula": HOSTILE, "source": HOSTILE, "group": HOSTILE}
    (folder / "description.json").write_text(json.dumps(rows))
    book = (folder / "ledger.jsonl").read_text()
    hostile = json.dumps(HOSTILE)[1:-1]
    (folder / "ledger.jsonl").write_text(book.replace("process-killed", hostile))
    renamed = folder.rename(folder.with_name("<script>x"))
    text = page_of(renamed)
    reader = Reader(text)
    assert "script" not in reader.tags
    assert "<script" not in text.lower()
    assert HOSTILE in "".join(reader.words)


PARTS = ["description.json", "plan.json", "twin.jsonl", "ledger.jsonl", "answers.json"]


@pytest.mark.parametrize("only", PARTS)
def test_one_part_alone_makes_a_page(folder, only):
    for name in PARTS:
        if name != only:
            (folder / name).unlink()
    text = page_of(folder)
    assert Reader(text).open == []
    missing = {"plan.json": "No plan.json here", "description.json": "No description.json here"}
    for name, words in missing.items():
        assert (words in text) == (name != only)
    assert ("No ledger here" in text) == (not only.endswith(".jsonl"))


def test_a_folder_without_any_part_names_what_was_expected(tmp_path):
    with pytest.raises(InputError) as wrong:
        write_report([tmp_path], tmp_path / "out.html")
    assert all(name in str(wrong.value) for name in PARTS)
    assert str(tmp_path) in str(wrong.value)


def test_a_folder_that_is_not_there_and_none_at_all(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "out.html")
    with pytest.raises(InputError, match="no folder to report on"):
        write_report([], tmp_path / "out.html")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("plan.json", "{", r"plan\.json:1: not JSON"),
        ("plan.json", '{"best": {}}', r"plan\.json: best\.step_s: Field required"),
        ("plan.json", "[]", r"plan\.json: document: "),
        ("description.json", '[\n{"key": 3,}]', r"description\.json:2: not JSON"),
        ("description.json", '[{"key": "a"}]', r"description\.json: 0\.value: "),
        ("answers.json", '[{"model": "m", "question": "q"}]', r"answers\.json: 0\.answer: "),
        ("result.json", "garbage", r"result\.json:1: not JSON"),
        ("result.json", "[1]", r"result\.json: document: "),
        ("twin.jsonl", "", r"twin\.jsonl: the ledger is empty"),
        ("ledger.jsonl", '{"at_s": 0', r"ledger\.jsonl:1: "),
    ],
)
def test_corrupt_files_are_named_and_nothing_is_written(folder, name, content, told):
    (folder / name).write_text(content)
    out = folder.parent / "report.html"
    with pytest.raises(InputError, match=told):
        write_report([folder], out)
    assert not out.exists()
    assert not list(folder.parent.glob("*.tmp"))


@pytest.mark.parametrize("place", ["/proc/nowhere/report.html", "file/report.html"])
def test_a_page_that_cannot_be_written_names_its_place(folder, tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"report\.html: cannot be written: .*; name a place"):
        write_report([folder], tmp_path / place)


def test_a_line_in_the_middle_of_a_ledger_is_named_by_number(folder):
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    lines[4] = "nonsense\n"
    (folder / "ledger.jsonl").write_text("".join(lines))
    with pytest.raises(InputError, match=r"ledger\.jsonl:5: not a JSON object"):
        write_report([folder], folder / "out.html")


def test_a_binary_file_is_told_from_text(folder):
    (folder / "plan.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"plan\.json: byte 0 is not UTF-8"):
        write_report([folder], folder / "out.html")


def test_the_ledgers_of_twin_and_reality_cannot_be_swapped(folder):
    (folder / "twin.jsonl").replace(folder / "ledger.jsonl")
    with pytest.raises(InputError, match="world is 'twin'"):
        write_report([folder], folder / "out.html")


def test_steps_done_again_are_compared_with_their_first_loss(folder):
    assert "all 2 came to the same loss, to the last bit." in page_of(folder)
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    (lost,) = [i for i, line in enumerate(lines) if '"loss":6.0' in line][:1]
    lines[lost] = lines[lost].replace('"loss":6.0', '"loss":6.25')
    (folder / "ledger.jsonl").write_text("".join(lines))
    assert "differ by up to 0.25 nats" in page_of(folder)


def test_a_ledger_that_was_cut_off_anywhere_still_makes_a_page(folder):
    """A crash leaves whole lines and no closing entry; the report shows what there is."""
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    for length in range(1, len(lines)):
        (folder / "ledger.jsonl").write_text("".join(lines[:length]))
        assert Reader(page_of(folder)).open == []


def test_energy_without_a_power_series_is_said_to_be_stated_not_measured(folder):
    assert "No power in the ledger" not in page_of(folder)
    path = folder / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0] |= {"training_w_per_gpu": 20.0, "idle_w_per_gpu": 5.0}
    kept = [line for line in lines if line["kind"] != "power"]
    path.write_text("".join(json.dumps(line | {"seq": i}) + "\n" for i, line in enumerate(kept)))
    assert "No power in the ledger of reality:" in page_of(folder)
