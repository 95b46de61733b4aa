"""The answers that REST keeps for calls with an Idempotency-Key.

Revision ID: 0053
Revises: 0052
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_answers",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", JSONB(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("shown", JSONB(), nullable=False),
        sa.Column(
            "kept_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("status BETWEEN 200 AND 499", name=op.f("ck_kept_answers_is_an_answer")),
        sa.PrimaryKeyConstraint("caller", "key_sha256", name=op.f("pk_kept_answers")),
    )
    op.create_index("ix_kept_answers_kept_at", "kept_answers", ["kept_at"])


def downgrade() -> None:
    op.drop_table("kept_answers")
