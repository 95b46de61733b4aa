"""How long logins are refused after failures: by account, by browser, and by address.

An attempt is counted before its password is looked at, so that many at the same time do not get
through together. After some failures in a row each further one doubles the wait, up to
MOST_WAIT_SECONDS; refused attempts lengthen nothing, so that the wait ends whoever knocks.

Who has logged in before in this browser has a count of its own, which no stranger can raise. So
nobody is locked out for ever by somebody else's failures. A login name that no account has is
counted as any other: a wait tells nothing.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from dataclasses import dataclass

from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.accounts.digests import digest
from records.database.account_tables import LoginFailure
from records.database.session import database_time, interval

FREE_FAILURES = 5
"""Failures of an account, or of a browser, before the first wait."""

FREE_FAILURES_OF_ADDRESS = 30
"""Failures from an address before its first wait: many people may share it."""

FIRST_WAIT_SECONDS = 15.0
MOST_WAIT_SECONDS = 900.0

FORGOTTEN_AFTER_SECONDS = 3600.0
"""A count begins anew where nothing failed for so long."""

_KEPT_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was counted: under which keys."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that was refused before anything was looked at.

    Attributes:
        wait_seconds: until when every further one is refused, too.
    """

    wait_seconds: float


def begin(
    session: Session, login: str, address: str, device: uuid.UUID | None
) -> Attempt | Refused:
    """Count an attempt, or refuse it.

    Args:
        session: a transaction of its own, which commits before the password is looked at.
        login: the login name that was typed, casefolded.
        address: the network address that it comes from.
        device: our id of the browser, where this account has logged in in it before.
    """
    if device is not None:
        limits = [(f"device:{device}", FREE_FAILURES)]
    else:
        limits = [
            (address_key(address), FREE_FAILURES_OF_ADDRESS),
            (account_key(login), FREE_FAILURES),
        ]
    for key, free in limits:
        if not _count(session, key, free):
            return Refused(_wait(session, key))
    return Attempt(tuple(key for key, _ in limits))


def begin_program(session: Session, address: str) -> Attempt | Refused:
    """Count an attempt of a program, or refuse it: by its address alone, for no key is guessed.

    Args:
        session: a transaction of its own, which commits before the assertion is looked at.
        address: the network address that it comes from. People's logins have another count, and
            one that is right ends this one: with a key of one's own no other key is guessed.
    """
    key = f"programs:{address_key(address)}"
    if not _count(session, key, FREE_FAILURES_OF_ADDRESS):
        return Refused(_wait(session, key))
    return Attempt((key,))


def succeed(session: Session, attempt: Attempt) -> None:
    """Take an attempt back that was right; the count of the account or browser ends."""
    for key in attempt.keys:
        if key.startswith("address:"):
            # Only this attempt: else who has one account could try others without end.
            row = session.get(LoginFailure, key, with_for_update=True)
            if row is not None:
                row.number = max(row.number - 1, 0)
                if row.number < FREE_FAILURES_OF_ADDRESS:
                    row.locked_until = None
        else:
            session.execute(delete(LoginFailure).where(LoginFailure.key == key))


def wait_after(session: Session, attempt: Attempt) -> float:
    """Seconds for which further attempts are refused after this one failed; 0.0 for none."""
    return max(_wait(session, key) for key in attempt.keys)


def unlock(session: Session, login: str) -> None:
    """Forget the failures of a login name."""
    session.execute(delete(LoginFailure).where(LoginFailure.key == account_key(login)))


def unlock_device(session: Session, device: uuid.UUID) -> None:
    """Forget the failures in a browser."""
    session.execute(delete(LoginFailure).where(LoginFailure.key == f"device:{device}"))


def locked_until(session: Session, login: str) -> dt.datetime | None:
    """Until when browsers that are new to an account are refused; None where they are not."""
    return session.scalar(
        select(LoginFailure.locked_until).where(
            LoginFailure.key == account_key(login),
            LoginFailure.locked_until > func.clock_timestamp(),
        )
    )


def forget_old(session: Session) -> None:
    """Remove the counts that no longer mean anything."""
    # now() stands still in a transaction, so that the index can be asked for it.
    session.execute(
        delete(LoginFailure).where(LoginFailure.last_at < func.now() - interval(_KEPT_SECONDS))
    )


def account_key(login: str) -> str:
    """The key of a login name; somebody may have typed a password there, so it is not kept."""
    return f"account:{digest(login)}"


def address_key(address: str) -> str:
    """The key of a network address; of IPv6 the network, of which one customer has all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address}"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return f"address:{parsed.ipv4_mapped}"
        return f"address:{ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"address:{parsed}"


def _count(session: Session, key: str, free: int) -> bool:
    """Count one more; False, and nothing is changed, where the key must wait."""
    now = func.clock_timestamp()
    is_old = LoginFailure.last_at < now - interval(FORGOTTEN_AFTER_SECONDS)
    number = case((is_old, 1), else_=LoginFailure.number + 1)
    # 15 s, 30 s, 1 min ...; the exponent is bounded, so that nothing overflows.
    doubled = FIRST_WAIT_SECONDS * func.power(2.0, func.least(number - free, 20))
    seconds = func.least(doubled, MOST_WAIT_SECONDS)
    counted = session.scalar(
        insert(LoginFailure)
        .values(key=key, number=1, last_at=now)
        .on_conflict_do_update(
            index_elements=["key"],
            set_={
                "number": number,
                "last_at": now,
                "locked_until": case(
                    (number >= free, now + func.make_interval(0, 0, 0, 0, 0, 0, seconds))
                ),
            },
            where=LoginFailure.locked_until.is_(None) | (LoginFailure.locked_until <= now),
        )
        .returning(LoginFailure.number)
    )
    return counted is not None


def _wait(session: Session, key: str) -> float:
    until = session.scalar(select(LoginFailure.locked_until).where(LoginFailure.key == key))
    if until is None:
        return 0.0
    return max((until - database_time(session)).total_seconds(), 0.0)
