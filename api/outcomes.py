"""Errors of the FHIR server: OperationOutcome (R4, 2.36)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse

FHIR_PATH = "/fhir"
"""Where the FHIR server is; everything below it is answered in FHIR."""

FHIR_MEDIA_TYPE = "application/fhir+json"

ISSUE_BY_STATUS = {
    400: "structure",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    409: "conflict",
    411: "structure",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    421: "forbidden",
    422: "invalid",
    500: "exception",
    503: "transient",
}
"""The code of issue-type by HTTP status, where nothing says it better."""


def is_fhir(path: str) -> bool:
    """Whether a path is one of the FHIR server."""
    return path == FHIR_PATH or path.startswith(f"{FHIR_PATH}/")


def issue(code: str, sentence: str, expression: str = "", severity: str = "error") -> Any:
    """An issue: what happened, and in which element."""
    where = {"expression": [expression]} if expression else {}
    return {"severity": severity, "code": code, "diagnostics": sentence, **where}


def outcome(issues: Sequence[Any]) -> dict[str, Any]:
    """An OperationOutcome."""
    return {"resourceType": "OperationOutcome", "issue": list(issues)}


def outcome_response(status: int, title: str, detail: str) -> JSONResponse:
    """An error of the server as an OperationOutcome: what happened, and what to do."""
    sentence = f"{title.rstrip('.')}. {detail}".strip()
    severity = "fatal" if status >= 500 else "error"
    body = outcome([issue(ISSUE_BY_STATUS.get(status, "processing"), sentence, "", severity)])
    return JSONResponse(body, status, media_type=FHIR_MEDIA_TYPE)
