"""What the models said when the demonstration asked them."""

from __future__ import annotations

from gigafactory.report.blocks import Chapter, Spoken, Talk
from gigafactory.report.documents import Answer


def answers(said: tuple[Answer, ...] | None) -> Chapter | None:
    """Questions and answers side by side; no chapter where nobody was asked."""
    if not said:
        return None
    spoken = tuple(Spoken(model=a.model, question=a.question, answer=a.answer) for a in said)
    return Chapter(
        key="answers",
        title="A word with the models",
        intro="Small models: the words show that training and serving work, not that they know.",
        blocks=(Talk(answers=spoken),),
    )
