"""Logins that are under way at the identity provider: begun here, and ended here once.

State, nonce and the verifier of PKCE stay on the server; the browser that began a login is known by
a cookie. So an answer of the provider counts once, within ten minutes, and in that browser alone.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from records.accounts.digests import digest, new_token
from records.database.account_tables import ProviderLogin
from records.database.session import interval
from records.errors import LoginRefused

LOGIN_SECONDS = 600.0
"""Time in which a person must have logged in at the provider."""

MOST_OF_ADDRESS = 200
"""Logins under way from one address; many people may share it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What goes to the identity provider.

    Attributes:
        state: comes back with its answer (RFC 6749 section 10.12).
        nonce: comes back within its token (OpenID Connect Core 1.0, section 2).
        verifier: of PKCE; the provider gets its digest now, and itself with the code (RFC 7636).
    """

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Begun:
        """One that nobody can guess."""
        return cls(new_token(), new_token(), new_token())


def keep(
    session: Session,
    begun: Begun,
    *,
    browser_token: str,
    back: str,
    address: str,
    must_prove: bool = False,
    session_id: uuid.UUID | None = None,
) -> None:
    """Keep a login that is begun; those that were not ended in time are removed.

    Args:
        session: the caller's transaction.
        begun: what goes to the provider.
        browser_token: of the cookie by which the browser is known when it comes back.
        back: the page of ours to which the login leads.
        address: the network address.
        must_prove: whether being logged in at the provider already is not enough.
        session_id: the session whose person proves again who it is; None for a new login.

    Raises:
        LoginRefused: too many logins from this address are under way.
    """
    now = func.clock_timestamp()
    # By the time of the transaction, which an index can be searched for.
    session.execute(delete(ProviderLogin).where(ProviderLogin.ends_at < func.now()))
    under_way = session.scalar(
        select(func.count()).select_from(ProviderLogin).where(ProviderLogin.address == address)
    )
    if (under_way or 0) >= MOST_OF_ADDRESS:
        raise LoginRefused(
            "too many logins were begun from this address and not ended: wait some minutes",
            LOGIN_SECONDS,
        )
    session.add(
        ProviderLogin(
            state_hash=digest(begun.state),
            browser_hash=digest(browser_token),
            nonce=begun.nonce,
            verifier=begun.verifier,
            back=back,
            must_prove=must_prove,
            session_id=session_id,
            address=address,
            ends_at=now + interval(LOGIN_SECONDS),
        )
    )
    session.flush()


def take(session: Session, state: str, browser_token: str) -> ProviderLogin | None:
    """The login that an answer of the provider belongs to; it is used up.

    Args:
        session: the caller's transaction.
        state: as the answer has it.
        browser_token: of the browser's cookie.

    Returns:
        The login; None where none has that state, it was used, it is older than ten minutes, or
        another browser began it.
    """
    return session.scalar(
        delete(ProviderLogin)
        .where(
            ProviderLogin.state_hash == digest(state),
            ProviderLogin.browser_hash == digest(browser_token),
            ProviderLogin.ends_at > func.clock_timestamp(),
        )
        .returning(ProviderLogin)
    )
