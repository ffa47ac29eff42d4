"""Events and actions of the brain as JSON objects with their name under ``type``."""

from __future__ import annotations

import json
from typing import Any

from gigafactory.control.actions import Action
from gigafactory.control.events import Event
from gigafactory.ledger.decode import action_from_json, event_from_json
from gigafactory.ledger.encode import tagged_text

__all__ = ["action_from_json", "action_to_json", "event_from_json", "event_to_json"]


def event_to_json(event: Event) -> dict[str, Any]:
    """``{"type": "Ticked", "at_s": 3.0}``."""
    return dict(json.loads(tagged_text(event)))


def action_to_json(action: Action) -> dict[str, Any]:
    """Like an event. A gang started again names its size and the seats that changed."""
    return dict(json.loads(tagged_text(action)))
