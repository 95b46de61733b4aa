"""What needs the password again: signing, and changes of one's own account.

Whoever logs in at the identity provider goes there again, and must show there who he or she is.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from api.access.destinations import login_address
from api.access.visitor import current_visitor
from records.accounts.sessions import LiveSession


class PasswordNeeded(Exception):
    """Somebody must give the password again before this; the page comes back afterwards."""

    def __init__(self, back: str) -> None:
        super().__init__("the password is needed again")
        self.back = back


def require_fresh_login(back: str) -> LiveSession:
    """Who is logged in and has given password and code a short while ago.

    Args:
        back: the page of ours to which the person comes back.

    Raises:
        PasswordNeeded: the password was given too long ago (NIGHTDRAFT_FRESH_MINUTES), or a program
            asks, which has none.
    """
    visitor = current_visitor()
    if visitor is None or visitor.session is None or not visitor.session.is_fresh:
        raise PasswordNeeded(back)
    return visitor.session


async def ask_for_password(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """The way to the page that asks for the password again."""
    assert isinstance(error, PasswordNeeded)
    address = login_address(error.back).replace("/login", "/again", 1)
    return RedirectResponse(address, status_code=303)
