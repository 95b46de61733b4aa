"""Tokens of programs: what each may do, of which site, and until when."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from records.accounts.digests import digest, new_token
from records.accounts.roles import PERMISSIONS
from records.audit import trail
from records.database.account_tables import ProgramToken
from records.database.session import database_time, interval
from records.errors import NotAllowed, NotFound
from records.states import AuditAction, Permission, Role
from records.workflow import sites

PREFIX = "nightdraft_"
"""How every token begins, so that one that got into a file is found there."""

_USE_NOTED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program that calls with a token.

    Attributes:
        id: of the token.
        name: of the token.
        permissions: what it may do.
        site_id: of whose studies; None is those of every site.
    """

    id: uuid.UUID
    name: str
    permissions: frozenset[Permission]
    site_id: uuid.UUID | None


def create(
    session: Session,
    name: str,
    permissions: Collection[Permission],
    by: str,
    *,
    site_code: str = "",
    ends_at: dt.datetime | None = None,
) -> str:
    """Create a token.

    Args:
        session: the caller's transaction.
        name: short, unique; the trail calls the program so.
        permissions: what it may do.
        by: who creates it.
        site_code: of whose studies; "" is those of every site.
        ends_at: when it ends; None is never.

    Returns:
        The token, which is shown this once.

    Raises:
        NotAllowed: it has no name or permission, there is one of that name, no program may have a
            permission, or it would have ended already.
        NotFound: no site has that code.
    """
    name = name.strip()
    if not name or len(name) > 100:
        raise NotAllowed("a token has a name of 100 characters at most: that of its program")
    if not permissions:
        raise NotAllowed("name at least one permission")
    for permission in permissions:
        if permission not in PERMISSIONS[Role.SERVICE]:
            raise NotAllowed(f"no program may have {permission}")
    if ends_at is not None and ends_at <= database_time(session):
        raise NotAllowed("the end of the token has passed already")
    if session.scalar(select(ProgramToken.id).where(ProgramToken.name == name)):
        raise NotAllowed(f"there is a token {name}: names of revoked ones are not used again")
    site = sites.get(session, site_code) if site_code else None
    token = f"{PREFIX}{new_token()}"
    session.add(
        ProgramToken(
            name=name,
            token_hash=digest(token),
            permissions=sorted(permissions),
            site_id=site.id if site else None,
            created_by=by,
            ends_at=ends_at,
        )
    )
    session.flush()
    trail.record(
        session,
        AuditAction.ACCOUNT,
        detail=f"token {name} created for {', '.join(sorted(permissions))}",
    )
    return token


def find(session: Session, token: str) -> Program | None:
    """The program of a token; None where there is none, it has ended, or it was revoked."""
    now = func.clock_timestamp()
    row = session.execute(
        select(
            ProgramToken,
            or_(
                ProgramToken.used_at.is_(None),
                ProgramToken.used_at < now - interval(_USE_NOTED_SECONDS),
            ).label("is_noted_long_ago"),
        ).where(
            ProgramToken.token_hash == digest(token),
            ProgramToken.revoked_at.is_(None),
            or_(ProgramToken.ends_at.is_(None), ProgramToken.ends_at > now),
        )
    ).one_or_none()
    if row is None:
        return None
    found = row.ProgramToken
    if row.is_noted_long_ago:
        session.execute(update(ProgramToken).where(ProgramToken.id == found.id).values(used_at=now))
    known = PERMISSIONS[Role.SERVICE]
    return Program(
        id=found.id,
        name=found.name,
        # A permission of an older version that is none any more is no permission.
        permissions=frozenset(known & set(found.permissions)),
        site_id=found.site_id,
    )


def list_all(session: Session) -> Sequence[ProgramToken]:
    """All tokens, revoked ones among them, by their names."""
    return session.scalars(select(ProgramToken).order_by(ProgramToken.name)).all()


def revoke(session: Session, name: str) -> None:
    """End a token at once.

    Raises:
        NotFound: there is none of that name that can still be used.
    """
    revoked = session.scalar(
        update(ProgramToken)
        .where(and_(ProgramToken.name == name, ProgramToken.revoked_at.is_(None)))
        .values(revoked_at=func.clock_timestamp())
        .returning(ProgramToken.id)
    )
    if revoked is None:
        raise NotFound("there is no token of that name that could be revoked")
    trail.record(session, AuditAction.ACCOUNT, detail=f"token {name} revoked")
