"""Damage of stored instances, and how far the scrub has come that looks for it.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("damage", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_instances_damage_known"), "instances", "damage IN ('GONE', 'CHANGED')"
    )
    op.create_index(
        "ix_instances_damaged",
        "instances",
        ["id"],
        unique=False,
        postgresql_where=sa.text("damage IS NOT NULL"),
    )
    op.create_table(
        "blob_scrub",
        sa.Column("id", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("position", sa.Uuid(), nullable=True),
        sa.Column("round_read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("round_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("night", sa.Date(), nullable=True),
        sa.Column("night_read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_blob_scrub_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blob_scrub")),
    )


def downgrade() -> None:
    op.drop_table("blob_scrub")
    op.drop_index("ix_instances_damaged", table_name="instances")
    op.drop_constraint(op.f("ck_instances_damage_known"), "instances")
    op.drop_column("instances", "damage")
