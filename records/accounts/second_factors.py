"""The second factor: codes of an app (TOTP, RFC 6238) and recovery codes, each accepted once."""

from __future__ import annotations

import base64
import hmac
import secrets
import uuid

import pyotp
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from records import message_keys
from records.accounts.digests import digest
from records.audit import trail
from records.database.account_tables import Account, RecoveryCode
from records.database.session import database_time
from records.errors import NotAllowed
from records.states import AuditAction

STEP_SECONDS = 30
"""Of RFC 6238, 5.2; what apps take for granted."""

_DRIFT_STEPS = 1
"""Codes before and after the present one that count: a telephone's clock may be wrong."""

RECOVERY_CODES = 10
_RECOVERY_BYTES = 10  # 80 random bits: a plain digest is enough

_ISSUER = "Nightdraft"


def offer(session: Session, account: Account) -> tuple[str, str]:
    """Make a secret for an account; it counts from `confirm` on.

    Returns:
        The secret in base32, as a person types it, and the same as an address (otpauth), which a QR
        code carries.

    Raises:
        NotAllowed: the account has a second factor already.
    """
    if account.totp_secret is not None:
        raise NotAllowed("the account has a second factor: take it away first")
    secret = pyotp.random_base32()
    account.totp_offered = message_keys.encrypt(secret.encode())
    session.flush()
    return secret, address(account, secret)


def address(account: Account, secret: str) -> str:
    """The address (otpauth) of a secret."""
    return pyotp.TOTP(secret).provisioning_uri(name=account.login, issuer_name=_ISSUER)


def offered_secret(account: Account) -> str | None:
    """The secret that was offered last and is not confirmed; None where there is none."""
    if account.totp_offered is None:
        return None
    return message_keys.decrypt(account.totp_offered).decode()


def confirm(session: Session, account: Account, code: str) -> list[str]:
    """Begin to ask an account for codes, once its app has shown a right one.

    Returns:
        The recovery codes, which are shown this once.

    Raises:
        NotAllowed: nothing was offered, or the code is not right.
    """
    secret = offered_secret(account)
    step = None if secret is None else _find_step(session, secret, code)
    if step is None:
        raise NotAllowed("the code is not right: type the one that the app shows now")
    account.totp_secret, account.totp_offered = account.totp_offered, None
    account.totp_step = step
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    session.add_all(
        RecoveryCode(account_id=account.id, code_hash=digest(_plain(code))) for code in codes
    )
    session.flush()
    trail.record(
        session, AuditAction.ACCOUNT, detail=f"account {account.login}: second factor begun"
    )
    return codes


def remove(session: Session, account: Account) -> None:
    """Ask an account for no codes any more."""
    account.totp_secret = account.totp_step = account.totp_offered = None
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    session.flush()
    trail.record(
        session, AuditAction.ACCOUNT, detail=f"account {account.login}: second factor ended"
    )


def accept(session: Session, account: Account, code: str) -> bool:
    """Whether a code is right; it is used up then.

    Args:
        session: the caller's transaction, which must commit if the code is taken.
        account: an account with a second factor.
        code: of the app, or a recovery code.
    """
    if account.totp_secret is None:
        raise ValueError("the account has no second factor")
    secret = message_keys.decrypt(account.totp_secret).decode()
    step = _find_step(session, secret, code)
    if step is not None:
        # Of two requests with one code, the second finds the step taken.
        taken = session.scalar(
            update(Account)
            .where(
                Account.id == account.id,
                or_(Account.totp_step.is_(None), Account.totp_step < step),
            )
            .values(totp_step=step)
            .returning(Account.id)
        )
        return taken is not None
    used = session.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.account_id == account.id,
            RecoveryCode.code_hash == digest(_plain(code)),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=func.clock_timestamp())
        .returning(RecoveryCode.account_id)
    )
    return used is not None


def count_recovery_codes(session: Session, account_id: uuid.UUID) -> int:
    """How many recovery codes are left."""
    query = select(func.count()).where(
        RecoveryCode.account_id == account_id, RecoveryCode.used_at.is_(None)
    )
    return session.scalar(query) or 0


def _find_step(session: Session, secret: str, code: str) -> int | None:
    """The number of the time step of a code, by the database's clock; None where it is wrong."""
    typed = code.replace(" ", "")
    if len(typed) != 6 or not typed.isascii() or not typed.isdigit():
        return None
    now = int(database_time(session).timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    found = None
    for step in range(now - _DRIFT_STEPS, now + _DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), typed):
            found = step
    return found


def _new_recovery_code() -> str:
    code = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def _plain(code: str) -> str:
    return code.replace("-", "").replace(" ", "").casefold()
