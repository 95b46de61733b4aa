"""Accounts: create, find, list, change; the link by which a person chooses a password.

Every change is in the trail. An account is disabled and never deleted, for the trail names it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from sqlalchemy import delete, exists, func, select, text
from sqlalchemy.orm import Session

from records.accounts import local_logins, lockouts, passwords, sessions
from records.accounts.digests import digest, new_token
from records.audit import trail
from records.database.account_tables import (
    LOGIN_PATTERN,
    PERSONS_ROLES,
    Account,
    AccountDevice,
    AccountLink,
    AccountSession,
    AccountSite,
    RecoveryCode,
)
from records.database.session import interval
from records.database.site_tables import Site
from records.errors import NotAllowed, NotFound
from records.states import AuditAction, Role
from records.workflow import sites as site_rows

LINK_SECONDS = 86_400.0
"""For how long a link can be used."""

_LOCK = 4_207_036_001
"""Of PostgreSQL's advisory locks: who creates accounts or takes rights away, one at a time."""


def fold_login(login: str) -> str:
    """A login name as it is kept and compared."""
    return login.strip().casefold()


def exist(session: Session) -> bool:
    """Whether there is any account: from the first one on, nothing is answered without a login."""
    return bool(session.scalar(select(exists().where(Account.id.is_not(None)))))


def create(
    session: Session, login: str, role: Role, site_codes: Sequence[str], by: str, name: str = ""
) -> tuple[Account, str]:
    """Create an account without a password.

    Args:
        session: the caller's transaction.
        login: its login name.
        role: what it may do; the first account's is ADMINISTRATOR.
        site_codes: the sites whose studies it may see; none is the first site.
        by: who creates it.
        name: as pages show it; "" is the login name.

    Returns:
        The account, and the token of the link by which the person chooses a password.

    Raises:
        NotAllowed: the login name cannot be one or is taken, the role is none of a person's, or the
            first account would not be an administrator's.
        NotFound: no site has that code.
    """
    folded = fold_login(login)
    if not re.fullmatch(LOGIN_PATTERN, folded):
        raise NotAllowed(
            "a login name has letters from a to z, digits and the signs . _ @ + -, 64 at most"
        )
    if role not in PERSONS_ROLES:
        raise NotAllowed(
            "SERVICE is the role of programs: create a token instead (`nightdraft token create`)"
        )
    if not local_logins.is_allowed(folded):
        raise NotAllowed(
            "local accounts are switched off (NIGHTDRAFT_FALLBACK_ACCOUNT): the identity provider "
            "makes accounts, at the first login of each person"
        )
    lock_changes(session)
    if role is not Role.ADMINISTRATOR and not exist(session):
        raise NotAllowed(
            "the first account must be an ADMINISTRATOR's: from the first account on nothing is "
            "answered without a login, and only an administrator can make further accounts and "
            "unlock them"
        )
    if session.scalar(select(Account.id).where(Account.login == folded)):
        raise NotAllowed(f"there is an account with the login name {folded}")
    account = Account(login=folded, name=name.strip() or folded, role=role, created_by=by)
    session.add(account)
    session.flush()
    set_sites(session, folded, site_codes or ["default"], is_new=True)
    trail.record(session, AuditAction.ACCOUNT, detail=f"account {folded} created as {role}")
    return account, make_link(session, account, by)


def lock_changes(session: Session) -> None:
    """Let one transaction at a time create accounts or change their rights."""
    session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def get(session: Session, login: str, *, is_locked: bool = True) -> Account:
    """The account of a login name.

    Args:
        session: the caller's transaction.
        login: the name, in whatever case.
        is_locked: whether the row is locked until the transaction ends, because it may be changed.

    Raises:
        NotFound: there is none.
    """
    query = select(Account).where(Account.login == fold_login(login))
    account = session.scalar(query.with_for_update() if is_locked else query)
    if account is None:
        raise NotFound("there is no account with that login name")
    return account


def list_all(session: Session) -> Sequence[Account]:
    """All accounts, by their login names."""
    return session.scalars(select(Account).order_by(Account.login)).all()


