"""Turns errors into answers: a page for people, problem+json (RFC 9457) for systems.

Below /fhir an error is an OperationOutcome.

The title says what happened, the detail what to do, the instance to what it happened, and the
request_id which lines of the log are about it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from api.access.freshness import PasswordNeeded, ask_for_password
from api.outcomes import is_fhir, outcome_response
from api.rendering import render
from api.safety_headers import SAFETY_HEADERS
from model.errors import ModelError
from records.errors import (
    FilmDamaged,
    FilmRemoved,
    LoginRefused,
    MessageError,
    NightdraftError,
    NotAllowed,
    NotFound,
    PartError,
    SettingsError,
    safe_text,
)
from records.telemetry import logger

SYSTEM_PATHS = ("/api/", "/auth/token", "/.well-known/", "/healthz", "/readyz", "/metrics")
"""Paths that systems call: they get problem+json, everyone else a page."""

RETRY_SECONDS = "5"
"""After how long a system may ask again that met a missing part."""

STATUS_BY_ERROR: dict[type[Exception], int] = {
    NotFound: 404,
    FilmDamaged: 404,
    LoginRefused: 401,
    FilmRemoved: 410,
    NotAllowed: 409,
    MessageError: 422,
    SettingsError: 503,
    PartError: 503,
    NightdraftError: 500,
    ModelError: 422,
}
"""HTTP status by error class; the first that fits counts."""

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    for status in (400, 401, 403, 404, 409, 410, 411, 412, 413, 421, 422, 428, 429, 503)
}
"""What FastAPI writes into the OpenAPI document for each of our statuses."""


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the statuses that a path can answer with.

    401, 403, 421, 422, 429 and 503 are answers of every path.
    """
    always = (401, 403, 421, 422, 429, 503)
    return {status: PROBLEM_RESPONSES[status] for status in sorted({*statuses, *always})}


def problem_response(
    request: Request, status: int, title: str, detail: str, **extensions: Any
) -> Response:
    """One error as a page, as problem+json on the paths that systems call, or in FHIR.

    Args:
        request: the request that is answered.
        status: the HTTP status.
        title: what happened.
        detail: what to do.
        extensions: further members of the problem+json.
    """
    path = request.url.path
    if is_fhir(path):
        return outcome_response(status, title, detail)
    request_id = getattr(request.state, "request_id", "")
    if path.startswith(SYSTEM_PATHS):
        body = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": path,
            "request_id": request_id,
            **extensions,
        }
        response = JSONResponse(body, status, media_type="application/problem+json")
        if status == 503:
            response.headers["retry-after"] = RETRY_SECONDS
        return response
    page = render(
        "problem.html",
        title=title,
        detail=detail,
        status=status,
        request_id=request_id,
        emergency=_study_of(path) if status == 404 else "",
        **extensions,
    )
    return HTMLResponse(page, status)


def _study_of(path: str) -> str:
    """Our id of the study that a page is about; "" where it is about none."""
    match = re.fullmatch(r"/studies/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", path)
    return match[1] if match else ""


def add_problem_handlers(app: FastAPI) -> None:
    """Give the application an answer to every error: ours, FastAPI's, and unexpected ones."""
    for error_class in (NightdraftError, ModelError):
        app.add_exception_handler(error_class, _handle_known_error)
    app.add_exception_handler(PasswordNeeded, _handle_password_needed)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(Exception, _handle_unexpected_error)


async def _handle_known_error(request: Request, error: Exception) -> Response:
    return known_error_response(request, error)


async def _handle_password_needed(request: Request, error: Exception) -> Response:
    if not request.url.path.startswith(SYSTEM_PATHS):
        return await ask_for_password(request, error)
    return problem_response(
        request,
        403,
        "This needs password and code again, so nothing was changed",
        "Open /again in the browser, give both, and send the call again.",
    )


def known_error_response(request: Request, error: Exception) -> Response:
    """The answer to an error of ours: its status, what happened, and what can be done."""
    status = next(
        status for error_class, status in STATUS_BY_ERROR.items() if isinstance(error, error_class)
    )
    # The docstring of an error says what a person can do about it.
    what_to_do = " ".join((type(error).__doc__ or "").split())
    if status >= 500:
        logger().error("a request could not be answered", error=safe_text(error), status=status)
    title = safe_text(error)
    return problem_response(request, status, title[:1].upper() + title[1:], what_to_do)


async def _handle_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Only fields and rules are named: what was sent may be a patient's name.
    invalid_fields = [
        {"at": ".".join(str(step) for step in entry["loc"]), "why": entry["msg"]}
        for entry in error.errors()
    ]
    detail = "; ".join(f"{field['at']}: {field['why']}" for field in invalid_fields)
    return problem_response(
        request,
        422,
        "The request is not valid, so nothing was changed",
        detail,
        wrong=invalid_fields,
    )


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return http_error_response(request, error)


def http_error_response(request: Request, error: HTTPException) -> Response:
    """The answer to an error by its HTTP status, such as 404 of an address that is none."""
    texts = {
        400: ("The request's body cannot be read, so nothing was changed", "Send JSON as UTF-8."),
        404: ("There is no such page", "Check the address, or go back."),
        405: ("This address does not take that method", "docs/operate/api.md lists the methods."),
    }
    if is_fhir(request.url.path):
        see = "/fhir/metadata says what is served."
        texts = {
            404: ("There is no such resource, or its type is not taken here", see),
            405: ("This address does not take that method", see),
        }
    title, detail = texts.get(error.status_code, (str(error.detail), ""))
    response = problem_response(request, error.status_code, title, detail)
    response.headers.update(error.headers or {})
    return response


async def _handle_unexpected_error(request: Request, error: Exception) -> Response:
    request_id = getattr(request.state, "request_id", "")
    # Starlette calls this outside of all middleware: the line's context has ended, and nobody else
    # adds the headers.
    logger().error("a request failed unexpectedly", error=safe_text(error), request_id=request_id)
    response = problem_response(
        request,
        500,
        "Something failed unexpectedly; nothing was changed",
        "The log names the place in the code. `nightdraft doctor` checks each part.",
    )
    response.headers.update({"x-request-id": request_id, **SAFETY_HEADERS})
    return response
