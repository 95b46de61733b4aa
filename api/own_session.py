"""REST of one's own login: who is logged in, and what a change must carry."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter
from pydantic import BaseModel

from api.access.visitor import current_visitor
from api.problems import problem_responses
from records.errors import NotAllowed
from records.states import Permission, Role

router = APIRouter(prefix="/api", tags=["session"])


class OwnSession(BaseModel):
    """Who is logged in. name: as pages show it. proven_at: when password and code were last given.

    form_token: what every POST, PUT and DELETE of this login carries as X-Form-Token.
    """

    login: str
    name: str
    role: Role
    permissions: list[Permission]
    proven_at: dt.datetime
    form_token: str


@router.get("/session", responses=problem_responses(409))
def read_session() -> OwnSession:
    """Who is logged in by the cookie that was sent; programs with a token have no session."""
    visitor = current_visitor()
    if visitor is None or visitor.session is None:
        raise NotAllowed("nobody is logged in: programs have no session")
    live = visitor.session
    return OwnSession(
        login=live.login,
        name=live.name,
        role=live.role,
        permissions=sorted(visitor.permissions),
        proven_at=live.proven_at,
        form_token=visitor.form_token,
    )
