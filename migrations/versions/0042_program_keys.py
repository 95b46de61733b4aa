"""Programs that log in with keys of their own, and looks at patients in an emergency.

Revision ID: 0042
Revises: 0041
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

OF_EMERGENCY = sa.text("action = 'EMERGENCY' OR starts_with(detail, 'emergency ')")


def _time(name: str, *, nullable: bool = False, default: bool = False) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()") if default else None,
        nullable=nullable,
    )


def _foreign(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"))


def upgrade() -> None:
    op.alter_column("program_tokens", "token_hash", nullable=True)
    op.add_column("program_tokens", sa.Column("key_set", postgresql.JSONB(), nullable=True))
    op.add_column("program_tokens", sa.Column("key_set_url", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_program_tokens_proves_in_one_way"),
        "program_tokens",
        "num_nonnulls(token_hash, key_set, key_set_url) = 1",
    )
    op.create_table(
        "program_access_tokens",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        _time("created_at", default=True),
        _time("ends_at"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_program_access_tokens")),
        _foreign("program_access_tokens", "program_id", "program_tokens"),
    )
    for column in ("program_id", "ends_at"):
        op.create_index(f"ix_program_access_tokens_{column}", "program_access_tokens", [column])
    op.create_table(
        "program_assertions",
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("jti_hash", sa.Text(), nullable=False),
        _time("ends_at"),
        sa.PrimaryKeyConstraint("program_id", "jti_hash", name=op.f("pk_program_assertions")),
        _foreign("program_assertions", "program_id", "program_tokens"),
    )
    op.create_index("ix_program_assertions_ends_at", "program_assertions", ["ends_at"])
    op.create_table(
        "emergency_accesses",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text(migrations.new_id(op.get_bind())),
            nullable=False,
        ),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _time("began_at", default=True),
        _time("until"),
        _time("ended_at", nullable=True),
        sa.CheckConstraint(r"reason ~ '\S'", name=op.f("ck_emergency_accesses_has_reason")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergency_accesses")),
        _foreign("emergency_accesses", "account_id", "accounts"),
        _foreign("emergency_accesses", "study_id", "studies"),
    )
    for column in ("account_id", "session_id", "study_id"):
        op.create_index(f"ix_emergency_accesses_{column}", "emergency_accesses", [column])
    op.create_index(
        "ix_audit_entries_emergency",
        "audit_entries",
        ["at", "id"],
        postgresql_where=OF_EMERGENCY,
    )


def downgrade() -> None:
    op.drop_index("ix_audit_entries_emergency", "audit_entries")
    op.drop_table("emergency_accesses")
    op.drop_table("program_assertions")
    op.drop_table("program_access_tokens")
    # Programs with keys have no token to go on with.
    op.execute("DELETE FROM program_tokens WHERE token_hash IS NULL")
    op.drop_constraint("ck_program_tokens_proves_in_one_way", "program_tokens")
    op.drop_column("program_tokens", "key_set_url")
    op.drop_column("program_tokens", "key_set")
    op.alter_column("program_tokens", "token_hash", nullable=False)
