"""Reports from elsewhere are listed by status and by interface.

Revision ID: 0029
Revises: 0028
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("status", "origin"):
        op.create_index(
            f"ix_received_reports_{column}",
            "received_reports",
            [column, "received_at", "id"],
            postgresql_where=sa.text("superseded_at IS NULL"),
        )


def downgrade() -> None:
    for column in ("origin", "status"):
        op.drop_index(f"ix_received_reports_{column}", table_name="received_reports")
