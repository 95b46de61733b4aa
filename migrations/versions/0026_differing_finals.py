"""The versions of a report from elsewhere are found by what the report is called.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_received_reports_versions",
        "received_reports",
        ["identity"],
    )


def downgrade() -> None:
    op.drop_index("ix_received_reports_versions", "received_reports")
