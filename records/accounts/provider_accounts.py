"""Accounts that an identity provider makes known: logins, their rights, and the end of sessions.

Such an account is known by issuer and subject, never by a mail address or a login name, which the
provider may give to somebody else. Role and sites are those of the person's groups, anew at each
login.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.accounts import accounts, group_rules, sessions
from records.accounts.digests import digest
from records.accounts.sessions import LiveSession
from records.actors import Actor, acting_as
from records.audit import trail
from records.database.account_tables import (
    LOGIN_PATTERN,
    Account,
    AccountSession,
    AccountSite,
    LogoutToken,
)
from records.database.session import interval, unit_of_work
from records.database.site_tables import Site
from records.errors import LoginRefused, NotAllowed, NotFound
from records.settings import settings
from records.states import ActorKind, AuditAction, AuditOutcome
from records.workflow import sites as site_rows

BY = "the identity provider"
"""Who created such an account."""

TOKEN_KEPT_SECONDS = 3600.0
"""For so long it is known that a logout token was used; one that is that old is not taken."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who has logged in at the identity provider, as its checked token says.

    Attributes:
        issuer: the provider (`iss`).
        subject: the person there (`sub`).
        login: the login name of a new account.
        name: as pages show it; "" is the login name.
        groups: the person's groups.
        provider_session: the session at the provider (`sid`); "" where it names none.
        proven_at: when the person last gave password or card there (`auth_time`); None where it is
            not said.
    """

    issuer: str
    subject: str
    login: str
    name: str
    groups: tuple[str, ...]
    provider_session: str
    proven_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class ProviderLogout:
    """What a checked logout token says (OpenID Connect Back-Channel Logout 1.0, section 2.4).

    Attributes:
        issuer: the provider.
        subject: the person whose sessions end; "" where it names none.
        provider_session: the session at the provider; "" where it names none.
        token_id: of the token (`jti`).
    """

    issuer: str
    subject: str
    provider_session: str
    token_id: str


def log_in(person: Person, address: str) -> tuple[Account, str]:
    """Log a person in who has logged in at the identity provider, and begin a session.

    Args:
        person: who it is.
        address: the network address.

    Returns:
        The account, and the token of the session.

    Raises:
        LoginRefused: the groups give no right here, the account is disabled, or a new account can
            not have this login name. It is in the trail, and nothing is changed.
    """
    try:
        with acting_as(Actor(ActorKind.NOBODY, address=address)), unit_of_work() as session:
            return _log_in(session, person, address)
    except LoginRefused as error:
        record_failure(str(error), address, person)
        raise


def prove_again(person: Person, live: LiveSession, address: str) -> None:
    """Note that the person of a session has logged in at the identity provider once more.

    Raises:
        LoginRefused: it was another person, or the account is disabled.
    """
    actor = Actor(ActorKind.ACCOUNT, live.login, str(live.account_id), address)
    with acting_as(actor), unit_of_work() as session:
        account = _find(session, person)
        is_same = account is not None and account.id == live.account_id
        if is_same:
            sessions.prove(session, live.id, person.provider_session)
            trail.record(
                session, AuditAction.LOGIN, detail="logged in again at the identity provider"
            )
    if not is_same:
        error = LoginRefused("another person than the one who is logged in here has logged in")
        record_failure(str(error), address, person)
        raise error


def record_failure(
    what: str,
    address: str,
    person: Person | None = None,
    outcome: AuditOutcome = AuditOutcome.REFUSED,
) -> None:
    """Write into the trail that a login at the identity provider ended here.

    Args:
        what: why, in our own words.
        address: the network address.
        person: who it was, where that is known.
        outcome: how it ended.
    """
    with acting_as(Actor(ActorKind.NOBODY, address=address)), unit_of_work() as session:
        account = None if person is None else _find(session, person)
        whose = f": account {account.login}" if account is not None else ""
        trail.record(
            session,
            AuditAction.LOGIN,
            outcome=outcome,
            detail=f"a login by the identity provider failed{whose}: {what}",
        )


def end_sessions(logout: ProviderLogout) -> int:
    """End the sessions that a logout token names; how many there were.

    Raises:
        NotAllowed: this token was used before, or it names neither a person nor a session.
    """
    if not (logout.subject or logout.provider_session):
        raise NotAllowed("the logout token names neither a person nor a session")
    with unit_of_work() as session:
        session.execute(
            delete(LogoutToken).where(
                LogoutToken.used_at < func.now() - interval(TOKEN_KEPT_SECONDS)
            )
        )
        mark = digest(f"{digest(logout.issuer)}{logout.token_id}")
        is_new = session.scalar(
            insert(LogoutToken)
            .values(token_hash=mark)
            .on_conflict_do_nothing()
            .returning(LogoutToken.token_hash)
        )
        if is_new is None:
            raise NotAllowed("this logout token was used before")
        named = [Account.issuer == logout.issuer, Account.id == AccountSession.account_id]
        if logout.subject:
            named.append(Account.subject == logout.subject)
        if logout.provider_session:
            named.append(AccountSession.provider_session == logout.provider_session)
        ended = session.scalars(delete(AccountSession).where(*named).returning(Account.login)).all()
        for login in sorted(set(ended)):
            trail.record(
                session,
                AuditAction.LOGOUT,
                detail=f"account {login}: {ended.count(login)} sessions ended by the identity "
                "provider",
            )
    return len(ended)


def check_sites(session: Session) -> None:
    """Check that the sites that groups give exist.

    Raises:
        NotFound: one does not.
    """
    for codes in settings().oidc_sites.values():
        for code in codes.split():
            site_rows.get(session, code)


def _find(session: Session, person: Person) -> Account | None:
    return session.scalar(
        select(Account)
        .where(Account.issuer == person.issuer, Account.subject == person.subject)
        .with_for_update()
    )


def _log_in(session: Session, person: Person, address: str) -> tuple[Account, str]:
    accounts.lock_changes(session)
    account = _find(session, person)
    if account is not None and account.disabled_at is not None:
        raise LoginRefused("this account is disabled here")
    rights = group_rules.choose(person.groups, settings().oidc_roles, settings().oidc_sites)
    try:
        rows = [site_rows.get(session, code) for code in rights.site_codes]
    except NotFound:
        raise LoginRefused("NIGHTDRAFT_OIDC_SITES names a site that does not exist") from None
    is_new = account is None
    if account is None:
        account = _create(session, person, rights)
    actor = Actor(ActorKind.ACCOUNT, account.login, str(account.id), address)
    with acting_as(actor):
        if is_new:
            trail.record(
                session,
                AuditAction.ACCOUNT,
                detail=f"account {account.login} created by the identity provider as {rights.role}",
            )
        account.name = _cleaned(person.name) or account.login
        _give_rights(session, account, rights, rows)
        account.logged_in_at = func.clock_timestamp()
        token = sessions.begin(
            session,
            account.id,
            address,
            provider_session=person.provider_session,
            # Who was logged in there all day has not shown just now who he or she is.
            proven_at=person.proven_at or dt.datetime.fromtimestamp(0, dt.UTC),
        )
        trail.record(session, AuditAction.LOGIN, detail="logged in by the identity provider")
    session.refresh(account)
    return account, token


def _create(session: Session, person: Person, rights: group_rules.Rights) -> Account:
    login = accounts.fold_login(person.login)
    if not re.fullmatch(LOGIN_PATTERN, login):
        raise LoginRefused(
            "the login name that the identity provider gives has other signs than letters from a "
            "to z, digits and . _ @ + -, or more than 64 (NIGHTDRAFT_OIDC_LOGIN_CLAIM)"
        )
    if session.scalar(select(Account.id).where(Account.login == login)):
        raise LoginRefused(
            f"the login name {login} belongs to another account here, and accounts are not joined"
        )
    account = Account(
        login=login,
        name=login,
        role=rights.role,
        created_by=BY,
        issuer=person.issuer,
        subject=person.subject,
    )
    session.add(account)
    session.flush()
    return account


def _give_rights(
    session: Session, account: Account, rights: group_rules.Rights, rows: list[Site]
) -> None:
    if account.role != rights.role:
        older, account.role = account.role, rights.role
        trail.record(
            session,
            AuditAction.ROLE,
            detail=f"account {account.login}: {older} to {rights.role}, by groups",
        )
    before = set(
        session.scalars(select(AccountSite.site_id).where(AccountSite.account_id == account.id))
    )
    if before != {site.id for site in rows}:
        session.execute(delete(AccountSite).where(AccountSite.account_id == account.id))
        session.add_all(AccountSite(account_id=account.id, site_id=site.id) for site in rows)
        session.flush()
        listed = ", ".join(rights.site_codes) or "none"
        trail.record(
            session,
            AuditAction.ROLE,
            detail=f"account {account.login}: sites {listed}, by groups",
        )


def _cleaned(name: str) -> str:
    """A name as pages show it: one line of printable signs."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())[:200]
