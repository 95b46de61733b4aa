"""A timeline is read from its newest line on, however long it is.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_events_study_id", table_name="events")
    op.create_index("ix_events_study_id", "events", ["study_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_events_study_id", table_name="events")
    op.create_index("ix_events_study_id", "events", ["study_id"], unique=False)
