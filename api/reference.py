"""The page on REST, from files of our own, and the OpenAPI document that it shows."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.rendering import render

OPENAPI_PATH = "/api/openapi.json"

router = APIRouter(prefix="/api", include_in_schema=False)


@router.get("/openapi.json")
def read_openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI document of REST."""
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/docs", response_class=HTMLResponse)
def show_reference() -> str:
    """Every call of REST, to read and to try, in Swagger UI."""
    return render("api_docs.html", openapi_path=OPENAPI_PATH)
