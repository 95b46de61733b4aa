"""Events name the worker whose work ended, and alarms when a stopped worker last tried a study.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("worker", sa.Text(), nullable=True))
    op.drop_index("ix_events_work_ended", table_name="events")
    op.create_index(
        "ix_events_work_ended",
        "events",
        ["worker", "id"],
        unique=False,
        postgresql_where=sa.text("worker IS NOT NULL"),
    )
    op.add_column("alarms", sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True))
    # Alarms that stopped a stage on all machines. Where the cause is still there, the machine that
    # has it raises its own.
    op.execute(
        "UPDATE alarms SET closed_at = now()"
        " WHERE closed_at IS NULL AND part IN ('prepare', 'draft')"
    )


def downgrade() -> None:
    op.drop_column("alarms", "tried_at")
    op.drop_index("ix_events_work_ended", table_name="events")
    op.create_index(
        "ix_events_work_ended",
        "events",
        ["id"],
        unique=False,
        postgresql_where=sa.text(
            "kind IN ('PREPARED', 'DRAFTED', 'FORGIVEN', 'ATTEMPT_FAILED', 'FAILED')"
        ),
    )
    op.drop_column("events", "worker")
