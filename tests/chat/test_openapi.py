"""The service against its own OpenAPI page: schemathesis invents requests, good and bad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gigafactory.chat.engine import Finish, Piece
from gigafactory.chat.line import Line
from gigafactory.chat.openapi import document
from gigafactory.chat.service import Service

pytest.importorskip("schemathesis", reason="needs the extra test")

from hypothesis import HealthCheck, settings
from schemathesis import openapi
from schemathesis.specs.openapi.checks import positive_data_acceptance


class Sure:
    """Answers everything with one word, so that what fails is the service."""

    name, about, origin, context_tokens = "parrot", "It is sure.", "trained", 10**9

    def num_tokens(self, messages: Any) -> int:
        return len(messages)

    def stream(self, messages: Any, sampling: Any) -> Any:
        yield Piece("yes", 1, Finish.STOP)


PAGE = openapi.from_dict(document(version="1", wants_keys=False))


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.getfixturevalue("serving")(Service([Line(Sure(), max_waiting=100)])) as url:
        yield url


@PAGE.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_service_keeps_to_its_page(case: Any, url: str) -> None:
    # what its engine cannot do (tools, schemas) is refused although the page knows the field
    case.call_and_validate(base_url=url, excluded_checks=[positive_data_acceptance])


def test_the_page_names_keys_where_they_are_wanted() -> None:
    assert "security" not in document(version="1", wants_keys=False)
    assert document(version="1", wants_keys=True)["security"] == [{"key": []}]
