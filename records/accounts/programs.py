"""Programs that may call: what each may do, of which site, until when, and how it proves itself.

A program has a token, which it sends with each call, or keys of its own. With a signed assertion
(`records.accounts.program_logins`) these get it a token of a few minutes.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from records.accounts import scopes
from records.accounts.digests import digest, new_token
from records.accounts.roles import PERMISSIONS
from records.audit import trail
from records.database.account_tables import ProgramAccessToken, ProgramToken
from records.database.session import database_time, interval
from records.errors import NotAllowed, NotFound
from records.states import AuditAction, Permission, Role
from records.workflow import sites

PREFIX = "nightdraft_"
"""How every token begins, so that one that got into a file is found there."""

ACCESS_PREFIX = f"{PREFIX}access_"
"""How every token begins that was given for an assertion."""

ACCESS_SECONDS = 300
"""How long such a token counts (SMART App Launch 2.2, section 6.3.2: five minutes at most)."""

_USE_NOTED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program that calls with a token.

    Attributes:
        id: of the program.
        name: of the program.
        permissions: what it may do.
        site_id: of whose studies; None is those of every site.
        fhir: what its token's scopes limit FHIR to (`records.accounts.scopes.Granted`).
    """

    id: uuid.UUID
    name: str
    permissions: frozenset[Permission]
    site_id: uuid.UUID | None
    fhir: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProgramKeys:
    """The public keys by which a program signs: one of the two.

    Attributes:
        key_set: as `records.accounts.key_sets.parse` read it; None where they are at an address.
        url: where the program publishes them; "" where they are here.
    """

    key_set: dict[str, Any] | None = None
    url: str = ""


def create(
    session: Session,
    name: str,
    permissions: Collection[Permission],
    by: str,
    *,
    site_code: str = "",
    ends_at: dt.datetime | None = None,
    keys: ProgramKeys | None = None,
) -> str:
    """Let a program call.

    Args:
        session: the caller's transaction.
        name: short, unique; the trail calls the program so, and an assertion has it as client id.
        permissions: what it may do.
        by: who creates it.
        site_code: of whose studies; "" is those of every site.
        ends_at: when it ends; None is never.
        keys: by which it proves itself; None gives it a token.

    Returns:
        The token, which is shown this once; "" where it has keys.

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
    token = f"{PREFIX}{new_token()}" if keys is None else ""
    session.add(
        ProgramToken(
            name=name,
            token_hash=digest(token) if token else None,
            key_set=keys.key_set if keys else None,
            key_set_url=(keys.url or None) if keys else None,
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
        detail=f"{'token' if token else 'program with keys'} {name} created for "
        f"{', '.join(sorted(permissions))}",
    )
    return token


def find(session: Session, token: str) -> Program | None:
    """The program of a token; None where there is none, it has ended, or it was revoked."""
    now = func.clock_timestamp()
    query = select(
        ProgramToken,
        or_(
            ProgramToken.used_at.is_(None),
            ProgramToken.used_at < now - interval(_USE_NOTED_SECONDS),
        ).label("is_noted_long_ago"),
    ).where(_is_live())
    scope = None
    if token.startswith(ACCESS_PREFIX):
        access = session.scalar(
            select(ProgramAccessToken).where(
                ProgramAccessToken.token_hash == digest(token), ProgramAccessToken.ends_at > now
            )
        )
        if access is None:
            return None
        scope = access.scope
        query = query.where(ProgramToken.id == access.program_id)
    else:
        query = query.where(ProgramToken.token_hash == digest(token))
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    found = row.ProgramToken
    if row.is_noted_long_ago:
        session.execute(update(ProgramToken).where(ProgramToken.id == found.id).values(used_at=now))
    permissions = permissions_of(found)
    if scope is None:
        return Program(found.id, found.name, permissions, found.site_id)
    granted = scopes.grant(scope, permissions)
    return Program(found.id, found.name, granted.permissions, found.site_id, granted.fhir)


def permissions_of(row: ProgramToken) -> frozenset[Permission]:
    """What a program may do at most."""
    # A permission of an older version that is none any more is no permission.
    return frozenset(PERMISSIONS[Role.SERVICE] & set(row.permissions))


def find_by_name(session: Session, name: str) -> ProgramToken | None:
    """The program of a name that can still call; None where there is none."""
    return session.scalar(select(ProgramToken).where(ProgramToken.name == name, _is_live()))


def give_access(session: Session, row: ProgramToken, scope: str) -> str:
    """Give a program a token of ACCESS_SECONDS; tokens that have ended are removed.

    Args:
        session: the caller's transaction.
        row: the program.
        scope: what was granted (`records.accounts.scopes.Granted.text`).

    Returns:
        The token.
    """
    token = f"{ACCESS_PREFIX}{new_token()}"
    # now() stands still in a transaction, so that the index can be asked for it.
    session.execute(delete(ProgramAccessToken).where(ProgramAccessToken.ends_at < func.now()))
    session.add(
        ProgramAccessToken(
            token_hash=digest(token),
            program_id=row.id,
            scope=scope,
            ends_at=func.clock_timestamp() + interval(ACCESS_SECONDS),
        )
    )
    session.flush()
    return token


def replace_keys(session: Session, name: str, keys: ProgramKeys) -> None:
    """Give a program other keys; tokens that it was given for older ones end.

    Raises:
        NotFound: no program of that name has keys and can still call.
    """
    changed = session.scalar(
        update(ProgramToken)
        .where(ProgramToken.name == name, ProgramToken.token_hash.is_(None), _is_live())
        .values(key_set=keys.key_set, key_set_url=keys.url or None)
        .returning(ProgramToken.id)
    )
    if changed is None:
        raise NotFound("there is no program of that name with keys that could be changed")
    session.execute(delete(ProgramAccessToken).where(ProgramAccessToken.program_id == changed))
    trail.record(session, AuditAction.ACCOUNT, detail=f"program {name}: keys changed")


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
    session.execute(delete(ProgramAccessToken).where(ProgramAccessToken.program_id == revoked))
    trail.record(session, AuditAction.ACCOUNT, detail=f"token {name} revoked")


def _is_live() -> ColumnElement[bool]:
    return and_(
        ProgramToken.revoked_at.is_(None),
        or_(ProgramToken.ends_at.is_(None), ProgramToken.ends_at > func.clock_timestamp()),
    )
