"""Which accounts may log in by the settings, and in which way.

A local account logs in by a password, the others at the identity provider that made them known.
Where a fallback account is named, it is the only local one (NIGHTDRAFT_FALLBACK_ACCOUNT).
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.orm import Session

from records.database.account_tables import Account
from records.errors import SettingsError
from records.settings import settings


def are_limited() -> bool:
    """Whether local accounts are switched off, all but the fallback account."""
    return bool(settings().fallback_account)


def is_allowed(login: str) -> bool:
    """Whether a local account of this login name may log in."""
    return not are_limited() or login == settings().fallback_account


def is_fallback(login: str) -> bool:
    """Whether this is the login name of the fallback account."""
    return login == settings().fallback_account


def may_use_password(account: Account) -> bool:
    """Whether an account logs in by a password."""
    return account.issuer is None and is_allowed(account.login)


def is_local() -> ColumnElement[bool]:
    """The condition that an account logs in by a password."""
    named = settings().fallback_account
    return and_(Account.issuer.is_(None), Account.login == named if named else true())


def may_be_logged_in() -> ColumnElement[bool]:
    """The condition that an account has a way to log in; else its sessions have ended."""
    return or_(is_local(), Account.issuer == settings().oidc_issuer)


def check_fallback_account(session: Session) -> None:
    """Check that the one local account which is left can log in.

    Raises:
        SettingsError: it cannot, so nobody could while the identity provider is away.
    """
    named = settings().fallback_account
    if not named:
        return
    if not settings().oidc_issuer:
        raise SettingsError(
            "NIGHTDRAFT_FALLBACK_ACCOUNT switches all other local accounts off, and "
            "NIGHTDRAFT_OIDC_ISSUER names no identity provider: set it, or take the first away"
        )
    account = session.scalar(select(Account).where(Account.login == named))
    lacks = ""
    if account is None:
        lacks = "there is no such account: make it (`nightdraft account create`)"
    elif account.issuer is not None:
        lacks = "it is an account of the identity provider: name a local one"
    elif account.disabled_at is not None:
        lacks = "it is disabled: enable it (`nightdraft account enable`)"
    elif account.password_hash is None:
        lacks = "it has no password: let its person open the link (`nightdraft account reset`)"
    if lacks:
        raise SettingsError(
            f"NIGHTDRAFT_FALLBACK_ACCOUNT={named} would lock everybody out while the identity "
            f"provider does not answer, for {lacks}. Start without this setting, and set it when "
            "that account has logged in once"
        )
