"""Sessions: a login that lasts until it is ended, is not used, or is too old.

A session is found by a random token, of which only the digest is kept. When it ends is decided by
the database's clock and by the settings of the moment.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.orm import Session

from records.accounts import local_logins
from records.accounts.digests import digest, new_token
from records.database.account_tables import Account, AccountSession, AccountSite
from records.database.session import interval
from records.settings import settings
from records.states import Role

_USE_NOTED_SECONDS = 30.0
"""So often at most a session's use is written down; a page may make many requests."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """Who is logged in.

    Attributes:
        id: of the session.
        account_id: of the account.
        login: its login name.
        name: the person's, as pages show it.
        role: what it may do.
        site_ids: the sites whose studies it may see.
        proven_at: when password and code were last given.
        is_fresh: whether that is short enough ago for what needs it (NIGHTDRAFT_FRESH_MINUTES).
        is_of_provider: whether the person logs in at the identity provider, by no password of ours.
    """

    id: uuid.UUID
    account_id: uuid.UUID
    login: str
    name: str
    role: Role
    site_ids: tuple[uuid.UUID, ...]
    proven_at: dt.datetime
    is_fresh: bool
    is_of_provider: bool = False


def begin(
    session: Session,
    account_id: uuid.UUID,
    address: str,
    *,
    provider_session: str = "",
    proven_at: dt.datetime | None = None,
) -> str:
    """Begin a session; those that have ended by themselves are removed.

    Args:
        session: the caller's transaction.
        account_id: whose it is.
        address: the network address.
        provider_session: the identity provider's session that it belongs to; "" is none.
        proven_at: when the person showed who it is; None is now.

    Returns:
        Its token.
    """
    token = new_token()
    session.execute(
        delete(AccountSession).where(AccountSession.created_at < func.now() - _longest())
    )
    now = func.clock_timestamp()
    session.add(
        AccountSession(
            account_id=account_id,
            token_hash=digest(token),
            address=address,
            provider_session=provider_session or None,
            # The clock of another machine may be fast.
            proven_at=now if proven_at is None else func.least(proven_at, now),
        )
    )
    session.flush()
    return token


def find(session: Session, token: str, *, is_use: bool = True) -> LiveSession | None:
    """The session of a token; None where there is none, or it has ended.

    Args:
        session: the caller's transaction.
        token: as the browser sent it.
        is_use: whether a person asks. What a page asks by itself keeps no session open.
    """
    now = func.clock_timestamp()
    fresh = AccountSession.proven_at > now - interval(60 * settings().fresh_minutes)
    row = session.execute(
        select(
            AccountSession,
            Account,
            fresh.label("is_fresh"),
            (AccountSession.used_at < now - interval(_USE_NOTED_SECONDS)).label(
                "is_noted_long_ago"
            ),
        )
        .join(Account, Account.id == AccountSession.account_id)
        .where(AccountSession.token_hash == digest(token), _is_live())
    ).one_or_none()
    if row is None:
        return None
    live, account = row.AccountSession, row.Account
    if is_use and row.is_noted_long_ago:
        session.execute(
            update(AccountSession).where(AccountSession.id == live.id).values(used_at=now)
        )
    site_ids = session.scalars(
        select(AccountSite.site_id)
        .where(AccountSite.account_id == account.id)
        .order_by(AccountSite.site_id)
    )
    return LiveSession(
        id=live.id,
        account_id=account.id,
        login=account.login,
        name=account.name,
        role=Role(account.role),
        site_ids=tuple(site_ids),
        proven_at=live.proven_at,
        is_fresh=row.is_fresh,
        is_of_provider=account.issuer is not None,
    )


def prove(session: Session, session_id: uuid.UUID, provider_session: str = "") -> None:
    """Note that password and code were given again.

    Args:
        session: the caller's transaction.
        session_id: whose person gave them.
        provider_session: the identity provider's session that this began; "" is none.
    """
    now = func.clock_timestamp()
    session.execute(
        update(AccountSession)
        .where(AccountSession.id == session_id)
        .values(
            proven_at=now,
            used_at=now,
            provider_session=provider_session or AccountSession.provider_session,
        )
    )


def list_live(session: Session, account_id: uuid.UUID) -> Sequence[AccountSession]:
    """The sessions of an account that have not ended, the newest first."""
    return session.scalars(
        select(AccountSession)
        .join(Account, Account.id == AccountSession.account_id)
        .where(AccountSession.account_id == account_id, _is_live())
        .order_by(AccountSession.created_at.desc())
    ).all()


def end(session: Session, token: str) -> uuid.UUID | None:
    """End the session of a token; the id of its account, or None where there was none."""
    return session.scalar(
        delete(AccountSession)
        .where(AccountSession.token_hash == digest(token))
        .returning(AccountSession.account_id)
    )


def end_all(session: Session, account_id: uuid.UUID, but: uuid.UUID | None = None) -> int:
    """End all sessions of an account, or all but one; how many there were."""
    condition: ColumnElement[bool] = AccountSession.account_id == account_id
    if but is not None:
        condition = and_(condition, AccountSession.id != but)
    ended = session.scalars(delete(AccountSession).where(condition).returning(AccountSession.id))
    return len(ended.all())


def _is_live() -> ColumnElement[bool]:
    now = func.clock_timestamp()
    return and_(
        Account.disabled_at.is_(None),
        local_logins.may_be_logged_in(),
        AccountSession.created_at > now - _longest(),
        AccountSession.used_at > now - interval(60 * settings().session_idle_minutes),
    )


def _longest() -> ColumnElement[dt.timedelta]:
    return interval(3600 * settings().session_hours)
