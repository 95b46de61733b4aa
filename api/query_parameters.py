"""Refuses query parameters that an address does not know, and values that no table can hold.

A parameter that is spelled wrong (`?sate=FAILED`) would else be ignored, and the answer would
be taken for that of the question that was meant. PostgreSQL takes no NUL.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel

OPEN_PATHS = ("/login/oidc/callback", "/login/oidc/logged-out")
"""To which another system sends browsers, with parameters of its own (RFC 6749 section 4.1.2)."""

_SHOWN = 50
"""Characters of an unknown name that are sent back."""


def known_parameters(route: APIRoute) -> list[str]:
    """The query parameters of a route, in alphabetical order."""
    return sorted(_parameters(route.dependant))


def _parameters(dependant: Dependant) -> set[str]:
    names = set[str]().union(*map(_parameters, dependant.dependencies))
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= {info.alias or name for name, info in kind.model_fields.items()}
        else:
            names.add(field.alias)
    return names


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route; asynchronous, so that no probe waits for a thread.

    Raises:
        RequestValidationError: the query has a parameter that the route does not know, or a value
            with a NUL.
    """
    if not request.query_params or request.scope["path"] in OPEN_PATHS:
        return
    known = known_parameters(request.scope["route"])
    listed = ", ".join(known) or "none"
    unknown = [
        {
            "loc": ("query", name[:_SHOWN]),
            "msg": f"unknown parameter; this address knows {listed}",
            "type": "unknown_parameter",
        }
        for name in dict.fromkeys(request.query_params)
        if name not in known
    ]
    with_nul = [
        {"loc": ("query", name), "msg": "it has a NUL character", "type": "nul_character"}
        for name, value in request.query_params.multi_items()
        if name in known and "\0" in value
    ]
    if unknown or with_nul:
        raise RequestValidationError(unknown + with_nul)
