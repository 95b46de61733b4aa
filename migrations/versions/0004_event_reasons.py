"""Events keep their reason in a column of its own.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# Until now a reason was the beginning of the detail. The words are those of the software that wrote
# these rows; later ones need no backfill.
BACKFILL = """
ALTER TABLE events DISABLE TRIGGER events_written_once;

UPDATE events
SET reason = CASE kind
    WHEN 'SUPERSEDED' THEN 'LATE_IMAGES'
    WHEN 'CANCELLED' THEN 'DECIDED'
    WHEN 'CONFLICT' THEN split_part(detail, ': ', 2)
    ELSE split_part(detail, ':', 1)
END
WHERE kind IN ('SUPERSEDED', 'CANCELLED')
    OR kind = 'CONFLICT'
        AND detail IN ('kept aside: PATIENT_MISMATCH', 'kept aside: CONFLICTING_BYTES')
    OR kind IN ('ATTEMPT_FAILED', 'FAILED')
        AND split_part(detail, ':', 1)
            IN ('UNREADABLE', 'WORKER_DIED', 'MODEL_ERROR', 'UNEXPECTED')
    OR kind = 'HELD'
        AND split_part(detail, ':', 1)
            IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN',
                'AGE_UNKNOWN')
    OR kind = 'SKIPPED'
        AND split_part(detail, ':', 1)
            IN ('not_an_image', 'no_pixels', 'unreadable', 'multi_frame', 'rejected', 'modality',
                'body_part', 'not_chest', 'unknown_body_part', 'too_young', 'unknown_age',
                'view_not_wanted', 'unknown_view', 'for_processing', 'more_than_needed', 'no_films',
                'needed_view_missing');

ALTER TABLE events ENABLE TRIGGER events_written_once;
"""


def upgrade() -> None:
    # Nullable and without a default, so the column itself rewrites no row. The lock timeout is that
    # of every migration (env.py).
    op.add_column("events", sa.Column("reason", sa.Text(), nullable=True))
    # Before the backfill: an index that is made after an update in one transaction cannot be used
    # by transactions that are older.
    op.create_index(
        "ix_events_work_ended",
        "events",
        ["id"],
        unique=False,
        postgresql_where=sa.text(
            "kind IN ('PREPARED', 'DRAFTED', 'FORGIVEN', 'ATTEMPT_FAILED', 'FAILED')"
        ),
    )
    op.execute(BACKFILL)


def downgrade() -> None:
    op.drop_index("ix_events_work_ended", table_name="events")
    op.drop_column("events", "reason")
