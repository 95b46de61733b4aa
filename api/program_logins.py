"""Where programs log in: tokens for signed assertions (SMART Backend Services), and its discovery.

Errors are JSON as RFC 6749, section 5.2, says.
"""

from __future__ import annotations

import math
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from api.access.visitor import address_of
from records.accounts import program_logins, scopes
from records.accounts.key_sets import ALGORITHMS
from records.accounts.program_logins import ASSERTION_TYPE, GRANT_TYPE, token_address
from records.accounts.roles import PERMISSIONS
from records.errors import PartError, TokenRefused
from records.states import Role
from records.telemetry import logger

router = APIRouter(include_in_schema=False)

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 20
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}  # RFC 6749, 5.1


async def _read_form(request: Request) -> dict[str, str] | Response:
    """The fields of a request for a token, or the answer that it is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return _refusal("invalid_request", f"send a form ({_FORM})")
    if request.headers.get("authorization", "").lower().startswith("basic"):
        return _refusal("invalid_request", "an assertion is all that proves who asks")
    try:
        fields = parse_qsl(
            (await request.body()).decode("ascii"), max_num_fields=_MAX_FIELDS, errors="strict"
        )
    except ValueError:
        return _refusal("invalid_request", "the form cannot be read")
    values = dict(fields)
    if len(values) < len(fields):
        return _refusal("invalid_request", "a field of the form is there twice")
    return values


@router.post("/auth/token")
def give_token(
    request: Request, form: Annotated[dict[str, str] | Response, Depends(_read_form)]
) -> Response:
    """A token for a signed assertion."""
    if isinstance(form, Response):
        return form
    if form.get("grant_type") != GRANT_TYPE:
        code = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        return _refusal(code, f"grant_type is not {GRANT_TYPE}")
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        return _refusal("invalid_request", f"client_assertion_type is not {ASSERTION_TYPE}")
    if not form.get("client_assertion"):
        return _refusal("invalid_request", "there is no client_assertion")
    if not form.get("scope", "").strip():
        return _refusal("invalid_scope", "there is no scope")
    try:
        access = program_logins.log_in(
            form["client_assertion"],
            form["scope"],
            address=address_of(request),
            client_id=form.get("client_id", ""),
        )
    except TokenRefused as error:
        return _refusal(error.code, str(error), error.wait_seconds)
    except PartError as error:
        logger().warning("a program could not log in", error=str(error), status=503)
        return _refusal("temporarily_unavailable", str(error), 10.0, 503)
    return JSONResponse(
        {
            "access_token": access.token,
            "token_type": "bearer",
            "expires_in": access.seconds,
            "scope": access.scope,
        },
        headers=_NO_STORE,
    )


@router.get("/.well-known/smart-configuration")
@router.get("/fhir/.well-known/smart-configuration")
def read_configuration() -> Response:
    """Where and how programs log in (SMART App Launch 2.2, section 5)."""
    return JSONResponse(configuration())


def configuration() -> dict[str, Any]:
    """The discovery document; its fields in their order there."""
    return {
        "grant_types_supported": [GRANT_TYPE],
        "token_endpoint": token_address(),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "scopes_supported": scopes.supported(PERMISSIONS[Role.SERVICE]),
        # Nobody is led through a login here, but every document must have it.
        "code_challenge_methods_supported": ["S256"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }


def _refusal(code: str, sentence: str, wait_seconds: float = 0.0, status: int = 400) -> Response:
    headers = dict(_NO_STORE)
    if wait_seconds > 0:
        headers["retry-after"] = str(math.ceil(wait_seconds))
        status = 429 if status == 400 else status
    # The description has printable ASCII alone, without quotation marks and backslashes.
    described = sentence.replace('"', "'").replace("\\", "/")
    return JSONResponse({"error": code, "error_description": described}, status, headers)
