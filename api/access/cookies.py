"""The cookies of a login: of the session, of the browser, and of a login that is under way.

Behind TLS their names begin with `__Host-`, so that no other site can set them (RFC 6265bis,
4.1.3.2). Then only these names count.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import Response

FORM_FIELD = "form_token"
"""The field by which `api.access_control` knows that a form is from a page of ours."""

_SESSION = "nightdraft-session"
_DEVICE = "nightdraft-browser"
_DEVICE_SECONDS = 365 * 86_400
_LOGIN = "nightdraft-login"
_LOGIN_SECONDS = 600
_LOCKED = "nightdraft-locked"


def session_token(request: Request) -> str:
    """The token of the session; "" where the browser sends none."""
    return request.cookies.get(_named(request, _SESSION), "")


def device_token(request: Request) -> str:
    """The token of the browser; "" where it sends none."""
    return request.cookies.get(_named(request, _DEVICE), "")


def set_session(request: Request, response: Response, token: str) -> None:
    """Set the cookie of a session; it ends with the browser, and before on the server."""
    _set(request, response, _SESSION, token)


def set_device(request: Request, response: Response, token: str) -> None:
    """Set the cookie by which the browser is known again."""
    _set(request, response, _DEVICE, token, _DEVICE_SECONDS)


def remove_session(request: Request, response: Response) -> None:
    """Remove the cookie of the session."""
    _set(request, response, _SESSION, "", 0)


def login_token(request: Request) -> str:
    """The token of the browser's logins that are under way at the identity provider; "" is none."""
    return request.cookies.get(_named(request, _LOGIN), "")


def set_login(request: Request, response: Response, token: str) -> None:
    """Set the cookie by which a browser is known that comes back from the identity provider."""
    _set(request, response, _LOGIN, token, _LOGIN_SECONDS)


def was_locked(request: Request) -> bool:
    """Whether this browser's screen was locked, and nobody has logged in since."""
    return bool(request.cookies.get(_named(request, _LOCKED)))


def set_locked(request: Request, response: Response, *, is_locked: bool) -> None:
    """Note that the screen was locked, or that somebody has logged in since."""
    _set(request, response, _LOCKED, "1" if is_locked else "", None if is_locked else 0)


def form_token(token: str) -> str:
    """What the forms of a session carry: nobody computes it who has not the session's token."""
    return hmac.digest(token.encode(), b"nightdraft form", "sha256").hex()


def _named(request: Request, name: str) -> str:
    return f"__Host-{name}" if request.url.scheme == "https" else name


def _set(
    request: Request, response: Response, name: str, value: str, seconds: int | None = None
) -> None:
    response.set_cookie(
        _named(request, name),
        value,
        max_age=seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
