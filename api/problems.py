"""Errors as answers: a page for people, problem+json (RFC 9457) for systems. Knows no rows.

title: what happened. detail: what to do. instance: to what.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from api.rendering import render
from model.errors import ModelError
from records.errors import (
    NightdraftError,
    NotAllowed,
    NotFound,
    PartError,
    SettingsError,
    safe_text,
)
from records.telemetry import logger

SYSTEMS = ("/api/", "/healthz", "/readyz", "/metrics")
"""Paths that systems call: they get problem+json, everyone else a page."""

STATUS: dict[type[Exception], int] = {
    NotFound: 404,
    NotAllowed: 409,
    SettingsError: 503,
    PartError: 503,
    NightdraftError: 500,
    ModelError: 422,
}
"""HTTP status by error; the first that fits."""

PROBLEM: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    for status in (400, 403, 404, 409, 411, 413, 421, 422, 503)
}
"""What FastAPI writes into the OpenAPI page for each of our errors."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the errors that a path can answer with."""
    return {status: PROBLEM[status] for status in (*statuses, 421, 503)}


def answer(request: Request, status: int, title: str, detail: str, **more: Any) -> Response:
    """One error, as a page or as problem+json."""
    path = request.url.path
    if path.startswith(SYSTEMS):
        body = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": path,
            **more,
        }
        return JSONResponse(body, status, media_type="application/problem+json")
    page = render("problem.html", title=title, detail=detail, status=status, **more)
    return HTMLResponse(page, status)


def add_problems(app: FastAPI) -> None:
    """Answer every error of ours, of FastAPI's and of nobody's."""
    for kind in (NightdraftError, ModelError):
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _known(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    # The docstring of an error says what a person can do about it.
    todo = " ".join((type(error).__doc__ or "").split())
    if status >= 500:
        logger().error("a request could not be answered", error=safe_text(error), status=status)
    title = safe_text(error)
    return answer(request, status, title[:1].upper() + title[1:], todo)


async def _wrong_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Names and rules only: what was sent may be a patient's name.
    wrong = [
        {"at": ".".join(str(step) for step in line["loc"]), "why": line["msg"]}
        for line in error.errors()
    ]
    said = "; ".join(f"{line['at']}: {line['why']}" for line in wrong)
    return answer(request, 422, "The request is not one that is understood", said, wrong=wrong)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        400: ("The request's body cannot be read, so nothing was changed", "Send JSON as UTF-8."),
        404: ("There is no such page", "Go back to the worklist."),
        405: ("This address does not do that", "docs/operate/api.md lists what each address does."),
    }
    title, detail = words.get(error.status_code, (str(error.detail), ""))
    found = answer(request, error.status_code, title, detail)
    found.headers.update(error.headers or {})
    return found


async def _unexpected(request: Request, error: Exception) -> Response:
    logger().error("a request failed unexpectedly", error=safe_text(error))
    return answer(
        request,
        500,
        "Something failed that nobody foresaw; nothing was changed",
        "The log has the place. `nightdraft doctor` checks each part.",
    )
