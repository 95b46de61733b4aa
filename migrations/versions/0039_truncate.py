"""What is written once is not emptied either: a row's trigger is not asked about TRUNCATE.

Revision ID: 0039
Revises: 0038
"""

from __future__ import annotations

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

_WRITTEN_ONCE = ("calibrations", "drafts", "night_summaries", "order_changes", "reviews")


def upgrade() -> None:
    for table in _WRITTEN_ONCE:
        op.execute(
            f"CREATE TRIGGER {table}_not_emptied BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    for table in _WRITTEN_ONCE:
        op.execute(f"DROP TRIGGER {table}_not_emptied ON {table}")
