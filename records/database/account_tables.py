"""The tables of accounts: who may log in, with what, from where, and which programs may call.

No password, token or code is in them: only what tells whether one is right. The one exception are
the secrets of a login at an identity provider, which are worth nothing after ten minutes, or
without the cookie of the browser that began it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, listed
from records.states import Role

PERSONS_ROLES = tuple(role for role in Role if role is not Role.SERVICE)
"""The roles that a person can have."""

LOGIN_PATTERN = "^[a-z0-9._@+-]{1,64}$"
"""Login names: ASCII without capitals, so that no two look alike."""


class Account(Base):
    """A person who may log in. Accounts are disabled and never deleted: the trail names them."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(f"role IN ({listed(PERSONS_ROLES)})", name="role_known"),
        CheckConstraint(f"login ~ '{LOGIN_PATTERN}'", name="login_is_plain"),
        CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="identity_is_whole"),
        # Who is known by an identity provider has no password of ours.
        CheckConstraint(
            "issuer IS NULL"
            " OR coalesce(password_hash, totp_secret::text, totp_offered::text) IS NULL",
            name="one_way_to_log_in",
        ),
        Index(
            "uq_accounts_identity",
            "issuer",
            "subject",
            unique=True,
            postgresql_where=text("issuer IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    login: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]  # as pages show it
    role: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    created_by: Mapped[str]
    disabled_at: Mapped[dt.datetime | None]
    password_hash: Mapped[str | None]  # Argon2id in PHC's form; NULL until one was chosen
    password_set_at: Mapped[dt.datetime | None]
    # Encrypted (records.message_keys); NULL where the account has no second factor.
    totp_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    totp_step: Mapped[int | None] = mapped_column(BigInteger)  # of the last code that was accepted
    # A secret that was shown and of which no code was seen yet.
    totp_offered: Mapped[bytes | None] = mapped_column(LargeBinary)
    logged_in_at: Mapped[dt.datetime | None]  # the last time
    # By which an identity provider knows the person (`iss` and `sub`); NULL of a local account.
    issuer: Mapped[str | None]
    subject: Mapped[str | None]


class AccountSite(Base):
    """A site whose studies an account may see."""

    __tablename__ = "account_sites"

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"), primary_key=True, index=True)


class RecoveryCode(Base):
    """A code that replaces one of the second factor, once."""

    __tablename__ = "recovery_codes"

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    code_hash: Mapped[str] = mapped_column(primary_key=True)
    used_at: Mapped[dt.datetime | None]


class AccountLink(Base):
    """A link by which a new account, or one that lost its password, chooses one; used once.

    An account has one: a new link replaces the older one.
    """

    __tablename__ = "account_links"

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    created_by: Mapped[str]
    ends_at: Mapped[dt.datetime]


class AccountSession(Base):
    """A login that lasts. The row is deleted when it ends."""

    __tablename__ = "account_sessions"
    __table_args__ = (
        Index("ix_account_sessions_account_id", "account_id"),
        # Those that have ended by themselves are removed.
        Index("ix_account_sessions_created_at", "created_at"),
        Index(
            "ix_account_sessions_provider_session",
            "provider_session",
            postgresql_where=text("provider_session IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    used_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # When password and code were last given.
    proven_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    address: Mapped[str]  # that it was begun from
    # The identity provider's session that it belongs to (`sid`); NULL of a local account.
    provider_session: Mapped[str | None]


class ProviderLogin(Base):
    """A login that was begun and for which a browser is at the identity provider; used once."""

    __tablename__ = "provider_logins"
    __table_args__ = (
        Index("ix_provider_logins_ends_at", "ends_at"),
        Index("ix_provider_logins_address", "address", "ends_at"),
    )

    state_hash: Mapped[str] = mapped_column(primary_key=True)
    browser_hash: Mapped[str]  # of the cookie of the browser that began it
    nonce: Mapped[str]
    verifier: Mapped[str]  # of PKCE (RFC 7636)
    back: Mapped[str]  # the page of ours to which it leads
    must_prove: Mapped[bool]  # whether being logged in at the provider already is not enough
    # Where somebody proves again who it is: the session in which it was asked for.
    session_id: Mapped[uuid.UUID | None]
    address: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    ends_at: Mapped[dt.datetime]


class LogoutToken(Base):
    """A logout token of an identity provider that was used, so that it is not used again."""

    __tablename__ = "logout_tokens"
    __table_args__ = (Index("ix_logout_tokens_used_at", "used_at"),)

    token_hash: Mapped[str] = mapped_column(primary_key=True)  # of its issuer and `jti`
    used_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class AccountDevice(Base):
    """A browser in which an account has logged in before.

    Failures of others do not lock it out (`records.accounts.lockouts`).
    """

    __tablename__ = "account_devices"
    __table_args__ = (
        Index("ix_account_devices_account_id", "account_id"),
        Index("ix_account_devices_used_at", "used_at"),
    )

    id: Mapped[uuid.UUID] = id_column()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    token_hash: Mapped[str] = mapped_column(unique=True)
    used_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class LoginFailure(Base):
    """How often logins failed in a row, by account, by browser and by address."""

    __tablename__ = "login_failures"
    __table_args__ = (Index("ix_login_failures_last_at", "last_at"),)

    # "account:" and a digest of the login name that was typed, whether or not there is such an
    # account; "device:" and an id; "address:" and a network address.
    key: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    last_at: Mapped[dt.datetime]
    locked_until: Mapped[dt.datetime | None]


class ProgramToken(Base):
    """A program that may call: by a token, or by keys of its own. Tokens are kept as digests."""

    __tablename__ = "program_tokens"
    __table_args__ = (
        CheckConstraint(
            "num_nonnulls(token_hash, key_set, key_set_url) = 1", name="proves_in_one_way"
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    name: Mapped[str] = mapped_column(unique=True)
    token_hash: Mapped[str | None] = mapped_column(unique=True)  # NULL where it has keys
    # Its public keys (RFC 7517).
    key_set: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    key_set_url: Mapped[str | None]  # where it publishes them
    permissions: Mapped[list[str]]
    site_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sites.id"), index=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    created_by: Mapped[str]
    ends_at: Mapped[dt.datetime | None]
    used_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]


class ProgramAccessToken(Base):
    """A token of a few minutes that a program with keys was given for a signed assertion."""

    __tablename__ = "program_access_tokens"
    __table_args__ = (
        Index("ix_program_access_tokens_program_id", "program_id"),
        Index("ix_program_access_tokens_ends_at", "ends_at"),
    )

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    program_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("program_tokens.id"))
    scope: Mapped[str]  # what was granted, as `records.accounts.scopes` writes it
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    ends_at: Mapped[dt.datetime]


class ProgramAssertion(Base):
    """An assertion that was accepted; it is kept until it ends, so that it is accepted once."""

    __tablename__ = "program_assertions"
    __table_args__ = (Index("ix_program_assertions_ends_at", "ends_at"),)

    program_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("program_tokens.id"), primary_key=True)
    jti_hash: Mapped[str] = mapped_column(primary_key=True)
    ends_at: Mapped[dt.datetime]


class EmergencyAccess(Base):
    """A person sees a patient of another site for a limited time, for a reason.

    The patient is the one of `study_id`. It counts in the session that it was opened in, and ends
    with it.
    """

    __tablename__ = "emergency_accesses"
    __table_args__ = (
        CheckConstraint(r"reason ~ '\S'", name="has_reason"),
        Index("ix_emergency_accesses_account_id", "account_id"),
        Index("ix_emergency_accesses_session_id", "session_id"),
        Index("ix_emergency_accesses_study_id", "study_id"),
    )

    id: Mapped[uuid.UUID] = id_column()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    session_id: Mapped[uuid.UUID]  # no foreign key: the rows of sessions are deleted
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    reason: Mapped[str]  # as the person typed it
    began_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    until: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]  # before `until`, by the person or a logout