def list_sites(session: Session) -> dict[uuid.UUID, list[Site]]:
    """The sites of each account that has one, by their codes."""
    found: dict[uuid.UUID, list[Site]] = {}
    for account_id, site in session.execute(
        select(AccountSite.account_id, Site)
        .join(Site, Site.id == AccountSite.site_id)
        .order_by(Site.code)
    ):
        found.setdefault(account_id, []).append(site)
    return found


def set_sites(
    session: Session, login: str, site_codes: Sequence[str], *, is_new: bool = False
) -> None:
    """Let an account see the studies of these sites and of no others.

    Raises:
        NotFound: there is no such account or site.
        NotAllowed: no site is named, or the account is one of the identity provider.
    """
    account = get(session, login)
    if not is_new:
        _refuse_of_provider(account)
    if not site_codes:
        raise NotAllowed("name at least one site")
    rows = [site_rows.get(session, code) for code in dict.fromkeys(site_codes)]
    session.execute(delete(AccountSite).where(AccountSite.account_id == account.id))
    session.add_all(AccountSite(account_id=account.id, site_id=site.id) for site in rows)
    session.flush()
    if not is_new:
        listed = ", ".join(site.code for site in rows)
        trail.record(session, AuditAction.ROLE, detail=f"account {account.login}: sites {listed}")


def set_role(session: Session, login: str, role: Role) -> None:
    """Give an account another role; it counts from the next request on.

    Raises:
        NotFound: there is no such account.
        NotAllowed: the role is none of a person's, nobody would be an administrator any more, or
            the account is one of the identity provider.
    """
    if role not in PERSONS_ROLES:
        raise NotAllowed("SERVICE is the role of programs, which have tokens")
    lock_changes(session)
    account = get(session, login)
    _refuse_of_provider(account)
    if role is not Role.ADMINISTRATOR:
        _keep_an_administrator(session, account)
    older, account.role = account.role, role
    trail.record(session, AuditAction.ROLE, detail=f"account {account.login}: {older} to {role}")


def disable(session: Session, login: str) -> None:
    """Let an account log in no more, and end its sessions and its link.

    Raises:
        NotFound: there is no such account.
        NotAllowed: nobody would be an administrator any more.
    """
    lock_changes(session)
    account = get(session, login)
    if account.issuer is None and local_logins.is_fallback(account.login):
        raise NotAllowed(
            f"{account.login} is the fallback account: name another one by "
            "NIGHTDRAFT_FALLBACK_ACCOUNT first"
        )
    _keep_an_administrator(session, account)
    if account.disabled_at is None:
        account.disabled_at = func.clock_timestamp()
        for table in (AccountSession, AccountLink, AccountDevice):
            session.execute(delete(table).where(table.account_id == account.id))
        session.flush()
        trail.record(session, AuditAction.ACCOUNT, detail=f"account {account.login} disabled")


def enable(session: Session, login: str) -> None:
    """Let a disabled account log in again.

    Raises:
        NotFound: there is no such account.
    """
    account = get(session, login)
    if account.disabled_at is not None:
        account.disabled_at = None
        trail.record(session, AuditAction.ACCOUNT, detail=f"account {account.login} enabled")


def unlock(session: Session, login: str) -> None:
    """Let an account log in at once that must wait after failures.

    Raises:
        NotFound: there is no such account.
    """
    account = get(session, login)
    lockouts.unlock(session, account.login)
    for device in session.scalars(
        select(AccountDevice.id).where(AccountDevice.account_id == account.id)
    ):
        lockouts.unlock_device(session, device)
    trail.record(session, AuditAction.ACCOUNT, detail=f"account {account.login} unlocked")


def end_sessions(session: Session, login: str) -> int:
    """End all sessions of an account; how many there were.

    Raises:
        NotFound: there is no such account.
    """
    account = get(session, login)
    ended = sessions.end_all(session, account.id)
    trail.record(session, AuditAction.LOGOUT, detail=f"account {account.login}: sessions ended")
    return ended


