"""A report from elsewhere is kept with its addenda.

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "received_reports",
        sa.Column("addenda", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
    )
    op.add_column(
        "received_reports",
        sa.Column("addendum_to", sa.Text(), server_default="", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("received_reports", "addendum_to")
    op.drop_column("received_reports", "addenda")
