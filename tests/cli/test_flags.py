"""The command line is a contract: its verbs and flags change on purpose or not at all."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from gigafactory.cli.main import VERBS, giga, status

FLAGS = {
    "describe": ["study", "--set", "--why", "--emit", "--json", "--dir"],
    "plan": ["study", "--set", "--goal", "--emit", "--weights", "--json", "--dir"],
    "simulate": [
        "study",
        "--set",
        "--seed",
        "--campaigns",
        "--sweep",
        "--answers",
        "--json",
        "--dir",
    ],
    "run": [
        "study",
        "--set",
        "--fresh",
        "--on",
        "--engine",
        "--render",
        "--yes-rent",
        "--chaos",
        "--faults",
        "--json",
        "--dir",
    ],
    "report": ["folders", "--out"],
    "validate": ["table", "--json"],
    "calibrate": ["--out", "--ranks", "--device", "--quick", "--json"],
    "replay": ["ledger", "--json"],
    "export": ["folder", "--out", "--json"],
    "chat": [
        "folder",
        "--port",
        "--ask",
        "--engine",
        "--store",
        "--host",
        "--origin",
        "--moderator",
        "--posts",
        "--log",
    ],
}


def test_the_verbs_are_these():
    assert list(VERBS) == list(FLAGS)


@pytest.mark.parametrize("verb", FLAGS)
def test_flags_are_frozen(verb):
    context = click.Context(giga)
    command = giga.get_command(context, verb)
    shown = [p.opts[0] for p in command.params]
    assert shown == FLAGS[verb]


@pytest.mark.parametrize("verb", FLAGS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert status([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: giga {verb}" in text


def test_help_is_light():
    code = (
        "import sys; from gigafactory.cli.main import status; status(['--help']);"
        "heavy = {'numpy', 'torch', 'pydantic', 'rich', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'--help imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "describe" in done.stdout


def test_the_core_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None;"
        "from gigafactory.cli.main import status;"
        "sys.exit(status(['plan', 'studies/llama-405b-16k.yaml', '--json'])"
        " or status(['simulate', 'studies/llama-405b-16k.yaml', '--set', 'campaign.duration=3 d']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
