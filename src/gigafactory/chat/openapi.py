"""The service's own OpenAPI 3.1 page, made from the forms that requests are checked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gigafactory.chat.embeddings import EmbeddingRequest
from gigafactory.chat.reading import Wire
from gigafactory.chat.record_routes import MOST_RECORDS, RatingRequest
from gigafactory.chat.request import ChatRequest
from gigafactory.chat.responses import ResponseRequest

_PLACE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(*, version: str, wants_keys: bool) -> dict[str, Any]:
    """The page; with ``wants_keys`` every call needs a bearer key."""
    schemas: dict[str, Any] = {"Error": _ERROR, "Model": _object("id", "object", "created")}
    health = _object("status", "num_present")
    paths = {
        "/v1/models": _get("The models that answer here.", _object("object", "data")),
        "/v1/models/{name}": _get("One model.", {"$ref": _PLACE.format(model="Model")}, name=True),
        "/v1/chat/completions": _post(
            "One answer to a conversation, whole or as a stream of events.",
            _placed(ChatRequest, schemas),
            _object("id", "object", "created", "model", "choices", "usage"),
            streams=True,
        ),
        "/v1/responses": _post(
            "The same in the Responses protocol; nothing is stored.",
            _placed(ResponseRequest, schemas),
            _object("id", "object", "status", "output", "model"),
            streams=True,
        ),
        "/v1/embeddings": _post(
            "Vectors of texts.",
            _placed(EmbeddingRequest, schemas),
            _object("object", "data", "model", "usage"),
        ),
        "/v1/ratings": _post(
            "What somebody thinks of an answer with a record; the last view counts.",
            _placed(RatingRequest, schemas),
            _object("object", "note", "num_ratings"),
        ),
        "/v1/audit/records": _get(
            "Records of answers, newest first.",
            _object("data", "has_more"),
            parameters=[_query("before", most=2**62), _query("limit", most=MOST_RECORDS)],
        ),
        "/v1/audit/chain": _get(
            "Whether the chain of records holds.", _object("holds", "num_records", "head", "faults")
        ),
        "/health": _get("Whether the service takes requests.", health, closing=health),
    }
    page: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "gigafactory chat", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if wants_keys:
        page["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        page["security"] = [{"key": []}]
    return page


def _placed(form: type[Wire], schemas: dict[str, Any]) -> dict[str, str]:
    schema = form.model_json_schema(by_alias=True, ref_template=_PLACE)
    schemas.update(schema.pop("$defs", {}))
    schemas[form.__name__] = schema
    return {"$ref": _PLACE.format(model=form.__name__)}


def _object(*names: str) -> dict[str, Any]:
    return {"type": "object", "required": list(names)}


def _query(name: str, *, most: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _get(
    about: str,
    schema: Mapping[str, Any],
    *,
    name: bool = False,
    parameters: Sequence[Mapping[str, Any]] = (),
    closing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": about, "responses": _responses(schema)}
    if parameters:
        operation["parameters"] = list(parameters)
    if closing is not None:
        content = {"application/json": {"schema": closing}}
        operation["responses"]["503"] = {"description": "it is closing", "content": content}
    if name:
        operation["parameters"] = [
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return {"get": operation}


def _post(
    about: str, body: Mapping[str, Any], schema: Mapping[str, Any], *, streams: bool = False
) -> dict[str, Any]:
    content = {"application/json": {"schema": body}}
    responses = _responses(schema, streams=streams)
    return {
        "post": {
            "summary": about,
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }
    }


def _responses(schema: Mapping[str, Any], *, streams: bool = False) -> dict[str, Any]:
    good: dict[str, Any] = {"application/json": {"schema": schema}}
    if streams:
        good["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"application/json": {"schema": {"$ref": _PLACE.format(model="Error")}}}
    statuses = ("400", "401", "403", "404", "405", "408", "413", "429", "500", "502", "503", "504")
    told = {status: {"description": "what is wrong", "content": error} for status in statuses}
    return {"200": {"description": "the answer", "content": good}, **told}
