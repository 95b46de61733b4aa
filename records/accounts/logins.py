"""Logging in, giving the password again, and changing it.

Each function makes its own transactions: an attempt is counted before the password is looked at,
and no transaction is open while it is hashed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.accounts import (
    accounts,
    local_logins,
    lockouts,
    passwords,
    second_factors,
    sessions,
)
from records.accounts.digests import digest, new_token
from records.accounts.lockouts import Attempt, Refused
from records.actors import Actor, acting_as
from records.audit import trail
from records.database.account_tables import Account, AccountDevice
from records.database.session import interval, unit_of_work
from records.errors import LoginRefused, NotAllowed
from records.settings import settings
from records.states import ActorKind, AuditAction, AuditOutcome

WRONG = "login name, password or code are wrong"
"""One sentence for all that can be wrong: no more is told to a stranger."""

_DEVICE_DAYS = 365


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login that succeeded.

    Attributes:
        session_token: for the cookie of the session.
        device_token: for the cookie by which the browser is known again.
        account: who it is.
    """

    session_token: str
    device_token: str
    account: Account


def log_in(
    login: str, password: str, code: str, *, address: str, device_token: str = ""
) -> LoggedIn:
    """Log in and begin a session.

    Args:
        login: the login name, as typed.
        password: as typed.
        code: of the second factor, where the account has one.
        address: the network address.
        device_token: of the browser's cookie; "" where it has none.

    Raises:
        LoginRefused: something of it is wrong, or there were too many attempts.
    """
    folded = accounts.fold_login(login)[:1000]
    with acting_as(Actor(ActorKind.NOBODY, address=address)), unit_of_work() as session:
        device = _find_device(session, folded, device_token)
        attempt = lockouts.begin(session, folded, address, device)
        # The same statements whether or not there is such an account.
        found = session.scalar(select(Account).where(Account.login == folded))
        if isinstance(attempt, Refused):
            _record_failure(session, found, "too many attempts")
    if isinstance(attempt, Refused):
        raise _too_many(attempt.wait_seconds)
    account = _prove(found, password, code, attempt, address)
    actor = Actor(ActorKind.ACCOUNT, account.login, str(account.id), address)
    with acting_as(actor), unit_of_work() as session:
        lockouts.succeed(session, attempt)
        lockouts.forget_old(session)
        token = sessions.begin(session, account.id, address)
        known_device = device_token if device is not None else new_token()
        _remember_device(session, account.id, known_device)
        session.execute(
            update(Account)
            .where(Account.id == account.id)
            .values(logged_in_at=func.clock_timestamp())
        )
        is_fallback = local_logins.is_fallback(account.login)
        detail = "logged in with the fallback account" if is_fallback else "logged in"
        trail.record(session, AuditAction.LOGIN, detail=detail)
    return LoggedIn(token, known_device, account)


def log_in_by_link(token: str, address: str) -> str:
    """Log the demonstration's reader in by its link, which is used up; the session's token.

    Args:
        token: of the link.
        address: the network address.

    Raises:
        NotFound: the link cannot be used.
        NotAllowed: it is another account's.
    """
    with unit_of_work() as session:
        account = accounts.use_up_link(session, token)
        if account.login != settings().demo_reader:
            raise NotAllowed("only the demonstration's reader logs in by a link")
        with acting_as(Actor(ActorKind.ACCOUNT, account.login, str(account.id), address)):
            session_token = sessions.begin(session, account.id, address)
            trail.record(
                session, AuditAction.LOGIN, detail="logged in by the link of the demonstration"
            )
    return session_token


def prove_again(session_id: uuid.UUID, login: str, password: str, code: str, address: str) -> None:
    """Give password and code again within a session; what needs it may be done for a while.

    Raises:
        LoginRefused: something of it is wrong, or there were too many attempts.
    """
    check(login, password, code, address)
    with unit_of_work() as session:
        sessions.prove(session, session_id)
        trail.record(session, AuditAction.LOGIN, detail="gave the password again")