def reset(session: Session, login: str, by: str, *, second_factor: bool = False) -> str:
    """Take an account's password away, end its sessions, and make a link to choose a new one.

    Args:
        session: the caller's transaction.
        login: its login name.
        by: who does it.
        second_factor: whether the second factor and its recovery codes are taken away, too.

    Returns:
        The token of the link.

    Raises:
        NotFound: there is no such account.
        NotAllowed: it is disabled, or the identity provider has its password.
    """
    account = get(session, login)
    if account.issuer is not None:
        raise NotAllowed(
            f"{account.login} logs in at the identity provider, which has its password"
        )
    if account.disabled_at is not None:
        raise NotAllowed("the account is disabled: enable it first")
    account.password_hash = account.password_set_at = None
    if second_factor:
        account.totp_secret = account.totp_step = account.totp_offered = None
        session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    for table in (AccountSession, AccountDevice):
        session.execute(delete(table).where(table.account_id == account.id))
    session.flush()
    also = " and second factor" if second_factor else ""
    trail.record(
        session, AuditAction.ACCOUNT, detail=f"account {account.login}: password{also} reset"
    )
    return make_link(session, account, by)


def make_link(session: Session, account: Account, by: str) -> str:
    """Make the token of a link by which an account chooses a password; an older one ends."""
    token = new_token()
    session.execute(delete(AccountLink).where(AccountLink.account_id == account.id))
    session.add(
        AccountLink(
            account_id=account.id,
            token_hash=digest(token),
            created_by=by,
            ends_at=func.clock_timestamp() + interval(LINK_SECONDS),
        )
    )
    session.flush()
    return token


def find_by_link(session: Session, token: str, *, is_locked: bool = True) -> Account:
    """The account of a link that can still be used.

    Args:
        session: the caller's transaction.
        token: the end of the link.
        is_locked: whether the link is locked until the transaction ends, because it is used up.

    Raises:
        NotFound: the link was used, has ended, was replaced, or never was.
    """
    query = (
        select(Account)
        .join(AccountLink, AccountLink.account_id == Account.id)
        .where(
            AccountLink.token_hash == digest(token),
            AccountLink.ends_at > func.clock_timestamp(),
            Account.disabled_at.is_(None),
            local_logins.is_local(),
        )
    )
    account = session.scalar(query.with_for_update(of=AccountLink) if is_locked else query)
    if account is None:
        raise NotFound(
            "this link was used, or it is older than a day: ask an administrator for a new one"
        )
    return account


def use_link(session: Session, token: str, password: str) -> Account:
    """Choose the password of a link's account; the link is used up.

    Raises:
        NotFound: the link cannot be used.
        NotAllowed: the password cannot be taken; the link stays.
    """
    account = find_by_link(session, token)
    set_password(session, account, password)
    session.execute(delete(AccountLink).where(AccountLink.account_id == account.id))
    trail.record(
        session, AuditAction.ACCOUNT, detail=f"account {account.login}: password chosen by link"
    )
    return account


def use_up_link(session: Session, token: str) -> Account:
    """The account of a link, which is used up; no password is chosen.

    Raises:
        NotFound: the link cannot be used.
    """
    account = find_by_link(session, token)
    session.execute(delete(AccountLink).where(AccountLink.account_id == account.id))
    return account


def set_password(session: Session, account: Account, password: str) -> None:
    """Give an account another password, and end all of its sessions.

    Raises:
        NotAllowed: the password cannot be taken.
    """
    passwords.check_new(password, (account.login, account.name))
    account.password_hash = passwords.make_hash(password)
    account.password_set_at = func.clock_timestamp()
    session.execute(delete(AccountSession).where(AccountSession.account_id == account.id))
    lockouts.unlock(session, account.login)
    session.flush()


def _refuse_of_provider(account: Account) -> None:
    if account.issuer is not None:
        raise NotAllowed(
            f"role and sites of {account.login} are those of the groups at the identity provider "
            "(NIGHTDRAFT_OIDC_ROLES, NIGHTDRAFT_OIDC_SITES), anew at each login"
        )


def _keep_an_administrator(session: Session, account: Account) -> None:
    if account.role != Role.ADMINISTRATOR or account.disabled_at is not None:
        return
    others = session.scalar(
        select(func.count()).where(
            Account.role == Role.ADMINISTRATOR,
            Account.disabled_at.is_(None),
            Account.id != account.id,
        )
    )
    if not others:
        raise NotAllowed(
            f"{account.login} is the only administrator: make another account an ADMINISTRATOR "
            "first"
        )
