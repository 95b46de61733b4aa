"""Which resources the scopes of a token allow (SMART App Launch 2.2, section 3)."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from api.access.visitor import current_visitor
from records.accounts import scopes


def require(kind: str, letter: str) -> None:
    """Check that the token of the present request may do this.

    Args:
        kind: the type of the resource.
        letter: c to create, r to read, u to update.

    Raises:
        HTTPException: 403.
    """
    visitor = current_visitor()
    if visitor is not None and not scopes.allows(visitor.fhir, kind, letter):
        raise HTTPException(403, f"The token's scopes do not have system/{kind}.{letter}")
