"""Who asks in the present request: a person, a program, or anybody before the first account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from records.accounts.sessions import LiveSession
from records.actors import Actor
from records.emergency_grants import Grant
from records.states import Permission


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks.

    Attributes:
        actor: in whose name the request is done.
        permissions: what may be answered.
        site_ids: the sites whose studies are shown; None is every site.
        session: of a person who has logged in; None of a program and of NOBODY.
        grants: patients of other sites whom the person opened in an emergency.
        fhir: what the scopes of a program's token limit FHIR to; None where they limit nothing.
        form_token: what forms and calls of this session carry, so that they are from our own pages;
            "" where there is no session.
    """

    actor: Actor
    permissions: frozenset[Permission]
    site_ids: tuple[UUID, ...] | None = None
    session: LiveSession | None = None
    form_token: str = ""
    fhir: Mapping[str, str] | None = None
    grants: tuple[Grant, ...] = ()


_current: ContextVar[Visitor | None] = ContextVar("_current", default=None)


def current_visitor() -> Visitor | None:
    """Who asks; None on the pages that are answered before a login."""
    return _current.get()


@contextmanager
def visited_by(visitor: Visitor | None) -> Iterator[None]:
    """Let everything within the block be answered to this visitor."""
    token = _current.set(visitor)
    try:
        yield
    finally:
        _current.reset(token)


def address_of(request: Request) -> str:
    """The network address that a request comes from; "" where it is not known."""
    return request.client.host if request.client else ""