def change_password(login: str, password: str, code: str, new_password: str, address: str) -> str:
    """Change a password; every session ends, and a new one begins for who changed it.

    Returns:
        The token of the new session.

    Raises:
        LoginRefused: the old password or the code is wrong, or there were too many attempts.
        NotAllowed: the new password cannot be taken; nothing is changed.
    """
    passwords.check_new(new_password, (login,))
    check(login, password, code, address)
    with unit_of_work() as session:
        account = accounts.get(session, login)
        accounts.set_password(session, account, new_password)
        trail.record(
            session, AuditAction.ACCOUNT, detail=f"account {account.login}: password changed"
        )
        return sessions.begin(session, account.id, address)


def check(login: str, password: str, code: str, address: str) -> None:
    """Check the password and code of an account that is logged in.

    Raises:
        LoginRefused: something of it is wrong, or there were too many attempts.
    """
    with unit_of_work() as session:
        account = session.scalar(select(Account).where(Account.login == login))
        # Whoever sits at somebody's open session guesses here, and has a count of that session.
        attempt = lockouts.begin(session, login, address, account.id if account else None)
    if isinstance(attempt, Refused):
        raise _too_many(attempt.wait_seconds)
    _prove(account, password, code, attempt, address)
    with unit_of_work() as session:
        lockouts.succeed(session, attempt)


def _prove(
    account: Account | None, password: str, code: str, attempt: Attempt, address: str
) -> Account:
    """Look at password and code of an attempt that was counted."""
    usable = account
    if account is not None:
        is_usable = account.disabled_at is None and local_logins.may_use_password(account)
        usable = account if is_usable else None
    is_right = passwords.is_right(password, usable.password_hash if usable else None)
    wait = 0.0
    with acting_as(Actor(ActorKind.NOBODY, address=address)), unit_of_work() as session:
        if usable is not None and is_right and usable.totp_secret is not None:
            is_right = second_factors.accept(session, usable, code)
        if not (usable is not None and is_right):
            _record_failure(session, account, "a login failed")
            if (wait := lockouts.wait_after(session, attempt)) > 0:
                _record_failure(session, account, f"locked for {wait:.0f} s")
            usable = None
        elif passwords.is_outdated(usable.password_hash or ""):
            session.execute(
                update(Account)
                .where(Account.id == usable.id, Account.password_hash == usable.password_hash)
                .values(password_hash=passwords.make_hash(password))
            )
    if usable is None:
        raise LoginRefused(WRONG, wait)
    return usable


def _record_failure(session: Session, account: Account | None, what: str) -> None:
    # A name that no account has may be a password that was typed into the wrong field.
    whose = f"account {account.login}" if account is not None else "no account has that name"
    trail.record(
        session, AuditAction.LOGIN, outcome=AuditOutcome.REFUSED, detail=f"{what}: {whose}"
    )


def _too_many(wait_seconds: float) -> LoginRefused:
    return LoginRefused(
        f"there were too many attempts: wait {max(wait_seconds, 1):.0f} s", max(wait_seconds, 1.0)
    )


def _find_device(session: Session, login: str, token: str) -> uuid.UUID | None:
    return session.scalar(
        select(AccountDevice.id)
        .join(Account, Account.id == AccountDevice.account_id)
        .where(
            AccountDevice.token_hash == digest(token),
            AccountDevice.used_at > func.clock_timestamp() - interval(86_400 * _DEVICE_DAYS),
            Account.login == login,
        )
    )


def _remember_device(session: Session, account_id: uuid.UUID, token: str) -> None:
    session.execute(
        insert(AccountDevice)
        .values(account_id=account_id, token_hash=digest(token))
        .on_conflict_do_update(
            index_elements=["token_hash"], set_={"used_at": func.clock_timestamp()}
        )
    )
