"""Heartbeats stay for a while after the end of their process; what processes saw of Redis, disk, bundle.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("heartbeats", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "heartbeats",
        sa.Column("died", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_table(
        "observations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("observer", sa.Text(), nullable=False),
        sa.Column(
            "looked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_well", sa.Boolean(), nullable=False),
        sa.Column("is_warning", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sentence", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name", "observer", name=op.f("pk_observations")),
    )


def downgrade() -> None:
    op.execute("DELETE FROM heartbeats WHERE ended_at IS NOT NULL")
    op.drop_table("observations")
    op.drop_column("heartbeats", "died")
    op.drop_column("heartbeats", "ended_at")
