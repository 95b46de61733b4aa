"""Completes the OpenAPI document that FastAPI makes: examples, keys of calls, errors with examples.

The examples are in `rest_examples`: bodies by the name of their model, answers by that name or by
their call. Drawn phantoms are their patients.
"""

from __future__ import annotations

import json
from functools import cache
from http import HTTPStatus
from typing import Any

from api.idempotency import KEY_PATTERN, takes_key
from api.rendering import PACKAGE_DIR
from api.schemas import Problem

_FOLDER = PACKAGE_DIR / "rest_examples"
_JSON = "application/json"
_PROBLEM = "application/problem+json"

KEYED_STATUSES = (400, 409, 410)
"""What a call with an Idempotency-Key can be answered besides."""

PROBLEMS: dict[int, tuple[str, str, str]] = {
    400: (
        "The request cannot be read, or its Idempotency-Key cannot be used.",
        "The request's body cannot be read, so nothing was changed",
        "Send JSON as UTF-8.",
    ),
    401: (
        "Nobody is logged in, and no valid token was sent.",
        "Nobody is logged in",
        "Log in, or send a token (`nightdraft token create`) as `Authorization: Bearer`.",
    ),
    403: (
        "The account or token may not do this or see this.",
        "You may not do this or see this",
        "This is for readers and lead readers. Ask an administrator for the role or site, if your "
        "work needs it.",
    ),
    404: (
        "There is no such thing, or it belongs to a site that is not shown to the caller.",
        "No study has this UID",
        "What was asked for is not here.",
    ),
    409: (
        "The present state does not allow it, or a call with the same Idempotency-Key is being "
        "carried out.",
        "The study is not failed, skipped or cancelled",
        "The state does not allow it.",
    ),
    410: (
        "The call was carried out before, and its answer may not be shown any more.",
        "This call was carried out before, and its answer may not be shown any more",
        "Nothing was changed now. Read what you need by a GET.",
    ),
    411: (
        "The request does not say how long its body is.",
        "The request does not say its length",
        "Send a Content-Length.",
    ),
    412: (
        "Somebody else saved meanwhile. `current` is the present text.",
        "Somebody else has saved this text meanwhile",
        "Compare both texts, and send yours again with the ETag of the newer one.",
    ),
    413: (
        "The body is too long.",
        "The request is too long, so nothing was changed",
        "Send 65536 bytes at most.",
    ),
    421: (
        "The name in the Host header is none of this server.",
        "The pages are not reachable by this name",
        "Use localhost or the machine's address, or add the name to NIGHTDRAFT_SERVE_NAMES.",
    ),
    422: (
        "A field or parameter is not valid, or the Idempotency-Key belongs to another call.",
        "The request is not valid, so nothing was changed",
        "query.limit: Input should be less than or equal to 200",
    ),
    428: (
        "The call does not say by If-Match which text it was made from.",
        "The call does not say which text it was made from, so nothing was saved",
        "Read the text, and send its ETag as If-Match.",
    ),
    429: (
        "Too many requests came from the caller.",
        "Too many requests came from you in the last minute, so this one changed nothing",
        "Send it again in 7 seconds.",
    ),
    503: (
        "A part of the system is missing; the call may be repeated.",
        "PostgreSQL does not answer (OperationalError)",
        "A part is missing or does not answer. `nightdraft doctor` says which.",
    ),
}
"""For each status of an error: when it is answered, and the title and detail of an example."""

_WAITS = (409, 429, 503)
"""Statuses whose answers may say when to send the call again."""


def complete(document: dict[str, Any]) -> None:
    """Add to the document what FastAPI does not know.

    Args:
        document: of OpenAPI 3.1, as FastAPI makes it; it is changed.
    """
    components = document["components"]
    components["schemas"]["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["responses"] = {f"Problem{status}": _problem(status) for status in PROBLEMS}
    components["headers"] = {
        "X-Request-ID": {
            "description": "The id of this call in the log and in problems.",
            "schema": {"type": "string", "format": "uuid"},
        },
        "Idempotent-Replayed": {
            "description": "The answer was kept from the first call with this Idempotency-Key.",
            "schema": {"type": "string", "enum": ["true"]},
        },
    }
    components["parameters"] = {"IdempotencyKey": _KEY}
    for name, example in read_examples("requests").items():
        components["schemas"][name]["examples"] = [example]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete_operation(method.upper(), path, operation)


@cache
def read_examples(kind: str) -> dict[str, Any]:
    """The examples of `requests` or of `answers`."""
    examples: dict[str, Any] = json.loads((_FOLDER / f"{kind}.json").read_text("utf-8"))
    return examples


_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A new one for each change, such as a UUID in quotation marks. The same call "
    "with the same key is carried out once and answered the same, however often it is sent "
    "(draft-ietf-httpapi-idempotency-key-header).",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "example": '"8e03978e-40d5-43e8-bc93-6894a57f9324"',
}


def _problem(status: int) -> dict[str, Any]:
    description, title, detail = PROBLEMS[status]
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "/api/studies/2.25.100",
        "request_id": "7f1c2a9e-3b4d-4e5f-8a6b-9c0d1e2f3a4b",
    }
    if status == 412:
        example["current"] = read_examples("answers")["WorkingText"]
    answer: dict[str, Any] = {
        "description": description,
        "content": {
            _PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
        },
    }
    if status in _WAITS:
        answer["headers"] = {
            "Retry-After": {
                "description": "Seconds after which the call may be sent again.",
                "schema": {"type": "string", "pattern": "^[0-9]+$"},
            }
        }
    return answer


def _refuse_nul(parameter: dict[str, Any]) -> None:
    """Say of a query parameter what `api.query_parameters` refuses: PostgreSQL takes no NUL."""
    if parameter.get("in") != "query":
        return
    for schema in (parameter["schema"], *parameter["schema"].get("anyOf", ())):
        if schema.get("type") == "string" and not {"pattern", "format", "enum"} & set(schema):
            schema["pattern"] = r"^[^\x00]*$"


def _complete_operation(method: str, path: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        _refuse_nul(parameter)
    responses = operation["responses"]
    if takes_key(method, path):
        operation.setdefault("parameters", []).append(
            {"$ref": "#/components/parameters/IdempotencyKey"}
        )
        responses |= {str(status): {} for status in KEYED_STATUSES}
    for status, response in responses.items():
        if int(status) in PROBLEMS and _JSON not in response.get("content", {}):
            headers = response.get("headers")
            response.clear()
            response["$ref"] = f"#/components/responses/Problem{status}"
            assert headers is None, "an error's headers are described once"
            continue
        if response["description"] == "Successful Response":
            response["description"] = HTTPStatus(int(status)).phrase
        headers = response.setdefault("headers", {})
        headers["X-Request-ID"] = {"$ref": "#/components/headers/X-Request-ID"}
        if takes_key(method, path):
            headers["Idempotent-Replayed"] = {"$ref": "#/components/headers/Idempotent-Replayed"}
        _add_example(f"{method} {path}", response)
    operation["responses"] = dict(sorted(responses.items()))


def _add_example(call: str, response: dict[str, Any]) -> None:
    content = response.get("content", {}).get(_JSON)
    if content is None:
        return
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    examples = read_examples("answers")
    for key in (call, name):
        if key in examples:
            content["example"] = examples[key]
            return
