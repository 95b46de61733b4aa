"""Accounts of an identity provider, the logins that are under way, and logout tokens.

Revision ID: 0041
Revises: 0040
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

HAS_IDENTITY = sa.text("issuer IS NOT NULL")
HAS_PROVIDER_SESSION = sa.text("provider_session IS NOT NULL")


def _text(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, default: bool = False) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()") if default else None,
        nullable=False,
    )


def upgrade() -> None:
    for column in ("issuer", "subject"):
        op.add_column("accounts", _text(column, nullable=True))
    op.create_check_constraint(
        op.f("ck_accounts_identity_is_whole"), "accounts", "(issuer IS NULL) = (subject IS NULL)"
    )
    op.create_check_constraint(
        op.f("ck_accounts_one_way_to_log_in"),
        "accounts",
        "issuer IS NULL OR coalesce(password_hash, totp_secret::text, totp_offered::text) IS NULL",
    )
    op.create_index(
        "uq_accounts_identity",
        "accounts",
        ["issuer", "subject"],
        unique=True,
        postgresql_where=HAS_IDENTITY,
    )
    op.add_column("account_sessions", _text("provider_session", nullable=True))
    op.create_index(
        "ix_account_sessions_provider_session",
        "account_sessions",
        ["provider_session"],
        postgresql_where=HAS_PROVIDER_SESSION,
    )
    op.create_table(
        "provider_logins",
        _text("state_hash"),
        _text("browser_hash"),
        _text("nonce"),
        _text("verifier"),
        _text("back"),
        sa.Column("must_prove", sa.Boolean(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        _text("address"),
        _time("created_at", default=True),
        _time("ends_at"),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_provider_logins")),
    )
    op.create_index("ix_provider_logins_ends_at", "provider_logins", ["ends_at"])
    op.create_index("ix_provider_logins_address", "provider_logins", ["address", "ends_at"])
    op.create_table(
        "logout_tokens",
        _text("token_hash"),
        _time("used_at", default=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_logout_tokens")),
    )
    op.create_index("ix_logout_tokens_used_at", "logout_tokens", ["used_at"])


def downgrade() -> None:
    op.drop_table("logout_tokens")
    op.drop_table("provider_logins")
    op.drop_index("ix_account_sessions_provider_session", "account_sessions")
    op.drop_column("account_sessions", "provider_session")
    # An account of an identity provider becomes one without a password, which nobody can use.
    op.drop_index("uq_accounts_identity", "accounts")
    for name in ("one_way_to_log_in", "identity_is_whole"):
        op.drop_constraint(op.f(f"ck_accounts_{name}"), "accounts")
    for column in ("subject", "issuer"):
        op.drop_column("accounts", column)
