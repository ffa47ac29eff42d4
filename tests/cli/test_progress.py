"""What a person sees of a run while it goes on."""

from __future__ import annotations

import pytest

from gigafactory.cli.progress import Screen
from gigafactory.run.progress import Progress, Stage


def test_brackets_in_a_message_are_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    message = "checkpoint not saved: [/build/gloo/pair.cc:537] [red] Read error [127.0.0.1]"
    with Screen() as screen:
        screen.show(
            Progress(
                at_s=1.0, stage=Stage.TRAINING, step=1, num_steps=2, generation=1, message=message
            )
        )
    assert message in capsys.readouterr().err
